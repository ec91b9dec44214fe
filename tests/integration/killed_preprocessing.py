"""fairseq-preprocess in a process that kills itself at a chosen moment: before it opens, renames or removes a file."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import fairseq_cli.preprocess
import torch

import bnb_fairseq.plugin  # noqa: F401  (imported once, not by each child)

from . import forked

MOMENTS = ("open", "os.remove", "os.rename", "os.mkdir", "shutil.copyfile", "shutil.rmtree")  # Python's audit events


def _run_until(moment: int, words: Sequence[str], folder: Path) -> None:
    """Run the command and die at a moment; number 0 is the first that has to do with the folder."""
    seen = -1

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in MOMENTS and str(folder) in f"{arguments[:2]}" and os.getpid() == own:
            seen += 1
            if seen == moment:
                os.kill(own, signal.SIGKILL)

    own = os.getpid()
    sys.addaudithook(count)
    sys.argv = list(words)
    fairseq_cli.preprocess.cli_main()


def _run_all(words: Sequence[str], older: Path, folder: Path, step: int) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # as when it is typed
    for number, moment in enumerate(range(0, 1000, step)):
        copy = folder / str(number)
        shutil.copytree(older, copy)
        child = os.fork()
        if child == 0:
            with (folder / "log").open("ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            _run_until(moment, [*words, "--destdir", str(copy)], copy)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if not os.WIFSIGNALED(status):
            (folder / "status").write_text(f"{os.WEXITSTATUS(status)}")
            return


def preprocess(words: Sequence[str], older: Path, folder: Path, step: int = 1) -> list[Path]:
    """Preprocess into copies of a data-bin folder, and kill each time at another moment.

    Args:
        words: the command, without ``--destdir``.
        older: the data-bin folder; perhaps an empty one.
        folder: a new folder, for the copies.
        step: 1: at every moment; 2: at every second one, and so on.

    Returns:
        The copies, in order of the moments; the last run was not killed.
    """
    folder.mkdir()
    process = forked.PROCESSES.Process(target=_run_all, args=(words, older, folder, step))
    process.start()
    process.join()
    log = (folder / "log").read_text(encoding="utf-8", errors="replace")
    assert (folder / "status").read_text() == "0", log[-5000:]
    return [folder / str(i) for i in range(sum(path.is_dir() for path in folder.iterdir()))]
