"""Tables that show where systems differ, a column for each system."""

from collections.abc import Mapping, Sequence

from sacrebleu.metrics.bleu import BLEUScore

from .analysis import (
    FREQUENCIES,
    LONG,
    SHORT,
    Bucket,
    Text,
    bleu,
    bleu_factors,
    length_ratio,
    recall_by_frequency,
    shares,
    words_by_frequency,
)
from .markdown import cell, table

Systems = Mapping[str, Text]
NONE = "-"


def by_length(systems: Systems, references: Text, buckets: Sequence[Bucket], side: str) -> str:
    """Return tables of BLEU and length ratio by bucket, the whole text last; ``side`` is whose length it is."""
    scores: dict[str, list[BLEUScore]] = {}
    for name, text in systems.items():
        scores[name] = [*(bleu(text, references, bucket.numbers) for bucket in buckets), bleu(text, references)]
    bounds = [
        str(bucket.longest) if bucket.shortest == bucket.longest else f"{bucket.shortest}-{bucket.longest}"
        for bucket in buckets
    ]
    sizes = [*(len(bucket.numbers) for bucket in buckets), len(references.lines)]
    beginnings = [[name, f"{size:,}"] for name, size in zip([*bounds, "all"], sizes, strict=True)]
    head = [f"{side} tokens", "sentences", *systems]
    bleus, ratios = [head], [head]
    for i, beginning in enumerate(beginnings):
        row = [column[i] for column in scores.values()]
        bleus.append([*beginning, *(f"{score.score:.1f}" for score in row)])
        ratios.append([*beginning, *(cell(length_ratio(score), ".2f") for score in row)])
    titles = (f"### BLEU by {side} length", f"### Length ratio by {side} length")
    return "\n\n".join([titles[0], table(bleus), titles[1], table(ratios)])


def parts_of_bleu(systems: Systems, references: Text, baseline: str) -> str:
    """Return tables of precisions and brevity penalty, and of the factors by which they change the baseline's BLEU."""
    scores = {name: bleu(text, references) for name, text in systems.items()}
    orders = range(1, len(scores[baseline].precisions) + 1)
    parts = [["part", *systems]]
    for i, n in enumerate(orders):
        parts.append([f"{n}-gram precision %", *(f"{score.precisions[i]:.1f}" for score in scores.values())])
    parts.append(["brevity penalty", *(f"{score.bp:.3f}" for score in scores.values())])
    parts.append(["BLEU", *(f"{score.score:.1f}" for score in scores.values())])
    factors = [bleu_factors(score, scores[baseline]) for score in scores.values()]
    names = [*(f"{n}-gram precision" for n in orders), "brevity penalty"]
    rows = [["factor", *systems]]
    for i, name in enumerate(names):
        rows.append([name, *(NONE if one is None else f"{one[i]:.3f}" for one in factors)])
    ratios = [
        NONE if one is None else f"{score.score / scores[baseline].score:.3f}"
        for one, score in zip(factors, scores.values(), strict=True)
    ]
    rows.append(["BLEU, their product", *ratios])
    title = f"### What moves BLEU away from that of {baseline}"
    return "\n\n".join(["### Parts of BLEU", table(parts), title, table(rows)])


def recall(systems: Systems, references: Text, counts: Mapping[str, int]) -> str:
    """Return a table of the recall of words by their frequency in the training text, of which ``counts`` are."""
    columns = [recall_by_frequency(text, references, counts) for text in systems.values()]
    rows = [["times in the training text", "words", *systems]]
    for i, words in enumerate(words_by_frequency(references, counts)):
        rows.append([FREQUENCIES[i][0], f"{words:,}", *(cell(column[i], ".1f") for column in columns)])
    return f"### Recall of the references' words, %\n\n{table(rows)}"


def faults(systems: Systems, references: Text) -> str:
    """Return a table of shares of tokens and sentences: a row for each fault, and one for exact matches."""
    columns = [shares(text, references) for text in (*systems.values(), references)]
    names = (
        "tokens that repeat their neighbour",
        "empty sentences",
        "exactly right",
        f"too short: under {float(SHORT):.0%} of the reference's tokens",
        f"too long: over {float(LONG):.0%} of the reference's tokens",
    )
    rows = [["share, %", *systems, "reference"]]
    rows += [[name, *(f"{column[i]:.2f}" for column in columns)] for i, name in enumerate(names)]
    return f"### Shares of tokens and sentences\n\n{table(rows)}"
