"""n-best lists and the reranker through fairseq's commands."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from ..alike import check_alike
from ..conftest import ROOT
from . import forked
from .conftest import TRAIN, Setting, with_noise

Command = Callable[..., str]
BEAM = ("--iter-decode-with-beam", 5, "--nbest", 5)


@pytest.fixture(scope="module")
def length_checkpoint(setting: Setting, tmp_path_factory: pytest.TempPathFactory, fairseq: Command) -> Path:
    folder = tmp_path_factory.mktemp("length")
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 1, "--decoder-layers", 1, "--max-update", 5]
    options += ["--length-control", "length", "--canvas-tokens", "--disable-validation", "--save-dir", folder]
    fairseq("train", setting.data_bin, *TRAIN, *options)
    return with_noise(folder / "checkpoint_last.pt", "embeddings", 1.0)


@pytest.fixture(scope="module")
def reranker(setting: Setting, tmp_path_factory: pytest.TempPathFactory, fairseq: Command) -> Path:
    folder = tmp_path_factory.mktemp("reranker")
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 1, "--decoder-layers", 1, "--max-update", 5]
    options += ["--arch", "bert2bert", "--criterion", "label_smoothed_cross_entropy"]
    fairseq("train", setting.data_bin, *TRAIN, *options, "--disable-validation", "--save-dir", folder)
    return with_noise(folder / "checkpoint_last.pt", "embeddings", 1.0)


def beams(output: str) -> dict[int, list[tuple[float, str]]]:
    """Scores and texts of each sentence, in the order in which they were printed."""
    found: dict[int, list[tuple[float, str]]] = {}
    for number, score, text in re.findall(r"(?m)^H-(\d+)\t(\S+)\t(.*)$", output):
        found.setdefault(int(number), []).append((float(score), text))
    return found


def texts(found: dict[int, list[tuple[float, str]]]) -> dict[int, set[str]]:
    return {number: {text for _, text in candidates} for number, candidates in found.items()}


def check_order(found: dict[int, list[tuple[float, str]]]) -> None:
    assert len(found) == 300
    for candidates in found.values():
        assert len({text for _, text in candidates}) == len(candidates) <= 5
        assert [score for score, _ in candidates] == sorted((score for score, _ in candidates), reverse=True)


@pytest.mark.parametrize(
    "kind", ["ctc", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("length", "length, refined"))]
)
def test_best_five(kind: str, setting: Setting, checkpoint: Path, length_checkpoint: Path, fairseq: Command) -> None:
    arguments = ["--path", checkpoint if kind == "ctc" else length_checkpoint, *BEAM]
    arguments += ["--iter-decode-max-iter", 2] if kind == "length, refined" else []
    found = beams(fairseq("generate", setting.data_bin, *arguments, "--batch-size", 64))
    check_order(found)
    share_of_five = sum(len(candidates) == 5 for candidates in found.values()) / len(found)
    assert share_of_five > (0.5 if kind == "ctc" else 0.99)  # two canvases of CTC may say the same
    other = beams(fairseq("generate", setting.data_bin, *arguments, "--batch-size", 7))
    first, second = texts(found), texts(other)
    check_alike(second, first)
    for number in (i for i in found if first[i] == second[i]):
        expected = [score for score, _ in found[number]]
        assert [score for score, _ in other[number]] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_the_reranker_changes_the_order(
    setting: Setting, length_checkpoint: Path, reranker: Path, fairseq: Command, tmp_path: Path
) -> None:
    arguments = [*BEAM, "--batch-size", 64]
    own = beams(fairseq("generate", setting.data_bin, "--path", length_checkpoint, *arguments))
    arguments += ["--path", f"{length_checkpoint}:{reranker}", "--iter-decode-with-external-reranker"]
    output = fairseq("generate", setting.data_bin, *arguments)
    reranked = beams(output)
    check_order(reranked)
    assert texts(reranked) == texts(own)
    assert sum(own[i][0][1] != reranked[i][0][1] for i in own) > 30
    plain = fairseq("generate", setting.data_bin, "--path", length_checkpoint, "--batch-size", 64)
    for letter in "ST":  # with the second checkpoint the data set is still the first one's
        lines = re.findall(rf"(?m)^{letter}-\d+\t.*$", plain)
        assert len(lines) == 300
        assert sorted(lines) == sorted(re.findall(rf"(?m)^{letter}-\d+\t.*$", output))
    source = tmp_path / "source"
    source.write_text((setting.text / "test.en").read_text(encoding="utf-8"), encoding="utf-8")
    told = beams(fairseq("interactive", setting.data_bin, *arguments, "--input", source, "--buffer-size", 300))
    check_alike(texts(told), texts(reranked))


def test_a_language_model_takes_part_in_the_search(
    setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path
) -> None:
    pytest.importorskip("kenlm")
    script = ["python", "-m", "bnb_fairseq.cli.ngram", str(setting.data_bin), "--order", "2"]
    forked.run([*script, "--output", str(tmp_path / "lm")], tmp_path, tmp_path / "log", [str(ROOT)])
    arguments = ["--path", checkpoint, "--batch-size", 64, "--ctc-beam", 5, "--nbest", 5]
    plain = beams(fairseq("generate", setting.data_bin, *arguments))
    arguments += ["--ctc-lm-path", tmp_path / "lm", "--ctc-lm-weight", 2, "--ctc-token-bonus", 5]
    helped = beams(fairseq("generate", setting.data_bin, *arguments))
    for found in (plain, helped):
        check_order(found)
        assert all(len(candidates) == 5 for candidates in found.values())
    assert sum(plain[i][0][1] != helped[i][0][1] for i in plain) > 30
