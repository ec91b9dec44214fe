r"""Compare checkpoints on one test set: quality, speed, and whether a difference may be chance.

A SYSTEM is ``NAME=CHECKPOINT``, with options of fairseq-generate behind it where it needs some:

    python scripts/benchmark_quality.py data-bin --source text/test.en --reference text/test.de --output quality \
        "ctc=run-ctc/checkpoint_best.pt" "bert2bert, beam 5=run-b2b/checkpoint_best.pt --beam 5 --max-len-b 100"

fairseq-generate runs for one system after the other. Its output stays in the output folder, and is used again while
its command, the checkpoint and the data are the same. quality.md there holds what is printed, quality.json its figures.

BLEU, chrF    sacrebleu's, of the detokenised output against the raw reference
mean ± 95%    of BLEU, over the samples of sacrebleu's paired bootstrap
p             of the difference in BLEU to the baseline, from the same test
length ratio  tokens (sacrebleu's 13a, as in BLEU) of the output over those of the reference
repetition %  share of tokens (13a) that equal their left neighbour in the same sentence
sentences/s   as fairseq-generate prints it: generation only
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from machine import describe_machine
from report_translation import Significance, compare, find_speed, read_lines, read_translations, repetition, score

ROOT = Path(__file__).resolve().parents[1]
GENERATE = Path(sys.executable).with_name("fairseq-generate")
RECORD = "# made by "
LAST_LINES = 30
VERSIONS = ("torch", "fairseq", "sacrebleu")
FIXED = {"--gen-subset", "--path", "--quiet", "--results-path"}  # a system with its own could not be compared
COPY, REFERENCE = "source copied", "reference"
HEAD = ("system", "BLEU", "mean ± 95%", "p", "chrF", "length ratio", "repetition %", "sentences/s")


class System(NamedTuple):
    """A system to compare: checkpoint as ``--path`` takes it, and its own options of fairseq-generate."""

    name: str
    checkpoint: str
    options: tuple[str, ...]

    @property
    def file(self) -> str:
        """Name of the file that its output is kept in."""
        return re.sub(r"[^\w.+-]+", "-", self.name).strip("-.") + ".txt"

    @property
    def checkpoints(self) -> list[Path]:
        """Files of the checkpoint; fairseq takes an ensemble as names with colons between them."""
        return [Path(file) for file in self.checkpoint.split(os.pathsep)]


class Run(NamedTuple):
    """What fairseq-generate made of a system: command, translations, sentences per second, and where it was made."""

    command: str
    translations: list[str]
    speed: float | None
    made: dict[str, str | int]


class Figures(NamedTuple):
    """A row of the table; None where a figure has no meaning."""

    system: str
    length_ratio: float
    repetition: float
    bleu: float | None = None
    chrf: float | None = None
    bootstrap: Significance | None = None
    speed: float | None = None


def parse_system(text: str) -> System:
    """Read one SYSTEM of the command line.

    Args:
        text: ``NAME=CHECKPOINT`` and options, quoted as in a shell.

    Returns:
        The system.

    Raises:
        ArgumentTypeError: if it does not have this form.
    """
    name, equals, rest = text.partition("=")
    name = name.strip()
    try:
        checkpoint, *options = shlex.split(rest)
    except ValueError:  # nothing behind the =, or a quotation without its end
        equals, checkpoint, options = "", "", []
    if not equals or not re.search(r"\w", name) or not name.isprintable():
        raise argparse.ArgumentTypeError(f"must be NAME=CHECKPOINT [OPTIONS], but is {text!r}")
    if name in (COPY, REFERENCE):
        raise argparse.ArgumentTypeError(f"NAME must not be {COPY!r} or {REFERENCE!r}, but is {name!r}")
    if options and not options[0].startswith("-"):
        raise argparse.ArgumentTypeError(f"options must follow the checkpoint, but {options[0]!r} does in {text!r}")
    if taken := FIXED & {option.split("=")[0] for option in options}:
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(taken))} must be left to this script, but is in {text!r}")
    return System(name, checkpoint, tuple(options))


def positive(text: str) -> int:
    """Read a number of the command line that must be 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but is {text!r}")
    return int(text)


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """Check what can be checked before anything runs, and return everything that is wrong."""
    systems: list[System] = arguments.systems
    folders = {"DATA_BIN": arguments.data_bin, "--user-dir": arguments.user_dir}
    texts = {"--source": arguments.source, "--reference": arguments.reference}
    faults = [f"{option} must be a folder, but is {path}" for option, path in folders.items() if not path.is_dir()]
    faults += [f"{option} must be a file, but is {path}" for option, path in texts.items() if not path.is_file()]
    if arguments.output.exists() and not arguments.output.is_dir():
        faults.append(f"--output must be a folder, but is {arguments.output}")
    if all(path.is_file() for path in texts.values()):
        lines = {option: len(read_lines(path)) for option, path in texts.items()}
        if len(set(lines.values())) > 1:
            found = ", ".join(f"{option} {texts[option]} has {count:,}" for option, count in lines.items())
            faults.append(f"--source and --reference must have the same number of lines, but {found}")
    if missing := [str(file) for system in systems for file in system.checkpoints if not file.is_file()]:
        faults.append(f"SYSTEM: every checkpoint must be a file, but these are missing: {', '.join(missing)}")
    names = [system.name for system in systems]
    files = [system.file.casefold() for system in systems]
    for file in sorted({file for file in files if files.count(file) > 1}):
        sharing = [name for name, other in zip(names, files, strict=True) if other == file]
        faults.append(f"SYSTEM: every NAME needs an output file of its own, but {sharing} would share {file}")
    if arguments.baseline not in (None, *names):
        faults.append(f"--baseline must be one of {names}, but is {arguments.baseline!r}")
    if not GENERATE.is_file():
        faults.append(f"fairseq must be installed for the Python that runs this, but there is no {GENERATE}")
    return faults


