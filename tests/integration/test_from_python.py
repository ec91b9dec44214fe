"""Checkpoints in Python."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.translator import Translator

from ..alike import check_alike
from ..facts import names
from .conftest import Setting

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]


@pytest.fixture(scope="module")
def translator(setting: Setting, checkpoint: Path) -> Translator:
    return BnbTransformer.from_pretrained(str(checkpoint.parent), checkpoint.name, str(setting.data_bin))


@pytest.fixture(scope="module")
def sources(setting: Setting) -> list[str]:
    return (setting.text / "test.en").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("beam", [0, 3])
def test_text_in_and_text_out_as_fairseq_generate_has_it(
    beam: int,
    translator: Translator,
    sources: list[str],
    setting: Setting,
    checkpoint: Path,
    fairseq: Command,
    translations: Translations,
) -> None:
    search: dict[str, Any] = {"ctc_beam": beam, "ctc_token_bonus": 1.5} if beam else {}
    options = [x for name, value in search.items() for x in (f"--{name.replace('_', '-')}", value)]
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 64, *options)
    check_alike({i: one.text for i, one in enumerate(translator.translate(sources, **search))}, translations(output))
    dictionary = load_dictionary(str(setting.data_bin / "dict.en.txt"))
    for number, text in re.findall(r"(?m)^S-(\d+)\t(.*)$", output):
        assert text == dictionary.text(dictionary.encode_line(sources[int(number)]), dictionary.unk_word)


@pytest.mark.slow
def test_n_best_lists_as_fairseq_interactive_has_them(
    translator: Translator, sources: list[str], setting: Setting, checkpoint: Path, fairseq: Command
) -> None:
    sources = [sources[0], "", *sources[1:40]]
    options = ["--path", checkpoint, "--nbest", 3, "--buffer-size", 50, "--batch-size", 8]
    output = fairseq("interactive", setting.data_bin, *options, stdin="".join(f"{line}\n" for line in sources))
    expected: dict[int, list[str]] = {}
    for number, text in re.findall(r"(?m)^D-(\d+)\t\S+\t(.*)$", output):
        expected.setdefault(int(number), []).append(text)
    assert expected[1] == [""]
    found = enumerate(translator.translate(sources, nbest=3))
    check_alike({i: [one.text, *(other.text for other in one.alternatives)] for i, one in found}, expected)


def test_a_folder_and_a_checkpoint_alone(
    translator: Translator, sources: list[str], setting: Setting, checkpoint: Path
) -> None:
    expected = translator.translate(sources[:5])
    for place in (checkpoint, checkpoint.parent):
        assert BnbTransformer.from_pretrained(place, None, setting.data_bin).translate(sources[:5]) == expected
    with pytest.raises(ValueError, match=names("data_name_or_path", "data-bin", checkpoint.parent)):
        BnbTransformer.from_pretrained(checkpoint)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_another_type(
    dtype: Any, translator: Translator, sources: list[str], setting: Setting, checkpoint: Path
) -> None:
    half = BnbTransformer.from_pretrained(checkpoint, None, setting.data_bin, dtype=dtype)
    scores = [[one.score for one in each.translate(sources[:20])] for each in (translator, half)]
    assert scores[0] == pytest.approx(scores[1], abs=0.2)
    assert scores[0] != scores[1]
