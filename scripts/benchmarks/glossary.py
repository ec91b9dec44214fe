r"""Measure a glossary: how many of its terms are rendered as asked, and what that costs or gains in BLEU.

    python scripts/benchmarks/glossary.py data-bin --path checkpoint_best.pt --text demo/text --part valid \
        --ctc-lm-path lm.arpa --ctc-lm-weight 0.4 --ctc-token-bonus 2 --bonus 0.5 1 2 4

Without --glossary the terms are chosen from the training part: nouns that most of their sentences render alike, those
with the most consistent renderings that occur in the part. A term is rendered if a word of the output begins with the
rendering, once for each occurrence in the source. Standard output gets a table, one row for each bonus.
"""

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from quality.choosing import consistent_terms, terms_of
from quality.options import add_model, add_search
from quality.translating import Search, Translator, make_scorer

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.evaluation.machine import describe_machine
from bnb_fairseq.evaluation.markdown import table
from bnb_fairseq.evaluation.scores import score
from bnb_fairseq.generation.glossary import Glossary, read_glossary
from bnb_fairseq.generation.glossary_scorer import DEFAULT_FLOOR, MOST_ADDED

HEAD = ("bonus", "rendered", "share", "BLEU", "chrF", "length ratio", "search, ms a sentence")
VERSIONS = ("torch", "numpy", "sacrebleu")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        arguments: its words; the process's own by default.

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model(parser)
    add_search(parser)
    add = parser.add_argument
    add("--part", default="valid", help="part of the data to translate (default: valid)")
    add("--glossary", type=Path, metavar="FILE", help="its terms, `source <tab> target`")
    add("--terms", type=int, default=50, metavar="N", help="terms of the glossary, at most (default: 50)")
    add("--bonus", type=float, nargs="+", default=[2, 4, 6, 8], metavar="B", help="bonuses for each symbol")
    add("--floor", type=float, default=DEFAULT_FLOOR, metavar="L", help="log-probability that a term's symbol needs")
    add("--added", type=int, default=MOST_ADDED, metavar="N", help="symbols of terms read at each position, at most")
    return parser.parse_args(arguments)


def rendered(glossary: Glossary, sources: Sequence[str], texts: Sequence[str]) -> tuple[int, int]:
    """Count occurrences of terms in sources, and those that texts render as asked.

    Args:
        glossary: the terms.
        sources: N texts.
        texts: N texts.

    Returns:
        Those rendered, and all.
    """
    there = asked = 0
    for source, text in zip(sources, texts, strict=True):
        for number, count in glossary.find(source).items():
            term = glossary.targets[number]
            pattern = rf"(?<!\w){re.escape(term.spelling)}" + ("" if term.inflected else r"(?!\w)")
            there += min(count, len(re.findall(pattern, text)))
            asked += count
    return there, asked


def run(options: argparse.Namespace) -> None:
    """Measure, and print the table.

    Args:
        options: the command line.

    Raises:
        ValueError: if an option is out of range.
    """
    translator = Translator(options.path, options.data, options.text)
    part = translator.part(options.part, options.batch_size)
    if options.glossary is None:
        terms = terms_of(consistent_terms(*translator.lines("train")), part.sources, options.terms)
    else:
        terms = read_glossary(options.glossary)
    glossary = translator.glossary(terms)
    scorer = make_scorer(translator.target, options.ctc_lm_path, options.ctc_lm_weight, options.ctc_token_bonus)
    search = Search(options.ctc_beam, options.ctc_beam_symbols, scorer, options.floor, options.added)
    rows = [HEAD]
    signature = ""
    for bonus in (None, *options.bonus):
        used = None if bonus is None else glossary
        if len(rows) < 3:  # what the model says of the canvas is the same for all bonuses
            scored = translator.scored(part, search, used)
        outputs, seconds = translator.translate(scored, part, search, used, bonus or 0.0)
        texts = [output.text for output in outputs]
        there, asked = rendered(glossary, part.sources, texts)
        scores, signature = score(texts, part.references)
        figures = (f"{there} of {asked}", f"{100 * there / asked:.1f}%", f"{scores.bleu:.1f}", f"{scores.chrf:.1f}")
        speed = (f"{scores.length_ratio:.3f}", f"{1000 * seconds / len(texts):.1f}")
        rows.append(("no glossary" if bonus is None else f"{bonus:g}", *figures, *speed))
        print(f"[{len(rows) - 1}/{len(options.bonus) + 1}] {' '.join(rows[-1])}", file=sys.stderr, flush=True)
    there, asked = rendered(glossary, part.sources, part.references)
    print(table(rows))
    print(f"\n{len(terms)} terms, {len(part.sources)} sentences of {options.part}")
    print(f"the references render {there} of {asked} as asked, {100 * there / asked:.1f}%")
    print(f"{signature}\n{describe_machine('cpu', VERSIONS)}")


def main() -> None:
    """Run; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors("glossary.py", ValueError, OSError, ImportError):
        run(parse())


if __name__ == "__main__":
    main()
