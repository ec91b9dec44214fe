"""Commands in processes of their own that begin with torch, fairseq and transformers imported."""

import argparse
import importlib
import multiprocessing
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

PRELOADED = ["torch", "transformers", "sacrebleu", "hydra", "fairseq.tasks", "fairseq.models", "fairseq.criterions"]
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(PRELOADED)


def _parse_and_exit(parser: argparse.ArgumentParser, line: Sequence[str] | None = None) -> None:
    _, unknown = parser.parse_known_args(line)
    sys.exit(f"unknown: {' '.join(unknown)}" if unknown else 0)


def _become(words: Sequence[str], folder: Path, log: Path, paths: Sequence[str], cuda: bool, only_parse: bool) -> None:
    with log.open("wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    # A command's own processes are its children, as when it is typed; else they would outlive it if it is killed.
    multiprocessing.set_start_method("fork", force=True)
    torch.set_num_threads(1)
    if not cuda:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.path[:0] = paths
    if only_parse:
        argparse.ArgumentParser.parse_args = _parse_and_exit  # type: ignore[method-assign, assignment]
    if words[0] == "python":
        sys.argv = list(words[1:])
        sys.path.insert(0, str(Path(words[1]).resolve().parent))
        runpy.run_path(words[1], run_name="__main__")
    else:
        sys.argv = list(words)
        importlib.import_module(f"fairseq_cli.{words[0].removeprefix('fairseq-').replace('-', '_')}").cli_main()


def run(
    words: Sequence[str],
    folder: Path,
    log: Path,
    paths: Sequence[str] = (),
    cuda: bool = False,
    only_parse: bool = False,
    fails: bool = False,
) -> str:
    """Run a command of fairseq, or a script behind ``python``, as if it had been typed in a folder.

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
    process = PROCESSES.Process(target=_become, args=(words, folder, log, paths, cuda, only_parse))
    process.start()
    process.join()
    printed = log.read_text(encoding="utf-8", errors="replace")
    assert (process.exitcode != 0) == fails, f"{' '.join(words)}\nended with {process.exitcode}:\n{printed[-5000:]}"
    return printed
