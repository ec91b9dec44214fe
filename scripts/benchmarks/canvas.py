r"""Measure how long CTC's canvas must be with target vocabularies of several sizes.

    python scripts/benchmarks/canvas.py demo/text/train --source-lang en --target-lang de --srcdict demo/bert

For each size a SentencePiece model is trained on the targets. "No room" is the share of pairs whose target, with a
blank between equal neighbours, needs more positions than its canvas has. "Ratio" and "rule" have room for 99.5% of the
pairs: positions for each source token, and what `--ctc-upsample auto` takes, with extra positions. "Its canvas" is the
mean number of positions per source token.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.evaluation.markdown import table
from bnb_fairseq.tasks.length_fit import AUTO_TOLERATED, LIMITS, Integers, Lengths, Rule, choose_rule, smallest_value
from bnb_fairseq.vocabulary import train_model

RATIOS = (2.0, 1.5)
HEAD = (
    *("pieces", "target tokens per source token", *(f"no room at {ratio:g}" for ratio in RATIOS)),
    *("ratio", "its canvas", "rule", "its canvas"),
)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: its words; the process's own by default.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("text", type=Path, metavar="PREFIX", help="raw text: PREFIX.SOURCE_LANG and PREFIX.TARGET_LANG")
    add("--source-lang", required=True, metavar="LANG", help="language of the sources")
    add("--target-lang", required=True, metavar="LANG", help="language of the targets")
    add("--srcdict", required=True, metavar="BERT", help="the source vocabulary: a BERT, or a SentencePiece .model")
    add("--pieces", type=int, nargs="+", default=[4000, 8000, 16000], metavar="N", help="default: 4000 8000 16000")
    add("--every", type=int, default=3, metavar="N", help="count every Nth pair (default: 3)")
    return parser.parse_args(arguments)


def read_side(options: argparse.Namespace, language: str) -> list[str]:
    """Read the lines of one side."""
    return Path(f"{options.text}.{language}").read_text(encoding="utf-8").split("\n")[:-1]


def encode(dictionary: BnbDictionary, lines: Sequence[str]) -> list[Integers]:
    """Turn lines into ids, with [SEP], without [CLS]."""
    return [dictionary.encode_line(line, add_if_not_exist=False).numpy().astype(np.int64) for line in lines]


def measure(sources: Sequence[Integers], targets: Sequence[Integers]) -> Lengths:
    """Measure pairs as a training does, [CLS] counted on both sides."""
    needed = [len(target) + 1 + int((target[1:] == target[:-1]).sum()) for target in targets]
    source, target = ([len(each) + 1 for each in side] for side in (sources, targets))
    return Lengths(np.array(source), np.array(target), np.array(needed))


def row(pieces: int, lengths: Lengths) -> tuple[str, ...]:
    """Write the figures of a vocabulary."""
    tokens = lengths.source.sum()
    missing = ((Rule(ratio, 0).positions(lengths) < lengths.needed).mean() for ratio in RATIOS)
    ratio = Rule(smallest_value(LIMITS["ctc_upsample"], lengths, AUTO_TOLERATED), 0)
    rule = choose_rule(lengths)
    canvases = [f"{each.positions(lengths).sum() / tokens:.2f}" for each in (ratio, rule)]
    return (
        *(f"{pieces:,}", f"{lengths.target.sum() / tokens:.2f}", *(f"{each:.2%}" for each in missing)),
        *(f"{ratio.upsample:g}", canvases[0], f"{rule.upsample:g} S + {rule.extra}", canvases[1]),
    )


def main() -> None:
    """Print the table."""
    options = parse()
    with one_line_errors("canvas", ValueError, OSError):
        if options.every < 1:
            raise ValueError(f"--every must be at least 1, but is {options.every}")
        lines, texts = (read_side(options, language) for language in (options.source_lang, options.target_lang))
        if len(lines) != len(texts):
            raise ValueError(f"both sides must have as many lines, but have {len(lines):,} and {len(texts):,}")
        sources = encode(load_dictionary(options.srcdict), lines[:: options.every])
        rows = [HEAD]
        with tempfile.TemporaryDirectory() as folder:
            for pieces in options.pieces:
                path = Path(folder) / f"{pieces}.model"
                path.write_bytes(train_model(texts, pieces, options.target_lang))
                rows.append(row(pieces, measure(sources, encode(load_dictionary(str(path)), texts[:: options.every]))))
    print(table(rows))


if __name__ == "__main__":
    main()
