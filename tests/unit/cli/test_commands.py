"""Every command is installed under its name, by which its usage calls it."""

from importlib import import_module

import pytest
import tomllib

from ...conftest import ROOT

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
OTHERS = ("__init__", "errors", "train")  # the last is started by torchrun alone


def test_every_module_is_a_command() -> None:
    modules = {path.stem for path in (ROOT / "bnb_fairseq" / "cli").glob("*.py")}.difference(OTHERS)
    assert {f"bnb-{name.replace('_', '-')}": f"bnb_fairseq.cli.{name}:main" for name in modules} == SCRIPTS
    assert len(SCRIPTS) >= 3


@pytest.mark.parametrize("name", SCRIPTS)
def test_usage(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module, function = SCRIPTS[name].split(":")
    monkeypatch.setattr("sys.argv", ["/somewhere/else.py", "--help"])
    with pytest.raises(SystemExit) as end:
        getattr(import_module(module), function)()
    assert end.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {name} ")
