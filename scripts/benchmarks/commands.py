r"""Compare whole commands on your own text: `bnb-translate FOLDER`, and a script around CTranslate2.

    python scripts/benchmarks/commands.py FOLDER --source text/test.en --target text/test.de --layers 3 2

CTranslate2 has a Transformer of the folder's width with random weights: `--layers` are its encoder's and decoder's. It
reads the same tokens, writes as many as the lines of `--target` have, in batches of lines of similar length, each on a
thread, and splits and joins text with the folder's vocabularies. All commands run in turns. The table has seconds of
the processor and of the clock, median of the runs, for all lines and for one line, which is the cold start, and the
largest memory. With `--profile` it also says where the seconds of `bnb-translate` go, measured on one thread.
"""

import argparse
import cProfile
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.evaluation.markdown import table
from bnb_fairseq.folder.manifest import SOURCE, TARGET, Manifest
from bnb_fairseq.folder.vocabulary import Vocabulary, load_vocabulary
from bnb_fairseq.translator import Translator

HEAD = ("command", "CPU s", "lines per CPU s", "s", "lines/s", "ratio of CPU s", "CPU s of one line", "s", "peak MB")
OTHER = "CTranslate2 int8"
SPECIALS = 4  # of fairseq's dictionaries, before the words
BATCH = 32  # lines that CTranslate2 translates at once; other sizes were not tried
STAGES = {  # of --profile: file and function
    "tokenizing": ("vocabulary.py", "encode"),
    "the graph": ("~", "<built-in method onnxruntime.capi.onnxruntime_pybind11_state.run>"),
    "the search": ("ctc_beam.py", "ctc_beam_search"),
    "of it the language model": ("ngram.py", "extend"),
    "scores of tokens": ("token_scores.py", "score_best"),
    "detokenizing": ("vocabulary.py", "text"),
    "all of it": ("translator.py", "translate"),
}


class Used(NamedTuple):
    """What a command used: seconds of the processor and of the clock, and MB of memory."""

    cpu: float
    clock: float
    memory: float


def parse(arguments: Sequence[str] | None = None) -> Namespace:
    """Parse the command line.

    Args:
        arguments: its words; the process's own by default.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=Path, metavar="FOLDER", help="model folder with an ONNX graph")
    add("--source", type=Path, required=True, metavar="FILE", help="lines to translate")
    add(
        "--target", type=Path, required=True, metavar="FILE", help="their translations, of which only the length counts"
    )
    add("--lines", type=int, default=10_000, metavar="N", help="lines, repeated from the first if there are fewer")
    add("--layers", type=int, nargs=2, default=[3, 2], metavar="N", help="of CTranslate2's model (default: 3 2)")
    add("--beam", type=int, default=1, metavar="N", help="of CTranslate2 (default: 1, greedy)")
    add("--runs", type=int, default=3, metavar="N", help="of each command (default: 3)")
    add("--threads", type=int, default=1, metavar="N", help="of each command (default: 1)")
    add("--profile", action="store_true", help="also say where the seconds of bnb-translate go")
    add("--convert", type=Path, metavar="PLACE", help=argparse.SUPPRESS)  # what the child processes do
    add("--run-ctranslate2", type=Path, metavar="MODEL", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def read_lines(path: Path, count: int) -> list[str]:
    """Read lines, again from the first where the file ends."""
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    if not lines:
        raise ValueError(f"{path} must have lines, but has none")
    return [lines[i % len(lines)] for i in range(count)]


def convert(options: Namespace, folder: Path) -> None:
    """Write ``model``, a CTranslate2 model of the folder's width and vocabularies, with random weights."""
    import torch
    from ctranslate2.converters import FairseqConverter
    from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY

    import bnb_fairseq.plugin  # noqa: F401  (registers the models)
    from bnb_fairseq.data.dictionary import BnbDictionary
    from bnb_fairseq.tasks.config import TranslationBnbConfig
    from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

    dictionaries = []
    for side, vocabulary in vocabularies(options.folder).items():
        dictionary = BnbDictionary()
        words = [f"w{i}" for i in range(len(vocabulary) - len(dictionary))]
        for word in words:
            dictionary.add_symbol(word)
        (folder / f"dict.{side}.txt").write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
        dictionaries.append(dictionary)
    network = Manifest.read(options.folder).network
    args = Namespace(arch="transformer", activation_fn="gelu", share_decoder_input_output_embed=True)
    args.max_source_positions = args.max_target_positions = 512
    for (side, sizes), layers in zip(
        (("encoder", network["encoder"]), ("decoder", network["decoder"])), options.layers, strict=True
    ):
        for name in ("embed_dim", "ffn_embed_dim", "attention_heads"):
            setattr(args, f"{side}_{name}", sizes[name])
        setattr(args, f"{side}_layers", layers)
    ARCH_CONFIG_REGISTRY["transformer"](args)
    torch.manual_seed(1)
    task = TranslationBnbTask(TranslationBnbConfig(), *dictionaries)
    model = ARCH_MODEL_REGISTRY["transformer"].build_model(args, task)
    saved = Namespace(**vars(args), task="translation", source_lang=SOURCE, target_lang=TARGET)
    torch.save({"args": saved, "model": model.state_dict()}, folder / "checkpoint.pt")
    FairseqConverter(str(folder / "checkpoint.pt"), str(folder)).convert(str(folder / "model"), quantization="int8")


def vocabularies(folder: Path) -> dict[str, Vocabulary]:
    """Load the folder's vocabularies, by side."""
    return {side: load_vocabulary(folder / side) for side in (SOURCE, TARGET)}


