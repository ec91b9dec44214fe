"""Score what fairseq-generate wrote against the raw reference, and show samples.

BLEU and chrF are sacrebleu's on the detokenised ``D-`` lines, with their signatures. Copying the source is scored too.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

SPEED = re.compile(r"Translated ([\d,]+) sentences .* in ([\d.]+)s \(([\d.,]+) sentences/s")


class Row(NamedTuple):
    """A system and its scores."""

    system: str
    bleu: float
    chrf: float
    length_ratio: float
    speed: str


def read_translations(output: Path, sentences: int) -> list[str]:
    """Collect the detokenised translations in the order of the data.

    Args:
        output: what fairseq-generate printed.
        sentences: how many there must be.

    Returns:
        Translations.

    Raises:
        ValueError: if a sentence has no translation.
    """
    found: dict[int, str] = {}
    for line in output.read_text(encoding="utf-8").split("\n"):
        if line.startswith("D-"):
            number, _, text = line[2:].split("\t")
            found.setdefault(int(number), text)
    missing = sorted(set(range(sentences)) - set(found))
    if missing or len(found) != sentences:
        raise ValueError(f"{output} holds {len(found):,} translations, not {sentences:,}; first missing: {missing[:5]}")
    return [found[i] for i in range(sentences)]


def read_speed(output: Path) -> str:
    """Find the sentences per second that fairseq-generate reports (generation only, tokenizing not counted)."""
    found = SPEED.search(output.read_text(encoding="utf-8"))
    return f"{float(found[3].replace(',', '')):,.0f}" if found else "-"


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


def main() -> None:
    """Print the table and the samples."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="raw source text")
    parser.add_argument("--reference", type=Path, required=True, help="raw reference text")
    parser.add_argument(
        "--samples", type=int, default=10, help="translations of the first system to show (default: 10)"
    )
    parser.add_argument("systems", nargs="+", metavar="NAME=FILE", help="outputs of fairseq-generate")
    arguments = parser.parse_args()
    sources, references = (
        path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        for path in (arguments.source, arguments.reference)
    )
    outputs = {name: Path(file) for name, file in (system.split("=", 1) for system in arguments.systems)}
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


if __name__ == "__main__":
    main()
