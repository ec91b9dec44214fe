"""What is shown of a training's log, what is kept, and the exit status."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import SCRIPTS

BEGIN = "2024-01-01 12:00:00 | INFO | "


@pytest.fixture(scope="module")
def progress(load_script: Callable[[str], ModuleType]) -> ModuleType:
    return load_script("train_with_progress")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "train_inner | epoch 001:    250 / 1068 loss=9.411, nll_loss=12.25, uniform_kl=1.2, wps=1410.5, ups=2, "
            "wpb=705.3, bsz=41.2, num_updates=250, lr=0.0005, gnorm=1.903, clip=98, train_wall=25, wall=130",
            "update 250: nll 12.25, 1410.5 words/s",
        ),
        (
            "train_inner | epoch 001: 50 / 1068 loss=nan, nll_loss=nan, wps=0, num_updates=50, lr=5e-05",
            "update 50: nll nan, 0 words/s",
        ),
        (
            "valid | epoch 001 | valid on 'valid' subset | loss 8.014 | nll_loss 9.5 | bleu 1.26 | wps 3512.7 | "
            "num_updates 500 | best_bleu 3.5",
            "update 500: validation nll 9.5, BLEU 1.26",
        ),
        (
            "valid | epoch 001 | valid on 'valid' subset | loss 8.014 | nll_loss 9.5",
            "update -: validation nll 9.5, BLEU -",
        ),
        (
            "bnb_fairseq.models.from_bert | encoder: embedding rows: 7 of 8 (87.5%) matched by text",
            "encoder: embedding rows: 7 of 8 (87.5%) matched by text",
        ),
        (
            "fairseq.trainer | Loaded checkpoint x.pt (epoch 2 @ 250 updates)",
            "Loaded checkpoint x.pt (epoch 2 @ 250 updates)",
        ),
        ("train | epoch 001 | loss 9.4 | nll_loss 12.2 | num_updates 300", None),
        ("fairseq_cli.train | task: TranslationBnbTask", None),
        ("", None),
    ],
)
def test_digest(line: str, shown: str | None, progress: ModuleType) -> None:
    assert progress.digest(BEGIN + line) == shown


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_log_is_kept_and_goes_on(progress: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "train.log"
    log.write_text("before\n")
    code = "import sys; print('| train_inner | nll_loss=2.5, wps=9, num_updates=1'); print('error', file=sys.stderr)"
    assert progress.run(python(code), log) == 0
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert sorted(lines[1:]) == ["error", "| train_inner | nll_loss=2.5, wps=9, num_updates=1"]
    assert capsys.readouterr().out == "   update 1: nll 2.5, 9 words/s\n"


@pytest.mark.parametrize("status", [1, 3, 134])
def test_failure_shows_the_last_lines(
    status: int, progress: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"import sys; [print('line', i) for i in range(100)]; sys.exit({status})"
    assert progress.run(python(code), tmp_path / "log") == status
    assert capsys.readouterr().out == "".join(f"line {i}\n" for i in range(70, 100))
    assert len((tmp_path / "log").read_text().splitlines()) == 100


def test_killed_command_is_a_failure(progress: ModuleType, tmp_path: Path) -> None:
    assert progress.run(python("import os; os.kill(os.getpid(), 9)"), tmp_path / "log") == -9


def test_interrupted_progress_stops_the_training(
    progress: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(progress, "digest", interrupt)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        progress.run(python(code), tmp_path / "log")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)


@pytest.mark.parametrize("status", [0, 5])
def test_command_line(status: int, tmp_path: Path) -> None:
    script = [sys.executable, str(SCRIPTS / "train_with_progress.py"), "--log", str(tmp_path / "log"), "--"]
    code = f"import sys; print(sys.argv[1:]); sys.exit({status})"
    done = subprocess.run(
        [*script, *python(code), "data-bin", "--lr", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert (tmp_path / "log").read_text() == "['data-bin', '--lr', '1']\n"
    assert done.stdout == ("['data-bin', '--lr', '1']\n" if status else "")


def test_a_log_or_command_that_cannot_be(
    progress: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def end(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["train_with_progress.py", "--log", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            progress.main()
        return str(ended.value.code)

    log, command, unfit = tmp_path / "log", tmp_path / "command", tmp_path / "no" / "log"
    program = "COMMAND must begin with a program that can be run, but begins with"
    begin = "train_with_progress: "
    assert end(log, "nixcmd", "x") == f"{begin}{program} nixcmd"
    assert end(unfit, "echo", "hi") == f"{begin}--log must be a file in a folder that exists, but is {unfit}"
    assert end(tmp_path, command) == (
        f"{begin}--log must be a file in a folder that exists, but is {tmp_path}; {program} {command}"
    )
    command.write_text("#!/no/interpreter\n")
    assert end(log, command) == f"{begin}{program} {command}"  # not executable
    assert list(tmp_path.iterdir()) == [command]
    command.chmod(0o755)
    assert end(log, command) == f"{begin}[Errno 2] No such file or directory: '{command}'"
    assert capfd.readouterr().out == ""