def parse_arguments() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_bin", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    parser.add_argument("systems", nargs="+", type=parse_system, metavar="SYSTEM", help='"NAME=CHECKPOINT [OPTIONS]"')
    parser.add_argument("--source", type=Path, required=True, help="raw source text")
    parser.add_argument("--reference", type=Path, required=True, help="raw reference text")
    parser.add_argument("--output", type=Path, required=True, help="folder for outputs, table and JSON")
    parser.add_argument("--baseline", metavar="NAME", help="system to test the others against (default: the first)")
    parser.add_argument("--bootstrap", type=positive, default=1000, help="samples of the test set (default: 1000)")
    parser.add_argument("--bootstrap-seed", type=positive, default=12345, help="(default: 12345, sacrebleu's)")
    parser.add_argument("--gen-subset", default="test", help="part of the data to translate (default: test)")
    parser.add_argument("--batch-size", type=positive, default=64, help="sentences in a batch (default: 64)")
    parser.add_argument("--cpu", action="store_true", help="translate on the CPU")
    plugin = Path(os.path.relpath(ROOT / "bnb_fairseq"))
    parser.add_argument("--user-dir", type=Path, default=plugin, help=f"fairseq plugin (default: {plugin})")
    arguments = parser.parse_args()
    if faults := find_faults(arguments):
        parser.error("\n".join(faults))
    arguments.baseline = arguments.baseline or arguments.systems[0].name
    return arguments


def make_command(system: System, arguments: argparse.Namespace) -> tuple[list[str], dict[str, Any]]:
    """Put together a system's command, and what its output is known by: that, and size and time (ns) of its files."""
    command = ["fairseq-generate", str(arguments.data_bin), "--user-dir", str(arguments.user_dir)]
    command += ["--task", "translation_bnb", "--path", system.checkpoint, "--gen-subset", arguments.gen_subset]
    command += ["--batch-size", str(arguments.batch_size), *(["--cpu"] if arguments.cpu else []), *system.options]
    beginnings = (f"{arguments.gen_subset}.", "dict.")
    data = sorted(file for file in arguments.data_bin.iterdir() if file.name.startswith(beginnings))
    states = {str(file): file.stat() for file in (*system.checkpoints, *data)}
    files = {name: [state.st_size, state.st_mtime_ns] for name, state in states.items()}
    return command, {"command": shlex.join(command), "files": files}


def read_run(output: Path, sentences: int) -> tuple[dict[str, Any], Run]:
    """Read the output of a run.

    Args:
        output: its file.
        sentences: how many translations it must hold.

    Returns:
        The record that it begins with, and the run.

    Raises:
        ValueError: if the record or a translation is missing.
    """
    with output.open(encoding="utf-8") as file:
        record = json.loads(file.readline().removeprefix(RECORD))
    made = record.pop("made")
    return record, Run(record["command"], read_translations(output, sentences), find_speed(output), made)


def translate(system: System, arguments: argparse.Namespace, sentences: int, made: Mapping[str, str | int]) -> Run:
    """Run fairseq-generate for a system, unless its output is there.

    Args:
        system: the system.
        arguments: the command line.
        sentences: how many translations there must be.
        made: what to note about this machine.

    Returns:
        The run.

    Raises:
        SystemExit: if the command fails, or leaves out sentences.
    """
    command, record = make_command(system, arguments)
    output = arguments.output / system.file
    partial = output.with_name(f"{output.name}.partial")
    try:
        found, run = read_run(output, sentences)
        if found == record:
            print("made before, used again", file=sys.stderr)
            return run
    except (OSError, ValueError, KeyError):
        pass  # none yet, or nothing that this script has written
    begun = time.perf_counter()
    # Unbuffered, so that what goes to stderr cannot fall into the middle of a translation.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    with partial.open("w", encoding="utf-8") as file:
        print(RECORD + json.dumps({**record, "made": made}), file=file, flush=True)
        done = subprocess.run(
            command, executable=GENERATE, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
        )
    if done.returncode:
        tail = partial.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        ended = f"fairseq-generate ended with exit code {done.returncode}; its whole output is {partial}"
        raise SystemExit("\n".join(["failed", *tail, f"{system.name}: {ended}, its command {record['command']}"]))
    try:
        _, run = read_run(partial, sentences)
    except ValueError as error:
        raise SystemExit(f"failed\n{system.name}: {error} (--reference has {sentences:,} lines)") from error
    partial.replace(output)
    print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr)
    return run


