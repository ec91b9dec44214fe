"""Memory of a fairseq-interactive that translates many sentences.

``python -m tests.integration.interactive_memory FOLDER SENTENCES [OPTION ...]`` trains a tiny model for an update and
gives it the training texts of the repository again and again. It prints the process's memory after 1/20, 1/2 and all of
them. Options are those of fairseq-interactive, such as ``--ctc-beam 5``.
"""

import argparse
import itertools
import lzma
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from ..conftest import ROOT, SMALL_DATA

PLUGIN = ("--user-dir", str(ROOT / "bnb_fairseq"), "--task", "translation_bnb")
SIZES = ("layers=1", "embed-dim=32", "ffn-embed-dim=64", "attention-heads=2")
TRAIN = (
    *("--arch", "bnb_transformer_tiny", *(f"--{side}-{size}" for side in ("encoder", "decoder") for size in SIZES)),
    *("--criterion", "bnb_loss", "--optimizer", "adam", "--max-update", "1", "--batch-size", "64", "--cpu"),
    *("--disable-validation", "--num-workers", "0"),
)
INTERACTIVE = ("--buffer-size", "1000", "--batch-size", "100", "--cpu", "--truncate-source")
SYMBOLS = "2000"  # of each dictionary
PARTS = (1 / 20, 1 / 2, 1)


def read_texts() -> list[tuple[str, str]]:
    """Read the training pairs of the repository."""
    with lzma.open(SMALL_DATA / "train.tsv.xz", "rt", encoding="utf-8") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    return [(row[0], row[1]) for row in rows]


def command(name: str, *words: object) -> list[str]:
    """Put together a command of fairseq."""
    return [str(Path(sys.executable).with_name(f"fairseq-{name}")), *map(str, words), *PLUGIN]


def prepare(folder: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    """Write a data-bin folder and train a model; returns the checkpoint."""
    for side, language in enumerate(("en", "de")):
        (folder / f"train.{language}").write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")
    symbols = ["--nwordssrc", SYMBOLS, "--nwordstgt", SYMBOLS]
    data = ["-s", "en", "-t", "de", "--trainpref", folder / "train", "--destdir", folder / "data-bin", *symbols]
    for line in (
        command("preprocess", *data),
        command("train", folder / "data-bin", *TRAIN, "--save-dir", folder / "checkpoints"),
    ):
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "checkpoints" / "checkpoint_last.pt"


def memory(process: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None, status
    return int(found[1]) / 1000


def measure(line: Sequence[str], sources: Sequence[str], sentences: int) -> Iterator[tuple[int, float]]:
    """Translate; yields numbers of sentences with the memory in MB after them."""

    def write(stream: IO[str]) -> None:
        with stream:
            stream.writelines(f"{text}\n" for text in itertools.islice(itertools.cycle(sources), sentences))

    wanted = {round(sentences * part) for part in PARTS}
    with subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, encoding="utf-8"
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        threading.Thread(target=write, args=(process.stdin,), daemon=True).start()
        done = 0
        for printed in process.stdout:
            if printed.startswith("D-"):
                done += 1
                if done in wanted:
                    yield done, memory(process.pid)
    assert process.returncode == 0
    assert done == sentences, f"{done} of {sentences} sentences came back"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("sentences", type=int, metavar="SENTENCES")
    arguments, options = parser.parse_known_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    pairs = read_texts()
    checkpoint = prepare(arguments.folder, pairs)
    line = command("interactive", arguments.folder / "data-bin", "--path", checkpoint, *INTERACTIVE, *options)
    print("| sentences | resident memory, MB |\n| --: | --: |", flush=True)
    for done, megabytes in measure(line, [source for source, _ in pairs], arguments.sentences):
        print(f"| {done:,} | {megabytes:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
