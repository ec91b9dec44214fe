"""Checkpoints and data-bin folders of commit d05c7d8: today's code reads the same text out of them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from bnb_fairseq.models.bert2bert import Bert2Bert
from bnb_fairseq.models.bnb_transformer import BnbTransformer

from ..conftest import ROOT
from . import forked

Command = Callable[..., str]
OLD = ROOT / "tests" / "data" / "d05c7d8"
SEARCH: dict[str, Any] = {"ctc_beam": 5, "nbest": 3}


class Run(NamedTuple):
    """A file of expected lines: the checkpoint, its data-bin folder and the options that made it."""

    checkpoint: str
    data: str
    options: dict[str, Any]


RUNS = {
    "ctc": Run("ctc", "wordpiece", {}),
    "ctc-refined": Run("ctc", "wordpiece", {"iter_decode_max_iter": 2}),
    "ctc-beam": Run("ctc", "wordpiece", SEARCH),
    "length": Run("length", "wordpiece", {}),
    "length-refined": Run("length", "wordpiece", {"iter_decode_max_iter": 2}),
    "vae": Run("vae", "wordpiece", {}),
    "bert2bert": Run("bert2bert", "wordpiece", {"beam": 5}),
    "ctc-sentencepiece": Run("ctc-sentencepiece", "sentencepiece", {}),
    "ctc-sentencepiece-beam": Run("ctc-sentencepiece", "sentencepiece", SEARCH),
    "ctc-sentencepiece-refined": Run("ctc-sentencepiece", "sentencepiece", {"iter_decode_max_iter": 2}),
    "length-sentencepiece": Run("length-sentencepiece", "sentencepiece", {}),
}
QUICK = {"generate": ("ctc-refined", "bert2bert", "ctc-sentencepiece-beam"), "interactive": ("length-sentencepiece",)}


def some(command: str) -> list[Any]:
    return [name if name in QUICK[command] else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]


@pytest.fixture(autouse=True)
def only_on_cpus(device: str) -> None:
    if device != "cpu":
        pytest.skip(f"--device {device}: the expected text was written on a CPU")


def results(output: str, kind: str) -> dict[int, list[tuple[float, str]]]:
    """Scores and texts of ``H-`` or ``D-`` lines, by sentence, the best first."""
    found: dict[int, list[tuple[float, str]]] = {}
    for number, score, text in re.findall(rf"(?m)^{kind}-(\d+)\t(\S+)\t(.*)$", output):
        found.setdefault(int(number), []).append((float(score), text))
    return found


def expected(name: str, kind: str) -> dict[int, list[tuple[float, str]]]:
    found = results((OLD / f"{name}.txt").read_text(encoding="utf-8"), kind)
    assert len(found) == len(sentences())
    assert len({lines[0][1] for lines in found.values()}) > 0.9 * len(found)
    return found


def sentences() -> list[str]:
    return (OLD / "test.en").read_text(encoding="utf-8").splitlines()


def comparable(text: str, run: Run) -> str:
    """WordPiece text without what was put by other rules: spaces, and ``##`` at the beginning."""
    return text.replace(" ", "").removeprefix("##") if run.data == "wordpiece" else text


def check_texts(found: dict[int, list[str]], name: str) -> None:
    run = RUNS[name]
    for number, lines in expected(name, "D").items():
        assert [comparable(text, run) for text in found[number]] == [comparable(text, run) for _, text in lines]


def check_output(output: str, name: str) -> None:
    hypotheses = results(output, "H")
    for number, lines in expected(name, "H").items():
        assert [text for _, text in hypotheses[number]] == [text for _, text in lines]
        assert [score for score, _ in hypotheses[number]] == pytest.approx([score for score, _ in lines], abs=1e-3)
    check_texts({number: [text for _, text in lines] for number, lines in results(output, "D").items()}, name)


def arguments(run: Run) -> list[object]:
    options = [x for option, value in run.options.items() for x in (f"--{option.replace('_', '-')}", value)]
    return [OLD / run.data, "--path", OLD / f"{run.checkpoint}.pt", "--batch-size", 8, *options]


@pytest.mark.parametrize("name", some("generate"))
def test_generate(name: str, fairseq: Command) -> None:
    check_output(fairseq("generate", *arguments(RUNS[name])), name)


@pytest.mark.parametrize("name", some("interactive"))
def test_interactive(name: str, fairseq: Command) -> None:
    text = (OLD / "test.en").read_bytes()
    check_output(fairseq("interactive", *arguments(RUNS[name]), "--buffer-size", 8, stdin=text), name)


@pytest.mark.parametrize("name", RUNS)
def test_from_python(name: str) -> None:
    run = RUNS[name]
    kind = Bert2Bert if run.checkpoint == "bert2bert" else BnbTransformer
    translator = kind.from_pretrained(OLD / f"{run.checkpoint}.pt", None, OLD / run.data)
    found = translator.translate(sentences(), **run.options)
    check_texts({i: [one.text, *(other.text for other in one.alternatives)] for i, one in enumerate(found)}, name)


def test_average(tmp_path: Path) -> None:
    """The mean of a checkpoint and itself is the same model."""
    old = OLD / "ctc.pt"
    done = forked.capture("bnb-average", "--checkpoints", old, old, tmp_path / "mean.pt")
    assert done.returncode == 0, done.stderr
    before, mean = (torch.load(path)["model"] for path in (old, tmp_path / "mean.pt"))
    assert before.keys() == mean.keys()
    assert all(torch.equal(mean[name], tensor) for name, tensor in before.items())
    translator = BnbTransformer.from_pretrained(tmp_path / "mean.pt", None, OLD / "wordpiece")
    check_texts({i: [one.text] for i, one in enumerate(translator.translate(sentences()))}, "ctc")


@pytest.mark.parametrize("name", ["vae", "bert2bert"])
def test_convert(name: str, tmp_path: Path) -> None:
    old = OLD / f"{name}.pt"
    done = forked.capture("bnb-convert", "fairseq-to-hf", old, tmp_path / "hf", "--data", OLD / "wordpiece")
    assert done.returncode == 0, done.stderr
    model = torch.load(old)["model"]
    for side in ("encoder", "decoder"):
        bert = load_file(tmp_path / "hf" / side / "model.safetensors")
        (words,) = [tensor for key, tensor in bert.items() if key.endswith("word_embeddings.weight")]
        assert torch.equal(words, model[f"{side}.embeddings.tokens.weight"][: len(words)])