def run_ctranslate2(options: Namespace) -> None:
    """Translate standard input's lines to standard output, as a user's script would."""
    import ctranslate2

    source, target = vocabularies(options.folder).values()
    lines = sys.stdin.read().split("\n")[:-1]
    wanted = [len(target.split(text)) for text in read_lines(options.target, len(lines))]
    translator = ctranslate2.Translator(
        str(options.run_ctranslate2), compute_type="int8", inter_threads=options.threads, intra_threads=1
    )
    tokens = [[f"w{max(i - SPECIALS, 0)}" for i in source.encode(line)[1:-1]] for line in lines]
    order = sorted(range(len(lines)), key=lambda i: len(tokens[i]))
    texts = [""] * len(lines)
    running: list[tuple[int, Any]] = []
    for begin in range(0, len(order), BATCH):
        batch = order[begin : begin + BATCH]
        length = max(1, round(sum(wanted[i] for i in batch) / len(batch)))
        found = translator.translate_batch(
            [tokens[i] for i in batch],
            beam_size=options.beam,
            max_batch_size=0,
            min_decoding_length=length,
            max_decoding_length=length,
            asynchronous=True,
        )
        running += zip(batch, found, strict=True)
    for i, one in running:
        words = one.result().hypotheses[0]
        texts[i] = target.text([int(word[1:]) if word[1:].isdigit() else target.unk() for word in words])
    sys.stdout.write("".join(f"{text}\n" for text in texts))


def use(command: Sequence[str], lines: Sequence[str]) -> Used:
    """Run a command on lines; a ValueError if it fails, or does not write as many."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as written, tempfile.TemporaryFile() as said:
        given.write("".join(f"{line}\n" for line in lines).encode())
        given.seek(0)
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdin=given, stdout=written, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        clock = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        for file in (written, said):
            file.seek(0)
        if process.returncode or written.read().count(b"\n") != len(lines):
            raise ValueError(f"{' '.join(command[:4])} ... failed: {said.read().decode(errors='replace')[-300:]}")
    return Used(usage.ru_utime + usage.ru_stime, clock, usage.ru_maxrss * 1024 / 1e6)


def measure(commands: dict[str, list[str]], lines: Sequence[str], runs: int) -> list[tuple[str, ...]]:
    """Run all commands in turns; return the rows of the table."""
    used: dict[str, list[tuple[Used, Used]]] = {name: [] for name in commands}
    for run in range(runs):
        for name, command in commands.items():
            print(f"run {run + 1} of {runs}: {name}", file=sys.stderr, flush=True)
            used[name].append((use(command, lines), use(command, lines[:1])))
    rows: list[tuple[str, ...]] = []
    first = statistics.median(whole.cpu for whole, _ in used[OTHER])
    for name, found in used.items():
        cpu, clock, one_cpu, one_clock = (
            statistics.median(values)
            for values in zip(*((all_.cpu, all_.clock, one.cpu, one.clock) for all_, one in found), strict=True)
        )
        speeds = (f"{cpu:.2f}", f"{len(lines) / cpu:,.0f}", f"{clock:.2f}", f"{len(lines) / clock:,.0f}")
        largest = max(all_.memory for all_, _ in found)
        rows.append((name, *speeds, f"{first / cpu:.2f}", f"{one_cpu:.2f}", f"{one_clock:.2f}", f"{largest:,.0f}"))
    return rows


def profile(options: Namespace, lines: Sequence[str], search: str) -> list[tuple[str, ...]]:
    """Translate on one thread; return the seconds of each stage, under a profiler, which slows Python's part."""
    translator = Translator.load(options.folder, "onnx", threads=1)  # the profiler sees one thread
    translator.translate(lines[:10], search=search)
    profiler = cProfile.Profile(time.process_time)
    profiler.runcall(translator.translate, lines, search=search)
    found = {(Path(file).name, name): each[3] for (file, _, name), each in pstats.Stats(profiler).stats.items()}  # type: ignore[attr-defined]
    total = found[STAGES["all of it"]]
    seconds = {stage: found[place] for stage, place in STAGES.items() if place in found}
    return [(stage, f"{each:.2f}", f"{each / total:.1%}") for stage, each in seconds.items()]


def main() -> None:
    """Print the table."""
    options = parse()
    with one_line_errors("commands", ValueError, OSError, subprocess.CalledProcessError):
        if options.convert is not None:
            convert(options, options.convert)
            return
        if options.run_ctranslate2 is not None:
            run_ctranslate2(options)
            return
        lines = read_lines(options.source, options.lines)
        with tempfile.TemporaryDirectory() as place:
            # A process of its own: a command's peak memory is at least that of the process that starts it.
            subprocess.run([sys.executable, *sys.argv, "--convert", place], check=True, stdout=sys.stderr)
            ours = [sys.executable, "-m", "bnb_fairseq.cli.translate", str(options.folder)]
            ours += ["--engine", "onnx", "--threads", str(options.threads)]
            commands = {OTHER: [sys.executable, *sys.argv, "--run-ctranslate2", str(Path(place) / "model")]}
            commands |= {"bnb-translate --search none": [*ours, "--search", "none"], "bnb-translate": ours}
            print(table([HEAD, *measure(commands, lines, options.runs)]))
        if options.profile:
            for search in ("none", "auto"):
                rows = profile(options, lines, search)
                print("\n" + table([(f"bnb-translate --search {search}", "CPU s", "share"), *rows]))


if __name__ == "__main__":
    main()
