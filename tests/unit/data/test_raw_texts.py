"""Raw texts that a data-bin folder keeps beside ids."""

from pathlib import Path

import pytest
import torch

from bnb_fairseq.data.preflight import running_preprocessing
from bnb_fairseq.data.raw_texts import References, load_references

from ...facts import names


def test_what_preprocessing_reads_and_keeps() -> None:
    options = "--source-lang en --target-lang de --trainpref t/train --validpref t/valid --testpref t/a,t/b"
    found = running_preprocessing(["fairseq-preprocess", *options.split(), "--destdir", "bin"])
    assert found is not None
    assert found.training == {"dict.en.txt": Path("t/train.en"), "dict.de.txt": Path("t/train.de")}
    kept = {"t/valid.de": "valid.en-de.de.txt", "t/a.de": "test.en-de.de.txt", "t/b.de": "test1.en-de.de.txt"}
    assert found.references == {"dict.de.txt": [(Path(text), Path("bin", name)) for text, name in kept.items()]}
    assert found.parts == {
        f"dict.{language}.txt": [
            Path("bin", f"{part}.en-de.{language}") for part in ("train", "valid", "test", "test1")
        ]
        for language in ("en", "de")
    }
    only = running_preprocessing(["fairseq-preprocess", *options.split(), "--dict-only"])
    assert only == ({}, found.training, {})


def test_preprocessing_of_plain_text() -> None:
    found = running_preprocessing(["fairseq-preprocess", "--only-source", "--trainpref", "t/train.txt"])
    assert found == ({"dict.txt": [Path("data-bin/train")]}, {"dict.txt": Path("t/train.txt")}, {})
    found = running_preprocessing(["fairseq-preprocess", "--only-source", "--testpref", "t/x", "--source-lang", "en"])
    assert found == ({"dict.en.txt": [Path("data-bin/test.en-None.en")]}, {}, {})


def test_other_commands_preprocess_nothing() -> None:
    assert running_preprocessing(["fairseq-train", "data-bin"]) is None


def test_references_of_equal_targets_are_told_apart_by_their_order() -> None:
    references = References()
    references.expect(torch.tensor([[5, 2, 1], [5, 6, 2], [5, 2, 1]]), ["a", "b", "c"], pad=1)
    assert [references.take(ids) for ids in ([5, 2], [5, 2], [5, 2], [5, 6, 2], [7])] == ["a", "c", None, "b", None]
    references.expect(torch.tensor([[7, 2]]), ["d"], pad=1)
    assert references.take([5, 6, 2]) is None


def test_load_references(tmp_path: Path) -> None:
    path = tmp_path / "test.en-de.de"
    assert load_references(path, 2) is None
    (tmp_path / "test.en-de.de.txt").write_text(" Ein  Satz. \r\n\nZwei\u2028Teile\n", encoding="utf-8", newline="")
    assert load_references(path, 3) == ["Ein  Satz.", "", "Zwei\u2028Teile"]
    with pytest.raises(ValueError, match=names("test.en-de.de.txt", "2", "3")):
        load_references(path, 2)