def measure(
    runs: Mapping[str, Run], tests: Mapping[str, Significance], sources: list[str], references: list[str]
) -> tuple[list[Figures], str]:
    """Fill the table.

    Args:
        runs: what each system wrote.
        tests: what the paired bootstrap says of each.
        sources: raw source text.
        references: raw references.

    Returns:
        A row for each system, one for the source copied and one for the reference; the signatures of both metrics.
    """
    rows, signatures = [], ""
    texts = [(name, run.translations, run.speed) for name, run in runs.items()]
    for name, lines, speed in [*texts, (COPY, sources, None)]:
        row, signatures = score(name, lines, references, "-")
        figures = (row.length_ratio, repetition(lines), row.bleu, row.chrf)
        rows.append(Figures(name, *figures, tests.get(name), speed))
    rows.append(Figures(REFERENCE, 1.0, repetition(references)))
    return rows, signatures


def format_table(rows: Sequence[Figures], baseline: str) -> str:
    """Write the table in Markdown; ``baseline`` is the system that the others were tested against."""

    def cell(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    lines = [HEAD, ("---", *["--:"] * (len(HEAD) - 1))]
    for row in rows:
        interval = p_value = "-"
        if test := row.bootstrap:
            interval = f"{test.mean:.1f} ± {test.interval:.1f}"
            p_value = "baseline" if row.system == baseline else "equal"
            p_value = p_value if test.p_value is None else f"{test.p_value:.4f}"
        scores = (cell(row.bleu, ".1f"), interval, p_value, cell(row.chrf, ".1f"))
        rest = (f"{row.length_ratio:.2f}", f"{row.repetition:.2f}", cell(row.speed, ",.1f"))
        lines.append((row.system.replace("|", "\\|"), *scores, *rest))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Translate, measure, and write the table, on stdout and with the JSON in the output folder."""
    arguments = parse_arguments()
    arguments.output.mkdir(parents=True, exist_ok=True)
    sources, references = read_lines(arguments.source), read_lines(arguments.reference)
    made = describe_machine("cpu" if arguments.cpu or not torch.cuda.is_available() else "cuda", VERSIONS)
    runs: dict[str, Run] = {}
    for number, system in enumerate(arguments.systems, start=1):
        print(f"[{number}/{len(arguments.systems)}] {system.name}: ", end="", file=sys.stderr, flush=True)
        runs[system.name] = translate(system, arguments, len(references), made)

    translations = {name: run.translations for name, run in runs.items()}
    samples, seed = arguments.bootstrap, arguments.bootstrap_seed
    tests, tested = compare(translations, references, arguments.baseline, samples, seed)
    rows, signatures = measure(runs, tests, sources, references)
    machines = dict.fromkeys(", ".join(f"{key} {value}" for key, value in run.made.items()) for run in runs.values())
    command = shlex.join(["python", *sys.argv])
    notes = [
        f"{len(references):,} sentences of {arguments.gen_subset}; `{signatures}`",
        f"p: paired bootstrap on BLEU against {arguments.baseline}, {samples:,} samples, seed {seed} (`{tested}`); "
        "equal: no sample tells the two apart",
        "repetition: share of tokens (13a) that equal their left neighbour in the same sentence",
        *machines,
        "\n".join(["```bash", command, "# runs", *[run.command for run in runs.values()], "```"]),
    ]
    report = "\n\n".join([format_table(rows, arguments.baseline), *notes])
    content = {
        "command": command,
        "gen_subset": arguments.gen_subset,
        "sentences": len(references),
        "bootstrap": {"baseline": arguments.baseline, "samples": samples, "seed": seed, "signature": tested},
        "signatures": signatures,
        "rows": [{**row._asdict(), "bootstrap": row.bootstrap and row.bootstrap._asdict()} for row in rows],
        "runs": {name: {"command": run.command, **run.made} for name, run in runs.items()},
    }
    (arguments.output / "quality.md").write_text(f"{report}\n", encoding="utf-8")
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (arguments.output / "quality.json").write_text(f"{text}\n", encoding="utf-8")
    print(report)


if __name__ == "__main__":
    main()
