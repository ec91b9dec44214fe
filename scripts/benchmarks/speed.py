"""Compare the speed of one-pass translation with what could be used instead, all systems doing the same work.

Every system translates the same random sentences of one length into outputs of one length, in turns, at several batch
sizes: this project's models, with refinement and search too, the autoregressive baseline, fairseq's own models,
CTranslate2, and the bare forward pass as the floor. Prints a table; writes table.md, speed.json and speed.png. The
picture shows at most six systems. --draw makes it from tables that are there, and measures nothing.
"""

import argparse
import logging
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timing.families import FAMILIES
from timing.memory import job, largest_batch, peak_memory
from timing.picture import draw
from timing.report import MEMORY, SEARCHED, TIMED, Result, Row, as_json, table
from timing.systems import System
from timing.workload import PRECISIONS, Workload, make_workload

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.evaluation.clock import time_in_turns
from bnb_fairseq.evaluation.machine import describe_machine

REAL_BERT = Path("demo/bert")
FETCH = Path(__file__).resolve().parents[2] / "examples" / "techdoc-en-de" / "fetch_bert.py"
LARGEST = "largest"
OPTIONAL = ("ctranslate2", "kenlm", "onnx", "onnxruntime", "onnxscript")
VERSIONS = ("torch", "fairseq", *OPTIONAL, "numpy")


class Preset(NamedTuple):
    """Sizes (BERT directories or ``bert-base``), batch sizes, and counted calls of each system."""

    sizes: list[str]
    batches: list[str]
    runs: int


