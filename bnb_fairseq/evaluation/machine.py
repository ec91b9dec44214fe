"""Commit, hardware, threads and versions, on which a measured figure depends."""

import platform
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import packages_distributions, version
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]  # of a checkout


def describe_machine(device: str, packages: Sequence[str]) -> dict[str, str | int]:
    """Describe the machine.

    Args:
        device: ``cpu`` or ``cuda``.
        packages: importable names; those that are not installed are left out.

    Returns:
        Values by name; the commit is ``unknown`` outside a checkout.
    """
    line = ["git", "--no-optional-locks", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    commit = "unknown"
    if (ROOT / ".git").exists():  # else an installed package would take the commit of a repository around it
        with suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpuinfo.read_text(encoding="utf-8")) if cpuinfo.is_file() else None
    gpu = {"GPU": torch.cuda.get_device_name()} if device == "cuda" else {}
    cpu = model[1] if model else platform.processor() or platform.machine()
    cpu = f"{cpu} ({torch.backends.cpu.get_cpu_capability()})"
    distributions = packages_distributions()  # fairseq is distributed under other names, too
    versions = {name: version(distributions[name][0]) for name in packages if name in distributions}
    threads = torch.get_num_threads()
    return {"commit": commit, "CPU": cpu, **gpu, "threads": threads, "Python": platform.python_version(), **versions}
