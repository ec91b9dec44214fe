"""The command that shows how a canvas is filled, and what it refuses."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import nn

from bnb_fairseq.cli import refinement
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import says
from ..checkpoint_files import save_checkpoint
from ..serving.saved import saved

TEXT = "w1 w3 w9 w0 w0"
SIZES = {"layers": 2, "embed-dim": 16, "ffn-embed-dim": 24, "attention-heads": 2, "positions": 40}


@pytest.fixture
def make_checkpoint(
    tmp_path: Path,
    make_dictionary: Callable[[int], BnbDictionary],
    random_parameters: Callable[[nn.Module, int], None],
) -> Callable[..., list[str]]:
    """Write a checkpoint of a random model and its data-bin; the beginning of a command line for them."""

    def make(arch: str, *more: str) -> list[str]:
        data = tmp_path / "data"
        data.mkdir()
        for language, words in (("xx", 10), ("yy", 12)):
            make_dictionary(words).save(str(data / f"dict.{language}.txt"))
        sizes = [x for s in ("encoder", "decoder") for name, n in SIZES.items() for x in (f"--{s}-{name}", str(n))]
        criterion = "bnb_loss" if arch.startswith("bnb") else "cross_entropy"
        line = [str(data), "--task", "translation_bnb", "-s", "xx", "-t", "yy", "--arch", arch, *sizes, *more]
        line += ["--criterion", criterion, "--optimizer", "adam"]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))
        task = TranslationBnbTask.setup_task(cfg.task)
        model = task.build_model(cfg.model, from_checkpoint=True)
        random_parameters(model, 5)
        save_checkpoint(tmp_path / "model.pt", cfg, task, model)
        return [str(data), "--path", str(tmp_path / "model.pt"), "--cpu"]

    return make


def test_command(
    make_checkpoint: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = make_checkpoint("bnb_transformer", "--canvas-tokens")
    output = ["--html", str(tmp_path / "a.html")]
    passes = ["--iter-decode-max-iter", "3", "--iter-decode-force-max-iter"]
    monkeypatch.setattr("sys.argv", ["bnb-refinement", *line, *output, *passes])
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TEXT}\nw2 w2\n"))
    refinement.main()
    printed = capsys.readouterr().out
    assert re.findall(r"(?m)^pass (\d)\t", printed) == list("0123") * 2
    rows = saved(tmp_path / "a.html")
    assert [row["source"] for row in rows] == [TEXT, "w2 w2"]
    assert [len(row["row"]["written"][0]["passes"]) for row in rows] == [4, 4]
    assert rows[0]["summary"].startswith("4 of at most 4 passes made; ")
    texts = [row["row"]["written"][0]["passes"][-1]["text"] for row in rows]
    assert [row["row"]["text"] for row in rows] == texts == re.findall(r"(?m)^pass 3\t(.*)$", printed)
    assert any(slot["again"] for slot in rows[0]["row"]["written"][0]["passes"][1]["slots"])
    monkeypatch.setattr("sys.argv", ["bnb-refinement", *line, *output, "--sentence", "w2 w2"])
    refinement.main()
    assert [len(row["row"]["written"][0]["passes"]) for row in saved(tmp_path / "a.html")] == [1]


def refuse(monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
    monkeypatch.setattr("sys.argv", ["bnb-refinement", *arguments])
    with pytest.raises(SystemExit) as ended:
        refinement.main()
    assert says(ended.value, f"bnb-refinement: {message}")


def test_what_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = [str(tmp_path / "x"), "--path", str(tmp_path / "no.pt"), "--iter-decode-max-iter", "-1"]
    wrong = [
        f"DATA_BIN ... a folder made by fairseq-preprocess ... {tmp_path}/x",
        "--iter-decode-max-iter ... at least 0 ... -1",
    ]
    for html, fault in (
        (tmp_path / "no" / "a.html", f"--html ... a folder that exists ... {tmp_path}/no is none"),
        (tmp_path, f"--html ... a file ... {tmp_path} is a folder"),
    ):
        refuse(monkeypatch, [*line, "--html", str(html)], "; ".join([*wrong, fault]))


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        (
            "bnb_transformer",
            ["--iter-decode-max-iter", "2"],
            "--iter-decode-max-iter ... 0 for a model trained without --canvas-tokens, which cannot refine ... is 2",
        ),
        (
            "bnb_transformer",
            ["--sentence", " "],
            "--sentence: a sentence ... empty ... number 2 is ' '",
        ),
        (
            "bnb_transformer",
            ["--sentence", "w1 " * 30],
            "sentence 2: the text has 32 tokens, but the model reads at most 20",
        ),
        (
            "bert2bert",
            [],
            "--path ... a checkpoint of a bnb_transformer, but CHECKPOINT writes word by word",
        ),
    ],
)
def test_what_does_not_fit_the_model(
    arch: str,
    arguments: list[str],
    message: str,
    make_checkpoint: Callable[..., list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = [*make_checkpoint(arch), "--html", str(tmp_path / "a.html"), "--sentence", TEXT, *arguments]
    refuse(monkeypatch, line, " ".join(message.replace("CHECKPOINT", line[2]).split()))
    assert not (tmp_path / "a.html").exists()


def test_files_and_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dict.xx.txt").touch()
    line = [str(tmp_path), "--html", str(tmp_path / "a.html"), "--path", str(tmp_path / "no.pt")]
    missing = f"{tmp_path}/no.pt: ... a checkpoint of fairseq ... such file"
    refuse(monkeypatch, [*line, "--sentence", TEXT], missing)
    for text, number, found in (("", 1, "''"), ("w1\n\t\nw2\n", 2, r"'\t'")):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        message = f"standard input: a sentence ... empty ... number {number} is {found}"
        refuse(monkeypatch, line, message)
    monkeypatch.setattr("sys.stdin", io.StringIO("w1 \udcff\n"))
    monkeypatch.setattr("sys.argv", ["bnb-refinement", *line])
    with pytest.raises(SystemExit, match=r"^bnb-refinement: standard input: line 1 is not valid UTF-8"):
        refinement.main()
