"""How every command parses, refuses, and ends."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest
import tomllib

from bnb_fairseq.cli import command
from bnb_fairseq.cli.command import Command
from bnb_fairseq.cli.errors import one_line_errors

from ...conftest import ROOT, heed_ctrl_c

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
HEAVY = ("torch", "fairseq", "transformers", "numpy", "sacrebleu", "sklearn")
# What pip makes of an entry of [project.scripts]: its name is in sys.argv before the package is imported.
SCRIPT = """import sys
sys.argv[0] = {name!r}
from {module} import main
try:
    status = main()
finally:
    loaded = [name for name in {heavy!r} if name in sys.modules]
    print("loaded:", *loaded, file=sys.stderr)
sys.exit(status)
"""


OTHERS: tuple[str, ...] = ("__init__", "command", "errors", "score_checks", "score_runs")
OTHERS += ("count_spaces", "train", "serve_on_ray")  # python -m, and serve run


def test_every_module_is_a_command() -> None:
    modules = {path.stem for path in (ROOT / "bnb_fairseq" / "cli").glob("*.py")}.difference(OTHERS)
    assert {f"bnb-{name}": f"bnb_fairseq.cli.{name}:main" for name in modules} == SCRIPTS


def made(run: object, find_faults: object = command._no_faults) -> Command:
    def add_options(parser: ArgumentParser) -> None:
        parser.add_argument("--beam", type=int, default=1)
        command.add_cpu(parser)

    return Command("bnb-x", "Do it.", add_options, run, find_faults)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/bnb-x", "--beam", "3"])


@pytest.mark.parametrize("status", [None, 0, 1])
def test_runs_with_its_options(status: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    def run(arguments: Namespace) -> int | None:
        print(arguments.beam, arguments.cpu)
        return status

    assert made(run).main() == (status or 0)
    assert capsys.readouterr().out == "3 False\n"


def test_all_faults_are_one_error_and_nothing_runs() -> None:
    def run(arguments: Namespace) -> None:
        pytest.fail("it ran")

    with pytest.raises(SystemExit) as ended:
        made(run, lambda arguments: [f"--beam is {arguments.beam}", "--other is wrong"]).main()
    assert ended.value.code == "bnb-x: --beam is 3; --other is wrong"


@pytest.mark.parametrize("kind", [ValueError, OSError, FileNotFoundError])
def test_an_error_that_a_user_can_mend_is_one_line(kind: type[Exception]) -> None:
    error = kind("--beam must be\n  at least 1,\tbut is 0\n")

    def run(arguments: Namespace) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        made(run).main()
    assert ended.value.code == "bnb-x: --beam must be at least 1, but is 0"
    assert ended.value.__cause__ is error


def test_instructions_to_install_keep_their_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise ImportError("torch is missing\n    pip install torch")

    monkeypatch.setattr(command, "import_module", missing)
    with pytest.raises(SystemExit) as ended:
        made(lambda arguments: None).main()
    assert ended.value.code == "bnb-x: torch is missing\n    pip install torch"
    monkeypatch.setattr(command, "import_module", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        made(missing).main()  # as where only what it loads later needs torch
    assert ended.value.code == "bnb-x: torch is missing\n    pip install torch"


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, AssertionError])
def test_other_errors_keep_their_traceback(kind: type[Exception]) -> None:
    def run(arguments: Namespace) -> None:
        raise kind("a fault of the command")

    with pytest.raises(kind):
        made(run).main()


def test_numbers_below_their_least_value() -> None:
    arguments = Namespace(beam=0, beams=[3, -1, 0], bonus=float("nan"), shard_size=None, tokens=7)
    least = {"beam": 1, "beams": 1, "bonus": 0, "shard_size": 1, "tokens": 7}
    assert command.find_small(arguments, least) == [
        "--beam must be at least 1, but is 0",
        "--beams must be at least 1, but is -1",
        "--bonus must be at least 0, but is nan",
    ]


def test_folders_and_files(tmp_path: Path) -> None:
    (fault,) = command.find_data_bin_faults(tmp_path)
    assert fault.startswith("DATA_BIN must") and str(tmp_path) in fault
    (tmp_path / "dict.de.txt").touch()
    (tmp_path / "valid.en-de.en.idx").touch()
    assert command.find_data_bin_faults(tmp_path) == []
    assert command.find_part_faults(tmp_path, {"--subset": "valid", "--valid": None}) == []
    (fault,) = command.find_part_faults(tmp_path, {"--subset": "test"})
    assert fault.startswith("--subset must") and "(valid)" in fault and fault.endswith("test")
    assert command.find_output_faults("--html", tmp_path / "new.html") == []
    (fault,) = command.find_output_faults("--html", tmp_path)
    assert fault.startswith("--html must be a file")
    (fault,) = command.find_output_faults("--html", tmp_path / "no" / "new.html")
    assert fault.startswith("--html must lie in a folder that exists")


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONUNBUFFERED", None)
    pipe = subprocess.PIPE
    line = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(line, stdout=pipe, stderr=pipe, text=True, env=environment, preexec_fn=heed_ctrl_c)


def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
    module = SCRIPTS[name].split(":")[0]
    code = SCRIPT.format(module=module, name=f"/bin/{name}", heavy=HEAVY)
    return python(code, *arguments)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_loads_no_library(name: str) -> None:
    process = start(name, "--help")
    out, err = process.communicate()
    assert process.returncode == 0
    assert out.startswith(f"usage: {name} ")
    assert err == "loaded:\n"


def test_refusals_load_no_library(tmp_path: Path) -> None:
    process = start("bnb-tune", str(tmp_path), "--path", "x.pt", "--batch-size", "0")
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[0] == "loaded:"
    assert err.splitlines()[1].startswith("bnb-tune: DATA_BIN must")
    assert err.endswith("; --batch-size must be at least 1, but is 0\n")


def test_bad_usage_ends_with_2() -> None:
    process = start("bnb-tune", "data", "--batch-size", "many")
    _, err = process.communicate()
    assert process.returncode == 2
    assert "--batch-size: invalid int value: 'many'" in err


ENDLESS = """import sys, time
from bnb_fairseq.cli.command import Command
def run(arguments):
    for i in range({lines}):
        print(i, flush={flush})
    print("begun", file=sys.stderr, flush=True)
    time.sleep({seconds})
sys.exit(Command("bnb-x", None, lambda parser: None, run).main())
"""


def endless(**values: object) -> "subprocess.Popen[str]":
    return python(ENDLESS.format(**values))


@pytest.mark.parametrize("flush", [True, False])
def test_a_closed_pipe_ends_it_quietly(flush: bool) -> None:
    """As `bnb-x | head` does; without a flush, all comes at the end."""
    process = endless(lines=10**5 if flush else 10, flush=flush, seconds=0)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ("" if flush else "begun\n")
    assert process.wait(60) == command.CLOSED_PIPE


def test_ctrl_c_ends_it_quietly() -> None:
    process = endless(lines=1, flush=True, seconds=60)
    assert process.stderr is not None
    assert process.stderr.readline() == "begun\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("0\n", "")
    assert process.returncode == command.INTERRUPTED == 130


def test_without_an_error_the_script_goes_on() -> None:
    steps = []
    with one_line_errors("script", ValueError):
        steps.append("within")
    steps.append("after")
    assert steps == ["within", "after"]
