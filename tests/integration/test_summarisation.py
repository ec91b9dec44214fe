"""Summaries: sources that are cut, canvases shorter than they are, ROUGE in training and in the comparison."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import bnb_fairseq.plugin  # noqa: F401  (lets torch's safe loader read fairseq's checkpoints)
from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.metrics.rouge import Rouge

from ..facts import named
from . import forked
from .conftest import TRAIN, Setting, with_noise
from .test_several_processes import in_two_processes

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
Write = Callable[[Path, Sequence[str]], Path]
ROUGE = ("rouge1", "rouge2", "rougeL")
MODEL = ("--encoder-layers", 2, "--decoder-layers", 1, "--latent-size", 0, "--ctc-upsample", "0.5")
JUDGED = ("--eval-rouge", "--best-checkpoint-metric", "rougeL", "--maximize-best-checkpoint-metric")
POSITIONS = 160  # the BERT's
SIZES = [  # the BERT's, too
    f"--{side}-{size}"
    for side in ("encoder", "decoder")
    for size in ("embed-dim=64", "ffn-embed-dim=128", "attention-heads=4", f"positions={POSITIONS}")
]


class Summaries(NamedTuple):
    """Texts and their summaries, raw and preprocessed, and a model trained on them for a moment."""

    text: Path
    data_bin: Path
    checkpoint: Path
    log: str


def prefixes(folder: Path, *parts: str) -> list[str | Path]:
    return [option for part in parts for option in (f"--{part}pref", folder / part)]


@pytest.fixture(scope="module")
def summaries(
    setting: Setting,
    small_data: Callable[[str, int], list[tuple[str, str]]],
    write: Write,
    fairseq: Command,
    tmp_path_factory: pytest.TempPathFactory,
) -> Summaries:
    """Ten sentences are summarised by the beginning of the first one; every fourth text has thirty."""
    folder = tmp_path_factory.mktemp("summaries")
    for part, count in (("train", 200), ("valid", 60), ("test", 40)):
        lines = [source for source, _ in small_data("train" if part == "train" else part, 400)]
        sizes = [30 if i % 4 == 0 else 10 for i in range(count)]
        texts = [" ".join(lines[(i + k) % len(lines)] for k in range(size)) for i, size in enumerate(sizes)]
        write(folder / f"{part}.text", texts)
        write(folder / f"{part}.summary", [" ".join(text.split()[:5]) for text in texts])
    data_bin = folder / "data-bin"
    pair = ["-s", "text", "-t", "summary", "--srcdict", setting.bert, "--tgtdict", setting.bert]
    fairseq("preprocess", *pair, *prefixes(folder, "train", "valid", "test"), "--destdir", data_bin)
    options = ["--bert-encoder", setting.bert, *MODEL, *JUDGED, "--truncate-source", "--eval-bleu-print-samples"]
    options += ["--eval-bleu", "--max-update", 4, "--save-dir", folder / "run"]
    log = fairseq("train", data_bin, *TRAIN, *options)
    return Summaries(folder, data_bin, folder / "run" / "checkpoint_best.pt", log)


@pytest.fixture(scope="module")
def noisy(summaries: Summaries) -> Path:
    """The same model, writing all kinds of words."""
    state = torch.load(summaries.checkpoint)
    copy = summaries.checkpoint.with_name("noisy.pt")
    torch.save(state, copy)
    return with_noise(copy, "embeddings", 1.0)


def found(log: str, metric: str) -> list[float]:
    return [float(value) for value in re.findall(rf"valid.*? \| {metric} ([\d.]+)", log)]


def test_training_by_rouge(summaries: Summaries) -> None:
    for metric in (*ROUGE, "bleu"):
        assert len(found(summaries.log, metric)) >= 1, summaries.log[-3000:]
    state = torch.load(summaries.checkpoint)
    assert state["extra_state"]["best"] == max(found(summaries.log, "rougeL"))
    assert "example translation: " in summaries.log
    assert state["cfg"]["model"]["ctc_upsample"] == 0.5


def test_cut_sources_are_counted(summaries: Summaries, fairseq: Command) -> None:
    """The model's 160 positions cut, not --max-source-positions, which is 512."""
    for part, count in (("train", 200), ("valid", 60)):
        (cut,) = re.findall(
            rf"{part}: ([\d,]+) of {count} sources \(([\d.]+)%\) cut to {POSITIONS} tokens", summaries.log
        )
        assert count / 4 <= int(cut[0]) <= count
        assert float(cut[1]) == round(100 * int(cut[0]) / count, 1)
    command = ["generate", summaries.data_bin, "--path", summaries.checkpoint, "--batch-size", 40]
    output = fairseq(*command, fails=True)
    assert "sources" not in output.partition("are too long")[0].splitlines()[-1]
    assert re.search(r"are too long; sentence 0 of 40, '.{60}\.\.\.', has source and target lengths", output)
    assert named(output, POSITIONS, POSITIONS, "--truncate-source")
    output = fairseq(*command, "--truncate-source")
    assert re.search(rf"test: \d+ of 40 sources \([\d.]+%\) cut to {POSITIONS} tokens", output)
    assert len(re.findall(r"(?m)^D-\d+\t", output)) == 40
    text = "\n".join((summaries.text / "test.text").read_text(encoding="utf-8").splitlines()[:2])
    arguments = [summaries.data_bin, "--path", summaries.checkpoint, "--buffer-size", 2, "--truncate-source"]
    output = fairseq("interactive", *arguments, stdin=f"{text}\n")
    assert re.search(rf"input: [12] of 2 sources \([\d.]+%\) cut to {POSITIONS} tokens", output)


