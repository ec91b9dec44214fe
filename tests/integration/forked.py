"""Commands in processes of their own that begin with torch, fairseq and transformers imported.

A server imports these libraries once and forks for each command, which saves seconds a command. It imports neither the
plugin nor fairseq's commands: their own start is part of every process. ``test_starts.py`` compares with real starts.
"""

import argparse
import atexit
import builtins
import gc
import importlib
import logging
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

LIBRARIES = ["torch", "transformers", "sacrebleu", "hydra", "fairseq.tasks", "fairseq.models", "fairseq.criterions"]
LIBRARIES += ["torch._dynamo"]  # which torch imports for the first update
# Where Ray is installed, fairseq's imports reach pyarrow, whose allocator would start a thread in the server.
os.environ.setdefault("JE_ARROW_MALLOC_CONF", "background_thread:false")
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["__main__", *LIBRARIES])  # the first is pytest, which every process would import
ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
NOTHING = Path(os.devnull)


def _parse_and_exit(parser: argparse.ArgumentParser, line: Sequence[str] | None = None) -> None:
    _, unknown = parser.parse_known_args(line)
    sys.exit(f"unknown: {' '.join(unknown)}" if unknown else 0)


def _open(stdin: Path, out: Path, err: Path) -> None:
    """Read and write files in place of the server's streams; one file for both outputs keeps their order."""
    os.dup2(os.open(stdin, os.O_RDONLY), 0)
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 1)
    os.dup2(1 if err == out else os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 2)
    sys.stdin = open(0, encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)  # noqa: SIM115


def _forget_logging() -> None:
    """Let fairseq set up logging when it is imported once more, as it does where nothing has done it before."""
    root, imported = logging.getLogger(), builtins.__import__
    level = root.level
    root.handlers.clear()
    root.setLevel(logging.WARNING)

    def watch(name: str, *others: Any, **named: Any) -> ModuleType:
        if name.partition(".")[0] == "fairseq":
            builtins.__import__ = imported
            logging.basicConfig(level=level)
        return imported(name, *others, **named)

    builtins.__import__ = watch


def _become(
    words: Sequence[str],
    folder: Path,
    streams: tuple[Path, Path, Path],
    environment: Mapping[str, str],
    only_parse: bool,
) -> None:
    _open(*streams)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    # A command's own processes are its children, as when it is typed; else they would outlive it if it is killed.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    np.random.seed()  # the server's state would be the same for all
    gc.freeze()
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    _forget_logging()
    if only_parse:
        argparse.ArgumentParser.parse_args = _parse_and_exit  # type: ignore[method-assign, assignment]
    if words[0].startswith("bnb-"):
        words = ["python", "-m", f"bnb_fairseq.cli.{words[0].removeprefix('bnb-').replace('-', '_')}", *words[1:]]
    try:
        if words[0] == "python" and words[1] == "-m":
            sys.argv = [words[2], *words[3:]]
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        elif words[0] == "python":
            sys.argv = list(words[1:])
            sys.path.insert(0, str(Path(words[1]).resolve().parent))
            runpy.run_path(words[1], run_name="__main__")
        else:
            sys.argv = [str(PROGRAMS / words[0]), *words[1:]]
            module = words[0].removeprefix("fairseq-").replace("-", "_")
            sys.exit(importlib.import_module(f"fairseq_cli.{module}").cli_main())
    except Exception:
        sys.excepthook(*sys.exc_info())  # as a real start shows it
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()


def start(
    words: Sequence[str],
    folder: Path,
    out: Path,
    err: Path | None = None,
    stdin: Path = NOTHING,
    environment: Mapping[str, str] | None = None,
    only_parse: bool = False,
) -> ForkServerProcess:
    """Start a command of fairseq or of this package, or what stands behind ``python``, as if typed in a folder.

    Args:
        words: the command.
        folder: where it is typed.
        out: file for what it prints.
        err: file for its errors; None puts them into ``out``.
        stdin: file with what is typed into it.
        environment: its variables, those of this process by default; PYTHONPATH works.
        only_parse: end, with success, once the command line is parsed.

    Returns:
        The process.
    """
    streams = (stdin, out, err or out)
    variables = dict(os.environ if environment is None else environment)
    process = PROCESSES.Process(target=_become, args=(list(words), folder, streams, variables, only_parse))
    process.start()
    return process


def run(
    words: Sequence[str],
    folder: Path,
    log: Path,
    paths: Sequence[str] = (),
    cuda: bool = False,
    only_parse: bool = False,
    fails: bool = False,
) -> str:
    """Run a command to its end, see ``start``.

    Args:
        words: the command.
        folder: where it is typed.
        log: file for what it prints.
        paths: what PYTHONPATH would hold.
        cuda: whether it sees GPUs.
        only_parse: end, with success, once the command line is parsed.
        fails: whether it is to fail.

    Returns:
        What it printed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if not cuda:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    process = start(words, folder, log, environment=environment, only_parse=only_parse)
    process.join()
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert (process.exitcode != 0) == fails, f"{' '.join(words)}\nended with {process.exitcode}:\n{printed[-5000:]}"
    return printed


def capture(
    *words: object,
    stdin: str | bytes = b"",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    joined: bool = False,
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, as ``subprocess.run`` would.

    Args:
        words: the command, see ``start``.
        stdin: what is typed into it.
        cwd: where it is typed; here by default.
        environment: its variables, those of this process with the repository in PYTHONPATH by default.
        joined: put its errors among what it prints.

    Returns:
        Its exit code, what it printed and its errors.
    """
    line = [str(word) for word in words]
    environment = environment or {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as name:
        typed, out, err = (Path(name, stream) for stream in ("stdin", "out", "err"))
        typed.write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        process = start(line, cwd or Path.cwd(), out, out if joined else err, typed, environment)
        process.join()
        texts = [path.read_bytes().decode("utf-8", "replace") if path.exists() else "" for path in (out, err)]
    return subprocess.CompletedProcess(line, process.exitcode or 0, *texts)
