"""Packages that pip cannot install along with this one, and the commands that install them.

The package imports this module first, so that a missing package is named before anything fails; it needs the standard
library only.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.util import find_spec

TORCH = 'pip install "torch==2.13.0"'
FAIRSEQ = (
    'pip install "numpy<2.4" cython wheel "setuptools<81"',
    'CFLAGS="-O1 -g0 -fwrapv -DNDEBUG" pip install --no-build-isolation --no-deps --no-binary fairseq-fixed '
    "fairseq-fixed==0.12.3.1",
)
OTHER_FAIRSEQ = "pip uninstall --yes fairseq fairseq-fixed"
ABOUT_TORCH = (
    "PyTorch is yours to choose: on Linux this takes a CUDA build of several gigabytes. The command for another, such "
    'as the small one for CPUs, is on PyTorch\'s "Get started" page.'
)
ABOUT_FAIRSEQ = (
    "fairseq is compiled: about two minutes, with a C++ compiler and Python's headers (Debian: g++ and python3-dev). "
    "Keep --no-deps: it leaves out torchaudio, which nothing here uses."
)


def is_installed(name: str) -> bool:
    """Whether a package can be imported; an empty folder of that name does not count."""
    spec = find_spec(name)
    return spec is not None and spec.origin is not None


def instructions(problem: str, torch: bool, fairseq: Sequence[str]) -> str:
    """Explain how to install what is missing; ``fairseq`` are the commands for it, none if it is there."""
    commands = [*([TORCH] if torch else []), *fairseq]
    notes = [*([ABOUT_TORCH] if torch else []), *([ABOUT_FAIRSEQ] if fairseq else [])]
    return "\n".join([f"{problem} In this environment, run:", *(f"    {command}" for command in commands), *notes])


def require_torch() -> None:
    """Raise an ImportError with the command that installs torch unless it is installed."""
    if not is_installed("torch"):
        raise ImportError(
            instructions("bnb_fairseq needs PyTorch, which pip does not install along with it.", True, ())
        )


def require_host() -> None:
    """Refuse to continue without torch and a fairseq that runs here.

    Raises:
        ImportError: naming the missing package and the commands that install it.
    """
    torch, fairseq = (not is_installed(name) for name in ("torch", "fairseq"))
    if torch or fairseq:
        names = " and ".join(name for name, missing in (("PyTorch", torch), ("fairseq", fairseq)) if missing)
        problem = f"bnb_fairseq needs {names}, which pip does not install along with it."
        raise ImportError(instructions(problem, torch, FAIRSEQ if fairseq else ()))
    try:
        importlib.import_module("fairseq")
    except ImportError:
        raise  # it names the package that is missing
    except Exception as error:  # the fairseq of the registry: a ValueError of Python's dataclasses
        python = ".".join(map(str, sys.version_info[:2]))
        problem = f"bnb_fairseq needs a fairseq that runs on Python {python}, but the one installed does not: {error}."
        raise ImportError(instructions(problem, False, (OTHER_FAIRSEQ, *FAIRSEQ))) from error
