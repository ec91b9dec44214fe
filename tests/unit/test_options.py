"""The list of options: complete, what the command line accepts, and the same as in the documentation."""

import argparse
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Optional

import pytest
from fairseq import options as fairseq_options
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II

from bnb_fairseq import options

from ..conftest import ROOT


def part(kind: str, name: str, dataclass: type[FairseqDataclass]) -> options.Part:
    return options.Part(kind, (name,), tuple(options._actions(dataclass())))


@dataclass
class Small(FairseqDataclass):
    data: Optional[str] = field(default=None, metadata={"help": "folders"})  # noqa: UP045
    width: int = field(default=0, metadata={"help": "a | b"})
    share: float = field(default=0.5, metadata={"help": "of 100%%"})
    loss: ChoiceEnum(["x", "y"]) = field(default="x", metadata={"help": "which"})  # type: ignore[valid-type]
    fast: bool = field(default=False, metadata={"help": "hurry"})
    lang: Optional[str] = field(default=None, metadata={"help": "language", "argparse_alias": "-l"})  # noqa: UP045
    seed: int = II("common.seed")


@dataclass
class Large(Small):
    share: float = field(default=0.25, metadata={"help": "of 100%%"})
    depth: int = field(default=3, metadata={"help": "layers (default: 3, or more)"})


def test_page() -> None:
    page = options.markdown([part("task", "small", Small), part("task", "large", Large), part("model", "m", Small)])
    small, large, model = page.split("## ")[1:]
    assert small.splitlines() == [
        "`--task small`",
        "",
        "| option | values | default | meaning |",
        "|---|---|---|---|",
        "| `DATA` | TEXT |  | folders |",
        "| `--width` | INT | `0` | a \\| b |",
        "| `--share` | FLOAT | `0.5` | of 100% |",
        "| `--loss` | `x`, `y` | `x` | which |",
        "| `--fast` | switch |  | hurry |",
        "| `--lang`, `-l` | TEXT |  | language |",
        "",
    ]
    assert large.splitlines()[2] == "The options of `small` except `--share`, and:"
    assert [line.split()[1] for line in large.splitlines() if line.startswith("| `")] == ["`--share`", "`--depth`"]
    assert model.splitlines()[0] == "`--arch m`"
    assert len(model.splitlines()) == len(small.splitlines()) - 1


def test_help_in_a_terminal() -> None:
    text = " ".join(options.text(part("task", "large", Large)).split())
    assert text.startswith("--task large:")
    assert "--width INT a | b (default: 0)" in text
    assert "--share FLOAT of 100% (default: 0.25)" in text
    assert "--depth INT layers (default: 3, or more)" in text
    assert "--loss {x,y} which (default: x)" in text
    assert "--fast hurry -" in text
    assert "seed" not in text


def test_the_page_in_the_documentation_is_today_s() -> None:
    line = [sys.executable, "-m", "bnb_fairseq.options", "--markdown"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=True)
    written = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
    assert done.stdout == written, "run: python -m bnb_fairseq.options --markdown > docs/options.md"


def test_every_option_of_a_command_line_is_listed() -> None:
    """What fairseq's parser has for the package's parts, beyond what it has for its own."""

    def flags(task: str, arch: str, criterion: str, optimizer: str) -> set[str]:
        taken: list[argparse.ArgumentParser] = []
        line = ["x", "--task", task, "--arch", arch, "--criterion", criterion, "--optimizer", optimizer]
        parser = fairseq_options.get_training_parser()
        fairseq_options.parse_args_and_arch(parser, line, modify_parser=taken.append)
        return {flag for action in taken[-1]._actions for flag in action.option_strings}

    names = ("translation_bnb", "bnb_transformer", "bnb_loss", "bnb_adam")
    plain = flags("language_modeling", "transformer_lm", "cross_entropy", "sgd")
    ours = flags(*names)
    listed = {
        flag
        for part in options.parts()
        if set(part.names) & set(names)
        for action in part.actions
        for flag in action.option_strings
    }
    assert ours - plain <= listed
    assert listed <= ours
    assert {"--ctc-beam", "--length-control", "--token-loss", "--layer-lr-decay"} <= ours - plain


def test_parts() -> None:
    found = {(part.kind, part.names[0]): part for part in options.parts()}
    assert next(iter(found)) == ("task", "translation_bnb")
    assert {kind for kind, _ in found} == {"task", "model", "criterion", "optimizer", "generation"}
    assert found["model", "bert2bert"].names == ("bert2bert", "bert2bert_small", "bert2bert_tiny")
    generation = {action.dest: action.default for action in found["generation", "generation"].actions}
    assert set(generation) == set(options.GENERATION)
    assert generation["iter_decode_max_iter"] == 0  # fairseq's own default is 10
    assert generation["nbest"] == 1


def test_some_parts_only(capsys: pytest.CaptureFixture[str]) -> None:
    options.main(["bnb_loss", "optimizer"])
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("--")] == [
        "--criterion bnb_loss:",
        "--optimizer bnb_adam:",
    ]


def test_a_name_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options.main(["bnb_los"])
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "NAME must be one of" in message
    assert "bnb_loss" in message
    assert message.endswith("but is bnb_los\n")