PRESETS = {
    "quick": Preset([str(REAL_BERT)], ["1", "8", "32"], 3),
    "full": Preset([str(REAL_BERT), "bert-base"], ["1", "8", "32", LARGEST], 3),
}


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse a command line (None: the process's own) and fill in the preset's values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=["cpu", "cuda"], default=default, help=f"default here: {default}")
    parser.add_argument("--preset", choices=list(PRESETS), default="quick", help="sets --sizes, --batches and --runs")
    parser.add_argument("--sizes", nargs="+", help="bert-base (random weights), or directories that hold a BERT")
    parser.add_argument("--batches", nargs="+", help="sentences in a batch, or 'largest': doubled while it fits")
    parser.add_argument("--runs", type=int, help="counted calls of each system")
    parser.add_argument("--largest", type=int, help="limit of 'largest' (default: 64 on a CPU, 4096 on a GPU)")
    parser.add_argument(
        "--precisions",
        nargs="+",
        choices=list(PRECISIONS),
        help="of weights and states; medium: float32, multiplied in bfloat16 (default: float32; bfloat16 too on a GPU)",
    )
    parser.add_argument("--systems", nargs="+", choices=list(FAMILIES), default=list(FAMILIES), help="default: all")
    parser.add_argument("--source-tokens", type=int, default=25, help="[CLS] and [SEP] counted")
    parser.add_argument("--target-tokens", type=int, default=25, help="[CLS] and [SEP] counted")
    text = "positions of CTC's canvas for each source token (default: 2)"
    parser.add_argument("--ctc-upsample", type=float, default=2.0, help=text)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the CPU")
    parser.add_argument("--memory-batch", type=int, default=32, help="for peak memory; 0: not measured")
    parser.add_argument("--output", type=Path, default=Path("benchmark"), help="folder for table, JSON and picture")
    files = ("TABLES.md", "PICTURE.png")
    parser.add_argument("--draw", nargs=2, type=Path, metavar=files, help="draw tables that were saved, and end")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # what the child processes run
    options = parser.parse_args(arguments)
    for name, value in PRESETS[options.preset]._asdict().items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.largest = options.largest or (64 if options.device == "cpu" else 4096)
    options.precisions = options.precisions or (["float32"] if options.device == "cpu" else ["float32", "bfloat16"])
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    for name in ("runs", "largest", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1, but is {getattr(options, name)}")
    for name in ("source_tokens", "target_tokens"):
        if getattr(options, name) < 3:
            parser.error(f"--{name.replace('_', '-')} must be at least 3, but is {getattr(options, name)}")
    wrong = [batch for batch in options.batches if batch != LARGEST and not (batch.isdigit() and int(batch))]
    if wrong:
        parser.error(f"--batches must be positive numbers or {LARGEST!r}, but has {', '.join(wrong)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a GPU, but torch sees none")
    if options.memory_batch < 0:
        parser.error(f"--memory-batch must not be negative, but is {options.memory_batch}")


def say(text: str) -> None:
    """Show progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')}  {text}", file=sys.stderr, flush=True)


def build(workload: Workload, families: Sequence[str]) -> Iterator[tuple[str, System]]:
    """Build the systems of these ``FAMILIES``, one after the other; yield family and system."""
    for family in families:
        if family.startswith(("ctranslate2", "onnx")) and workload.precision != "float32":
            continue
        if family.startswith("onnx") and workload.device != "cpu":
            continue
        try:
            for system in FAMILIES[family](workload):
                say(f"built {system.name}")
                yield family, system
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise
            say(f"left out: what of {family} needs {error.name}; pip install {error.name}")


def measure_memory(family: str, system: str, workload: Workload, options: argparse.Namespace) -> float | None:
    """Measure a system's peak memory in MB in a process of its own; None if the process failed."""
    command = [sys.executable, __file__, "--memory-of", system, "--systems", family]
    command += ["--sizes", workload.name, "--precisions", workload.precision, "--device", workload.device]
    for name in ("source_tokens", "target_tokens", "ctc_upsample", "threads", "memory_batch"):
        command += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    say(f"{workload.name} {workload.precision}: memory of {system}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        say(f"could not be measured: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        return None
    return float(done.stdout.split()[-1])


def measure(workload: Workload, options: argparse.Namespace) -> Result:
    """Measure every system of a setting."""
    built = list(build(workload, options.systems))
    systems = [system for _, system in built]
    names = [(family, system.name, system.size) for family, system in built]
    built.clear()
    columns: dict[str, list[Any]] = {}
    tokens = workload.source_tokens
    for column in options.batches:
        largest = column == LARGEST
        batches = [
            largest_batch(system, tokens, workload.device, options.largest) if largest else int(column)
            for system in systems
        ]
        fitting = [i for i, batch in enumerate(batches) if batch]
        timings = time_in_turns(
            [job(systems[i], batches[i], tokens) for i in fitting],
            workload.device,
            options.runs,
            lambda text, column=column: say(f"{workload.name} {workload.precision}, batch {column}: {text}"),  # type: ignore[misc]
        )
        found = dict(zip(fitting, timings, strict=True))
        columns[column] = [found.get(i) for i in range(len(systems))]
    systems.clear()  # their memory is needed by the processes that measure it
    rows = []
    for i, (family, name, size) in enumerate(names):
        memory = measure_memory(family, name, workload, options) if options.memory_batch else None
        rows.append(Row(name, {column: timings[i] for column, timings in columns.items()}, memory, size))
    return Result(workload.name, workload.precision, rows)


def report(results: Sequence[Result], options: argparse.Namespace) -> str:
    """Write table, JSON and picture of the results so far; return the table with its heading."""
    about = describe_machine(options.device, VERSIONS)
    heading = ", ".join(f"{name} {value}" for name, value in about.items())
    lengths = f"{options.source_tokens} source tokens, {options.target_tokens} target tokens"
    text = [f"{heading}; {lengths}; {options.runs} runs in turns.", ""]
    notes = [SEARCHED] if "bnb-ctc-search" in options.systems else []
    text += [TIMED, *notes, MEMORY.format(batch=options.memory_batch), ""]
    for result in results:
        text += [f"### {result.size}, {result.precision}", "", table(result), ""]
    page = "\n".join(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "table.md").write_text(page, encoding="utf-8")
    saved = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    (options.output / "speed.json").write_text(as_json(results, {**about, "options": saved}), encoding="utf-8")
    draw(page, options.output / "speed.png")
    return page


def main() -> None:
    """Measure and report, after every setting."""
    options = parse()
    for name in ("bnb_fairseq", "fairseq", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if options.draw is not None:
        with one_line_errors("speed", ValueError, OSError):
            draw(options.draw[0].read_text(encoding="utf-8"), options.draw[1])
        return
    torch.set_num_threads(options.threads)
    lengths = (options.source_tokens, options.target_tokens)
    with one_line_errors("speed", ValueError, subprocess.CalledProcessError):
        if str(REAL_BERT) in options.sizes and not (REAL_BERT / "config.json").is_file():
            subprocess.run([sys.executable, str(FETCH), str(REAL_BERT)], check=True, stdout=sys.stderr)
        settings = [
            make_workload(size, lengths, options.device, precision, options.threads, options.ctc_upsample)
            for size in options.sizes
            for precision in options.precisions
        ]
    if options.memory_of is not None:
        for _, system in build(settings[0], options.systems):
            if system.name == options.memory_of:
                print(peak_memory(system, options.memory_batch, options.source_tokens, options.device))
                return
    begun = time.perf_counter()
    results: list[Result] = []
    for workload in settings:
        results.append(measure(workload, options))
        text = report(results, options)
    print(text)
    say(f"{time.perf_counter() - begun:.0f} s; {options.output} holds table.md, speed.json and speed.png")


if __name__ == "__main__":
    main()
