"""Print which steps of ``scripts/bootstrap.sh`` are still to be done, one name a line; nothing if all is installed.

It runs in a virtual environment that may hold nothing but pip, so it uses the standard library alone until
``packaging`` is there.
"""

import argparse
import json
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]


def installed(name: str) -> str | None:
    """Return the installed version of a package, or None; RECORD, which pip writes last, shows that it is complete."""
    try:
        package = distribution(name)
    except PackageNotFoundError:
        return None
    return None if package.read_text("RECORD") is None else package.version


def satisfied(requirements: Path) -> bool:
    """Tell whether every requirement of a file is installed.

    Args:
        requirements: pip's requirements file; plain requirements and comments only.

    Returns:
        False if a package is missing or has another version than wanted.
    """
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return False
    lines = (line.partition("#")[0].strip() for line in requirements.read_text(encoding="utf-8").splitlines())
    for requirement in (Requirement(line) for line in lines if line):
        found = installed(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            return False
    return True


def plugin_is_editable() -> bool:
    """Tell whether this very folder is installed."""
    try:
        origin = json.loads(distribution("bnb_fairseq").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return False
    return origin.get("url") == ROOT.as_uri()


def commands_are_installed() -> bool:
    """Tell whether the installed package has just the commands that pyproject.toml names, which pip makes."""
    found = {point.name: point.value for point in distribution("bnb_fairseq").entry_points}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found == project["scripts"]


def missing(fairseq: str) -> Iterator[str]:
    """List the steps to do.

    Args:
        fairseq: the fairseq package that is wanted, ``NAME==VERSION``.

    Yields:
        str: Names of steps, in the order in which they must be done.
    """
    if installed("torch") is None:
        yield "torch"
    name, _, wanted = fairseq.partition("==")
    if installed(name) != wanted:
        if None in (installed("cython"), installed("wheel"), installed("numpy"), installed("setuptools")):
            yield "build-tools"
        yield "fairseq"
    if not satisfied(ROOT / "scripts" / "requirements.txt"):
        yield "requirements"
    if not (plugin_is_editable() and commands_are_installed()):
        yield "plugin"


def exact_version(text: str) -> str:
    """Read the argument.

    Args:
        text: ``NAME==VERSION``.

    Returns:
        The same.

    Raises:
        ArgumentTypeError: if it does not have this form.
    """
    name, _, version = text.partition("==")
    if not (name and version):
        raise argparse.ArgumentTypeError(f"must be NAME==VERSION, but is {text!r}")
    return text


def main() -> None:
    """Print the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fairseq", type=exact_version, metavar="FAIRSEQ", help="the package wanted, NAME==VERSION")
    print("\n".join(missing(parser.parse_args().fairseq)))


if __name__ == "__main__":
    main()
