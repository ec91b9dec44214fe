"""Checkpoints by ``from_pretrained``: where they are found, and the translator that they make."""

import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.translator import Translation, Translator

from ...facts import names
from ..export.conftest import SENTENCES, Translations, by_fairseq, trained  # noqa: F401  # fixtures

ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.9\t</s>
-0.2\tdie
-1.3\tzelle

\\2-grams:
-0.4\t<s> zelle

\\end\\
"""
load = BnbTransformer.from_pretrained


def texts(translator: Translator, **options: Any) -> list[list[str]]:
    found = translator.translate(SENTENCES, **options)
    return [[one.text, *(other.text for other in one.alternatives)] for one in found]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ctc", {}),
        ("ctc", {"nbest": 3, "ctc_beam": 5, "ctc_token_bonus": 1.0}),
        ("refining", {"iter_decode_max_iter": 2}),
        ("refining", {"iter_decode_with_beam": 4, "nbest": 2}),
        ("autoregressive", {"beam": 1, "max_len_b": 8}),
        ("autoregressive", {"beam": 4, "nbest": 2, "lenpen": 0.5, "max_len_b": 8}),
        ("sticky", {}),  # what its training was told about decoding does not count
    ],
)
def test_as_fairseq_translates(
    name: str,
    options: dict[str, Any],
    trained: dict[str, Path],  # noqa: F811
    by_fairseq: Translations,  # noqa: F811
) -> None:
    """With options for one call and for all calls."""
    expected = by_fairseq(name, SENTENCES, **options)
    assert texts(load(trained[name]), **options) == expected
    for_all = {option: value for option, value in options.items() if option != "nbest"}
    assert texts(load(trained[name], **for_all), nbest=options.get("nbest", 1)) == expected


def test_empty_texts(trained: dict[str, Path]) -> None:  # noqa: F811
    assert load(trained["ctc"]).translate(["", " \n"]) == [Translation("")] * 2


def test_several_checkpoints(trained: dict[str, Path], by_fairseq: Translations) -> None:  # noqa: F811
    names_of_pair = f"{trained['refining']}:{trained['autoregressive']}"
    pair = load(names_of_pair, iter_decode_with_beam=3)
    expected = by_fairseq(
        "refining:autoregressive",
        SENTENCES,
        iter_decode_with_beam=3,
        iter_decode_with_external_reranker=True,
    )
    assert texts(pair) == expected
    assert texts(load(trained["refining"]), iter_decode_with_beam=3) != expected
    with pytest.raises(ValueError, match=names("reranker", "--iter-decode-with-beam", "1")):
        load(names_of_pair)
    alone = load(trained["autoregressive"], max_len_b=8)
    assert texts(load(f"{trained['autoregressive']}:{trained['autoregressive']}", max_len_b=8)) == texts(alone)
    with pytest.raises(ValueError, match="average non-autoregressive ones"):
        load(f"{trained['ctc']}:{trained['ctc']}")


def test_language_model(trained: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("kenlm")
    arpa = tmp_path / "lm.arpa"
    arpa.write_text(ARPA, encoding="utf-8")
    translator = load(trained["ctc"], lm=arpa, ctc_beam=3, ctc_lm_weight=2.0)
    assert texts(translator) != texts(translator, ctc_lm_weight=0.0) == texts(load(trained["ctc"]), ctc_beam=3)


@pytest.mark.parametrize(
    ("files", "chosen"),
    [
        (["checkpoint_last.pt", "checkpoint_best.pt", "model.pt"], "model.pt"),
        (["checkpoint_last.pt", "checkpoint_best.pt"], "checkpoint_best.pt"),
        (["checkpoint_last.pt", "checkpoint3.pt"], "checkpoint_last.pt"),
        (["averaged.pt"], "averaged.pt"),
    ],
)
def test_the_checkpoint_of_a_folder(files: list[str], chosen: str, tmp_path: Path) -> None:
    for name in files:
        torch.save({}, tmp_path / name)
    (tmp_path / "dict.en.txt").touch()
    with pytest.raises(ValueError, match=names(tmp_path / chosen, "fairseq")):
        load(tmp_path)


def test_folders_and_names(trained: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    """A data-bin folder that begins with a dot is taken from the checkpoint's."""
    path = trained["ctc"]
    expected = texts(load(path))
    assert texts(load(path.parent, "ctc.pt")) == texts(load(str(path), None, path.parent)) == expected
    (tmp_path / "inner").mkdir()
    moved = tmp_path / "inner" / "moved.pt"
    moved.write_bytes(path.read_bytes())
    for dictionary in path.parent.glob("dict.*"):
        (tmp_path / dictionary.name).write_bytes(dictionary.read_bytes())
    assert texts(load(moved, None, "..")) == expected


def test_what_is_not_there(trained: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    for arguments, facts in (
        ((tmp_path,), ["checkpoint_file", "model.pt", "no file *.pt"]),
        ((tmp_path, "x.pt", trained["ctc"].parent), [tmp_path / "x.pt"]),
        ((trained["ctc"].parent,), ["checkpoint_file", "model.pt", "ctc.pt"]),
        (("org/name", None, trained["ctc"].parent), ["org/name"]),
        ((trained["ctc"], "ctc.pt"), ["checkpoint_file", "None", "ctc.pt"]),
        ((trained["ctc"], None, tmp_path), ["data_name_or_path", "dict.*.txt", tmp_path]),
        ((trained["ctc"], None, tmp_path / "none"), [tmp_path / "none"]),
    ):
        with pytest.raises(ValueError, match=names(*facts)):
            load(*arguments)


def test_archives_are_not_unpacked(trained: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        archive.add(trained["ctc"], "../../outside.pt")
    before = sorted(tmp_path.parent.rglob("*"))
    with pytest.raises(ValueError, match=names("model.tar.gz")):
        load(tmp_path / "model.tar.gz", None, trained["ctc"].parent)
    assert sorted(tmp_path.parent.rglob("*")) == before
