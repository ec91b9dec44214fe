"""Commands in the documents: their parsers take every option. The READMEs' own are run by other tests."""

from pathlib import Path

import pytest

from ..conftest import ROOT
from . import forked
from .experiments import blocks, lines

ABRIDGED = ("...", "$")  # a command with either is not whole
OTHERS = ("nltk.downloader", "bnb_fairseq")  # modules without a command line of this package


def commands(page: Path) -> list[list[str]]:
    """Return the commands of a page that are whole."""
    found = [line.words for block in blocks(page, "bash") for line in lines(block)]
    whole = [words for words in found if not any(sign in word for sign in ABRIDGED for word in words)]
    return [words for words in whole if words[:2] != ["python", "-m"] or words[2] not in OTHERS]


PAGES = [page for page in sorted(ROOT.glob("docs/**/*.md")) if commands(page)]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_real_options(page: Path, tmp_path: Path) -> None:
    for i, words in enumerate(commands(page)):
        forked.run(words, ROOT, tmp_path / f"{i}.txt", only_parse=True)


def test_documents_have_commands() -> None:
    assert len(PAGES) >= 12
    assert sum(len(commands(page)) for page in PAGES) >= 60
