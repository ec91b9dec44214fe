"""Expected errors end a command or script with one line; all others keep their traceback."""

import argparse
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import pytest

from bnb_fairseq.cli.errors import one_line_errors

from ...conftest import ROOT

# command or script -> the function that raises, errors that are expected of it, errors that are not
EXPECTED: dict[str, tuple[str, list[type[Exception]], list[type[Exception]]]] = {
    "bnb-ngram": ("run", [ValueError, OSError, FileNotFoundError, ImportError], [RuntimeError, KeyError]),
    "bnb-average": ("run", [ValueError, OSError, FileNotFoundError], [RuntimeError, ImportError]),
    "bnb-convert": ("run", [ValueError, OSError, FileNotFoundError], [RuntimeError, ImportError]),
    "bnb-refinement": ("run", [ValueError, OSError, FileNotFoundError], [RuntimeError, ImportError]),
    "bnb-score": ("run", [ValueError, OSError, FileNotFoundError], [RuntimeError, KeyError]),
    "examples/techdoc-en-de/prepare_text": ("run", [ValueError, OSError, FileNotFoundError], [RuntimeError, KeyError]),
    "bnb-tune": ("run", [ValueError, OSError, FileNotFoundError, ImportError], [RuntimeError, KeyError]),
    "bnb-distill": ("check", [ValueError, OSError, FileNotFoundError], [RuntimeError, ImportError]),
}


@pytest.fixture
def raises(load_script: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Load a script that is to meet an error as soon as its arguments are read."""

    def load(name: str, error: Exception) -> ModuleType:
        def fail(*_: object) -> None:
            raise error

        folder, _, command = name.rpartition("/")
        module = f"bnb_fairseq.cli.{command.removeprefix('bnb-')}"
        script = load_script(command, folder) if folder else import_module(module)
        monkeypatch.setattr(script, "parse_arguments", lambda: argparse.Namespace(cpu=True))
        monkeypatch.setattr(script, EXPECTED[name][0], fail)
        return script

    return load


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in EXPECTED for kind in EXPECTED[name][1]])
def test_expected_errors_of_each_script(
    name: str, kind: type[Exception], raises: Callable[[str, Exception], ModuleType]
) -> None:
    error = kind("--beam must be\n  at least 1,\tbut is 0\n")
    with pytest.raises(SystemExit) as ended:
        raises(name, error).main()
    assert ended.value.code == f"{name.rpartition('/')[2]}: --beam must be at least 1, but is 0"
    assert ended.value.__cause__ is error


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in EXPECTED for kind in EXPECTED[name][2]])
def test_other_errors_pass(name: str, kind: type[Exception], raises: Callable[[str, Exception], ModuleType]) -> None:
    error = kind("a fault of the script")
    with pytest.raises(kind) as caught:
        raises(name, error).main()
    assert caught.value is error


def test_what_a_user_sees() -> None:
    code = (
        "from bnb_fairseq.cli.errors import one_line_errors\nwith one_line_errors('script', OSError):\n    open('x/y')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "script: [Errno 2] No such file or directory: 'x/y'\n"


def test_without_an_error_the_script_goes_on() -> None:
    steps = []
    with one_line_errors("script", ValueError):
        steps.append("within")
    steps.append("after")
    assert steps == ["within", "after"]