@pytest.mark.slow
def test_validation_equals_generation(
    summaries: Summaries, noisy: Path, fairseq: Command, translations: Translations, write: Write, tmp_path: Path
) -> None:
    """With one process and with two, whatever the batches: the mean over what fairseq-generate writes.

    The reference of a text is the beginning of what the model writes for it, if the text is one of the longer half, or
    for the next one. Batches of texts of one length then differ in their scores so much that a mean of the batches'
    means is off by over 1, while a word of one text that rounding decides (see ``check_alike``) moves a mean by 0.1.
    """
    arguments = ["--path", noisy, "--gen-subset", "valid", "--truncate-source", "--batch-size", 7]
    written = translations(fairseq("generate", summaries.data_bin, *arguments))
    halves = [written[i].split()[: 1 + len(written[i].split()) // 2] for i in range(60)]
    words = [len(text.split()) for text in (summaries.text / "valid.text").read_text(encoding="utf-8").splitlines()]
    chosen = [" ".join(halves[i if words[i] > sorted(words)[30] else (i + 1) % 60]) for i in range(60)]
    for part, lines in (("train", ["the file"] * 60), ("valid", chosen)):
        shutil.copy(summaries.text / "valid.text", tmp_path / f"{part}.text")
        write(tmp_path / f"{part}.summary", lines)
    names = {side: summaries.data_bin / f"dict.{side}.txt" for side in ("text", "summary")}
    command = ["-s", "text", "-t", "summary", "--srcdict", names["text"], "--tgtdict", names["summary"]]
    data_bin = tmp_path / "bin"
    fairseq("preprocess", *command, *prefixes(tmp_path, "train", "valid"), "--destdir", data_bin)
    dictionary = load_dictionary(str(names["summary"]))
    references = [dictionary.text(dictionary.encode_line(line), "UNKNOWN") for line in chosen]
    scores = Rouge().scores([written[i] for i in range(60)], references).mean(axis=0)
    assert all(10 < score < 90 for score in scores)
    options = [*TRAIN, "--finetune-from-model", noisy, *SIZES, *MODEL, *JUDGED, "--truncate-source", "--no-save"]
    options += ["--lr", "1e-12", "--max-update", 1, "--batch-size-valid", 8]
    one = fairseq("train", data_bin, *options)
    two = in_two_processes([data_bin, *options, "--load-checkpoint-on-all-dp-ranks"], tmp_path / "log.txt")
    for metric, score in zip(ROUGE, scores, strict=True):
        assert found(one, metric) == [pytest.approx(score, abs=0.2)], metric
        assert found(two, metric) == [pytest.approx(score, abs=0.2)], metric


@pytest.mark.parametrize("options", [[], ["--iter-decode-with-beam", 3], ["--ctc-beam", 4]])
def test_canvases_shorter_than_their_sources(
    options: list[object], summaries: Summaries, noisy: Path, fairseq: Command, translations: Translations
) -> None:
    """However the sentences fall into batches."""
    arguments = [summaries.data_bin, "--path", noisy, "--truncate-source", *options]
    outputs = [translations(fairseq("generate", *arguments, "--batch-size", size)) for size in (3, 40)]
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0].values())) > 10
    assert 1 < max(len(text.split()) for text in outputs[0].values()) <= 1.1 * POSITIONS / 2


@pytest.mark.slow
def test_comparison_with_rouge(
    summaries: Summaries, noisy: Path, device: str, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    line = ["bnb-score", "checkpoints", summaries.data_bin]
    line += ["--source", summaries.text / "test.text", "--reference", summaries.text / "test.summary"]
    line += ["--output", tmp_path / "quality", "--bootstrap", 30, "--picture", tmp_path / "quality.png"]
    line += ["--cpu"] if device == "cpu" else []
    systems = [f"{name}={path} --truncate-source" for name, path in (("noisy", noisy), ("calm", summaries.checkpoint))]
    done = forked.capture(*line, *systems, "--metrics", "rouge", "--baseline", "calm")
    assert done.returncode == 0, done.stderr
    head, _, *rows = done.stdout.split("\n\n")[0].splitlines()
    assert "| ROUGE-1 | ROUGE-2 | ROUGE-L | ROUGE-L mean ± 95% | p of ROUGE-L | length ratio |" in head
    assert len(rows) == 4
    content: dict[str, Any] = json.loads((tmp_path / "quality" / "quality.json").read_text(encoding="utf-8"))
    arguments = ["--path", noisy, "--truncate-source", "--batch-size", 13]
    written = translations(fairseq("generate", summaries.data_bin, *arguments))
    references = (summaries.text / "test.summary").read_text(encoding="utf-8").splitlines()
    scores = Rouge().scores([written[i] for i in range(40)], references).mean(axis=0)
    assert [content["rows"][0]["rouge"][metric] for metric in ROUGE] == pytest.approx(scores.tolist())
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
