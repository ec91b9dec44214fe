"""Model cards in the form of the HuggingFace hub."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bnb_fairseq.folder.card import NO_SCORES, fill_scores, write_card
from bnb_fairseq.folder.manifest import CARD, WEIGHTS, Manifest


def parsed(folder: Path) -> tuple[dict[str, Any], str]:
    """Split a card into its front matter and its text, as the hub does."""
    found = re.fullmatch(r"---\n(.*?)\n---\n(.*)", (folder / CARD).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return yaml.safe_load(found[1]), found[2]


def test_front_matter_and_text(folder: Path) -> None:
    manifest = Manifest.read(folder)
    write_card(folder, manifest, "mit", "Trained on short sentences.")
    front, text = parsed(folder)
    assert front == {
        "language": ["en", "de"],
        "license": "mit",
        "library_name": "bnb_fairseq",
        "pipeline_tag": "translation",
        "tags": ["bnb_transformer", "non-autoregressive"],
    }
    megabytes = (folder / WEIGHTS).stat().st_size / 1e6
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != CARD) / 1e6
    assert f"| size | {total:.1f} MB: `{WEIGHTS}` {megabytes:.1f} MB |" in text
    assert text.startswith("\n# ctc\n\nTrained on short sentences.\n")
    assert "1 encoder and 1 decoder layers of width 8" in text
    assert "bnb-translate ctc < input.txt > output.txt" in text
    assert 'Translator.load("ctc")' in text


def test_nothing_is_said_that_is_not_known(folder: Path) -> None:
    manifest = replace(Manifest.read(folder), source_lang="text", target_lang="summary", name="")
    write_card(folder, manifest, None, None)
    front, text = parsed(folder)
    assert "license" not in front
    assert "language" not in front  # "text" is none
    assert front["pipeline_tag"] == "text2text-generation"
    assert "# model\n" in text
    assert "| licence | not stated |" in text


def test_values_that_yaml_would_take_for_others(folder: Path) -> None:
    """Norwegian is no falsehood; a licence may hold what ends a value."""
    manifest = replace(Manifest.read(folder), source_lang="no", target_lang="yi")
    write_card(folder, manifest, "a: b # c", None)
    front, _ = parsed(folder)
    assert front["language"] == ["no", "yi"]
    assert front["license"] == "a: b # c"


def test_scores(folder: Path) -> None:
    """Take the place of those that were there, and leave what people wrote."""
    write_card(folder, Manifest.read(folder), "mit", None)
    assert NO_SCORES in parsed(folder)[1]
    (folder / CARD).write_text(f"{(folder / CARD).read_text()}\n## Limits\n\nShort sentences only.\n")
    before = (folder / CARD).read_text()
    for scores in ("| BLEU |\n|---|\n| 24.0 |", "BLEU 25.0"):
        fill_scores(folder, scores)
        assert (folder / CARD).read_text() == before.replace(NO_SCORES, scores)
        assert Manifest.read(folder)


def test_a_card_without_a_place_for_scores(folder: Path) -> None:
    (folder / CARD).write_text("# Mine\n")
    fill_scores(folder, "BLEU 25.0")
    assert (folder / CARD).read_text() == "# Mine\n\n## Scores\n\nBLEU 25.0\n"
    (folder / CARD).unlink()
    with pytest.raises(FileNotFoundError):
        fill_scores(folder, "BLEU 25.0")
