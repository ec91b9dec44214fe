"""The commands that an installation puts beside Python."""

import importlib

import tomllib

from ...conftest import ROOT


def test_every_command_is_a_module_of_its_name() -> None:
    """So ``bnb-NAME`` and ``python -m bnb_fairseq.cli.NAME`` are the same."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts
    for name, target in scripts.items():
        module = f"bnb_fairseq.cli.{name.removeprefix('bnb-')}"
        assert target == f"{module}:main"
        assert callable(importlib.import_module(module).main)
