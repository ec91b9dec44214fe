"""Score what fairseq-generate wrote against the raw reference, and show samples.

BLEU and chrF are sacrebleu's on the detokenised ``D-`` lines, with their signatures. Copying the source is scored too.
"""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.significance import PairedTest
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from bnb_fairseq.cli.errors import one_line_errors

SPEED = re.compile(r"Translated ([\d,]+) sentences .* in ([\d.]+)s \(([\d.,]+) sentences/s")


class Row(NamedTuple):
    """A system and its scores."""

    system: str
    bleu: float
    chrf: float
    length_ratio: float
    speed: str


class Significance(NamedTuple):
    """What the paired bootstrap says of a system's BLEU.

    95% of the samples score ``mean`` plus or minus ``interval``. ``p_value`` is None for the baseline, and for a system
    that no sample tells from it: sacrebleu gives that one its smallest p, 1 / (samples + 1), as if the difference were
    beyond doubt.
    """

    mean: float
    interval: float
    p_value: float | None


def read_lines(path: Path) -> list[str]:
    """Read raw text; a newline at its end begins no further line."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def read_translations(output: Path, sentences: int) -> list[str]:
    """Collect the detokenised translations in the order of the data.

    Args:
        output: what fairseq-generate printed.
        sentences: how many there must be.

    Returns:
        Translations.

    Raises:
        ValueError: if a sentence has no translation, or a translation no sentence.
    """
    found: dict[int, str] = {}
    for line in output.read_text(encoding="utf-8").split("\n"):
        if line.startswith("D-"):
            number, _, text = line[2:].split("\t")
            found.setdefault(int(number), text)
    wanted = set(range(sentences))
    faults = {"missing": wanted - set(found), "in excess": set(found) - wanted}
    if shown := [f"first {name}: {sorted(numbers)[:5]}" for name, numbers in faults.items() if numbers]:
        raise ValueError(f"{output} holds {len(found):,} translations, not {sentences:,}; {', '.join(shown)}")
    return [found[i] for i in range(sentences)]


def find_speed(output: Path) -> float | None:
    """Find the sentences per second that fairseq-generate reports (generation only, tokenizing not counted)."""
    found = SPEED.search(output.read_text(encoding="utf-8"))
    return float(found[3].replace(",", "")) if found else None


def read_speed(output: Path) -> str:
    """Write the sentences per second that fairseq-generate reports as the table shows them, ``-`` if it has none."""
    speed = find_speed(output)
    return "-" if speed is None else f"{speed:,.0f}"


def score(system: str, translations: Sequence[str], references: Sequence[str], speed: str) -> tuple[Row, str]:
    """Score one system.

    Args:
        system: its name.
        translations: its output.
        references: raw references.
        speed: sentences per second, for the table.

    Returns:
        The row and the signatures of both metrics.
    """
    bleu, chrf = BLEU(), CHRF()
    bleu_score = bleu.corpus_score(list(translations), [list(references)])
    chrf_score = chrf.corpus_score(list(translations), [list(references)])
    row = Row(system, bleu_score.score, chrf_score.score, bleu_score.sys_len / bleu_score.ref_len, speed)
    return row, f"BLEU {bleu.get_signature()}, chrF {chrf.get_signature()}"


def repetition(lines: Sequence[str]) -> float:
    """Measure how often a token follows itself, as it does too often where positions are decided independently.

    Args:
        lines: sentences.

    Returns:
        Share of tokens (sacrebleu's 13a, upper and lower case told apart) that equal their left neighbour in the same
        sentence, percent of all tokens; 0 if there is none.
    """
    tokenize = Tokenizer13a()
    sentences = [tokenize(line).split() for line in lines]
    repeated = sum(left == right for tokens in sentences for left, right in pairwise(tokens))
    return 100 * repeated / max(1, sum(map(len, sentences)))


def compare(
    translations: Mapping[str, Sequence[str]], references: Sequence[str], baseline: str, samples: int, seed: int
) -> tuple[dict[str, Significance], str]:
    """Test every system's BLEU against the baseline's: sacrebleu's paired bootstrap.

    Args:
        translations: each system's output.
        references: raw references.
        baseline: the system that the others are compared with.
        samples: how many samples of the test set to draw, 1 or more.
        seed: seed of the drawing, 1 or more (sacrebleu does not fix the seed for 0).

    Returns:
        The result for each system, and sacrebleu's signature.
    """
    os.environ["SACREBLEU_SEED"] = str(seed)  # PairedTest has no argument for it
    ordered = sorted(
        ((name, list(lines)) for name, lines in translations.items()), key=lambda item: item[0] != baseline
    )
    signatures, results = PairedTest(ordered, {"BLEU": BLEU()}, [list(references)], "bs", samples)()
    first = results["BLEU"][0]
    found = {}
    for (name, _), result in zip(ordered, results["BLEU"], strict=True):
        equal = result.score == first.score and result.p_value == 1 / (samples + 1)
        p_value = None if result.p_value is None or equal else float(result.p_value)
        found[name] = Significance(float(result.mean), float(result.ci), p_value)
    return found, str(signatures["BLEU"])


def named_output(text: str) -> tuple[str, Path]:
    """Read one system of the command line.

    Args:
        text: ``NAME=FILE``.

    Returns:
        Name and file.

    Raises:
        ArgumentTypeError: if it does not have this form.
    """
    name, equals, file = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=FILE, but is {text!r}")
    return name, Path(file)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="raw source text")
    parser.add_argument("--reference", type=Path, required=True, help="raw reference text")
    parser.add_argument(
        "--samples", type=int, default=10, help="translations of the first system to show (default: 10)"
    )
    parser.add_argument(
        "systems", nargs="+", type=named_output, metavar="NAME=FILE", help="outputs of fairseq-generate"
    )
    return parser.parse_args()


def check(arguments: argparse.Namespace) -> None:
    """See that the files are there.

    Args:
        arguments: the command line's.

    Raises:
        ValueError: naming every argument whose file is not, and the file.
    """
    files = [("--source", arguments.source), ("--reference", arguments.reference)]
    files += [(f"NAME=FILE: FILE of {name}", file) for name, file in arguments.systems]
    wrong = [(argument, file) for argument, file in files if file.is_dir() or not file.exists()]
    names = [name for name, _ in arguments.systems]
    if len(set(names)) < len(names):
        raise ValueError(f"NAME=FILE: every NAME must be another, but they are {', '.join(names)}")
    if wrong:
        raise ValueError("; ".join(f"{argument} must be a file, but is {file}" for argument, file in wrong))


def run(arguments: argparse.Namespace) -> None:
    """Print the table and the samples.

    Args:
        arguments: the command line's.

    Raises:
        ValueError: if anything does not fit.
    """
    check(arguments)
    sources, references = read_lines(arguments.source), read_lines(arguments.reference)
    if len(sources) != len(references):
        raise ValueError(
            f"--source must have as many lines as --reference, {len(references):,}, but {arguments.source} has "
            f"{len(sources):,}"
        )
    outputs = dict(arguments.systems)
    translations = {name: read_translations(file, len(references)) for name, file in outputs.items()}
    rows = [score(name, texts, references, read_speed(outputs[name])) for name, texts in translations.items()]
    rows.append(score("source copied", sources, references, "-"))

    step = max(1, len(sources) // max(1, arguments.samples))
    first = next(iter(translations.values()))
    for i in range(0, step * arguments.samples, step)[: len(sources)]:
        print(f"source       {sources[i]}\ntranslation  {first[i]}\nreference    {references[i]}\n")
    print(f"{'system':<24}{'BLEU':>8}{'chrF':>8}{'length ratio':>14}{'sentences/s':>13}")
    for row, _ in rows:
        print(f"{row.system:<24}{row.bleu:>8.1f}{row.chrf:>8.1f}{row.length_ratio:>14.2f}{row.speed:>13}")
    print(f"{len(references):,} sentences; {rows[0][1]}")


def main() -> None:
    """Print the table and the samples, or an error in one line."""
    arguments = parse_arguments()
    with one_line_errors("report_translation", ValueError, OSError):
        run(arguments)


if __name__ == "__main__":
    main()
