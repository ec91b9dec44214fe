"""Nothing but a newline ends a line that fairseq-interactive reads."""

import io
import sys
from pathlib import Path

import pytest
from fairseq_cli.interactive import buffered_read
from omegaconf import DictConfig, OmegaConf

from bnb_fairseq.data.typed_lines import end_lines_at_newlines, on_one_line

TEXT = b"Open\rthe file.\r\nClose\x0b it.\n\rEnd\n"
LINES = ["Open\rthe file.", "Close\x0b it.", "End"]


def options(name: str) -> DictConfig:
    return OmegaConf.create({"interactive": {"input": name}})


@pytest.mark.parametrize("command", ["/usr/bin/fairseq-interactive", "interactive.py"])
def test_standard_input(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT)))
    cfg = options("-")
    end_lines_at_newlines(cfg, [command])
    assert list(buffered_read(cfg.interactive.input, 10)) == [LINES]


def test_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    (tmp_path / "lines.txt").write_bytes(TEXT + "ä\n".encode())
    cfg = options(str(tmp_path / "lines.txt"))
    end_lines_at_newlines(cfg, ["fairseq-interactive"])
    assert list(buffered_read(cfg.interactive.input, 2)) == [LINES[:2], [LINES[2], "ä"]]


def test_other_commands_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO(TEXT))
    monkeypatch.setattr(sys, "stdin", stdin)
    cfg = options("missing")
    end_lines_at_newlines(cfg, ["fairseq-generate"])
    assert cfg.interactive.input == "missing"
    assert len(stdin.readlines()) == 5


def test_on_one_line() -> None:
    assert on_one_line("Open\rthe\r\rfile.") == "Open the  file."
