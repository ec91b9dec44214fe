"""The ONNX graphs of a model folder: written, and compared with torch on validation sentences."""

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

import sacrebleu

from ..engines.batches import translate_ids
from ..engines.interface import Engine
from ..engines.nar import NarEngine, read_weights
from ..engines.onnx import OnnxEngine
from ..engines.with_fairseq import read_part
from ..folder.manifest import LANGUAGE_MODEL, SHORTLIST, WEIGHTS, Manifest
from ..folder.search import PARALLEL_OPTIONS
from ..folder.shortlist import Shortlist
from ..graph.writing import write_graph
from ..network.options import NetworkOptions
from ..tasks.text_to_text import TextToTextTask
from .counting import count_shortlist

PART, MOST_SENTENCES, BATCH = "valid", 1000, 32
COUNTED = "train"
HEAD = ("", "equal tokens", "BLEU torch", "BLEU graph", "chrF torch", "chrF graph")


class Graph(NamedTuple):
    """The graph that a folder is to have.

    Attributes:
        kind: ``float32`` or ``int8``.
        with_weights: keep torch's weights beside it.
        most_lost: BLEU that it may lose.
        shortlist: target symbols of each source token that it scores; None: it scores all.
    """

    kind: str
    with_weights: bool
    most_lost: float
    shortlist: int | None = None


class Pairs(NamedTuple):
    """Validation sentences.

    Attributes:
        sources: ids of each.
        references: target texts, in the same order.
    """

    sources: list[list[int]]
    references: list[str]


class Compared(NamedTuple):
    """Both engines' translations with the same options.

    Attributes:
        equal: share of the tokens that both have in common.
        bleu: of torch and of the graph.
        chrf: of torch and of the graph.
    """

    equal: float
    bleu: tuple[float, float]
    chrf: tuple[float, float]


def add_graph(
    folder: Path, manifest: Manifest, task: TextToTextTask, longest: int, search: Mapping[str, Any], graph: Graph
) -> None:
    """Write graphs into a folder whose other files are there, compare them with torch, and print the comparison.

    Args:
        folder: the model folder.
        manifest: what ``config.json`` will say.
        task: has the validation sentences.
        longest: the longest source, in tokens.
        search: the folder's options of the search.
        graph: what to write.

    Raises:
        ImportError: if a package is missing, naming it.
        ValueError: if the graph loses too much, or there are no validation sentences.
    """
    engine = NarEngine.load(folder, manifest, "cpu", "highest")
    options, pairs = NetworkOptions.from_json(manifest.network), _read_pairs(task, longest)
    weights, has_shortlist = read_weights(folder), graph.shortlist is not None
    path = write_graph(folder, options, engine.source, engine.target, weights, longest, graph.kind, has_shortlist)
    other = OnnxEngine(path, engine.source, engine.target, shortlist=_add_shortlist(folder, task, graph.shortlist))
    searches: dict[str, Mapping[str, Any]] = {"one pass": PARALLEL_OPTIONS}
    if options.canvas_tokens:
        searches["1 refinement"] = {**PARALLEL_OPTIONS, "iter_decode_max_iter": 1}
    if search not in searches.values():
        lm = str(folder / LANGUAGE_MODEL) if (folder / LANGUAGE_MODEL).is_file() else None
        searches["the folder's search"] = {**search, "ctc_lm_path": lm}
    rows = {name: compare(engine, other, pairs, values) for name, values in searches.items()}
    print(table(rows, f"{path.name} on {len(pairs.references)} sentences of {PART}"))
    for name, row in rows.items():
        if (lost := row.bleu[0] - row.bleu[1]) > graph.most_lost:
            raise ValueError(
                f"--onnx {graph.kind} must lose at most {graph.most_lost} BLEU, but loses {lost:.2f} with {name}; "
                "--force keeps the graph"
            )
    if not graph.with_weights:
        (folder / WEIGHTS).unlink()


def _add_shortlist(folder: Path, task: TextToTextTask, each: int | None) -> Shortlist | None:
    """Count the shortlist on the training pairs, and write it into the folder."""
    if each is None:
        return None
    try:
        task.load_dataset(COUNTED)
    except FileNotFoundError as error:
        raise ValueError(
            f"--data must have the part {COUNTED} for --shortlist, which is counted on it: {error}"
        ) from error
    dataset = task.dataset(COUNTED)
    if dataset.target is None:
        raise ValueError(f"--data must have targets in the part {COUNTED} for --shortlist, which counts them")
    shortlist = count_shortlist(dataset, len(task.source_dictionary), len(task.target_dictionary), each)
    shortlist.save(folder / SHORTLIST)
    return shortlist


def _read_pairs(task: TextToTextTask, longest: int) -> Pairs:
    """Read up to 1,000 validation sentences, spread over all of them; those that are too long are left out."""
    try:
        sources, targets = read_part(task, PART, "--data, for --onnx: the part")
    except FileNotFoundError as error:
        raise ValueError(f"--data must have the part {PART} for --onnx, which is compared on it: {error}") from error
    fitting = sorted((i for i, ids in enumerate(sources) if len(ids) <= longest), key=lambda i: len(sources[i]))
    count = min(len(fitting), MOST_SENTENCES)
    chosen = [fitting[i * len(fitting) // count] for i in range(count)]
    references = [task.target_dictionary.text(targets[i], "UNKNOWNTOKENINREF") for i in chosen]
    if not references:
        raise ValueError(f"--data must have sentences of at most {longest} tokens in the part {PART} for --onnx")
    return Pairs([sources[i] for i in chosen], references)


def compare(first: Engine, second: Engine, pairs: Pairs, search: Mapping[str, Any]) -> Compared:
    """Translate with two engines and compare.

    Args:
        first: torch's.
        second: the graph's.
        pairs: sentences.
        search: options.

    Returns:
        How near the second comes to the first.
    """
    found = [translate_ids(engine, pairs.sources, search, most_texts=BATCH) for engine in (first, second)]
    outputs = [[best.tokens for best, *_ in translations] for translations in found]
    same = sum(_common(*both) for both in zip(*outputs, strict=True))
    tokens = sum(max(map(len, both)) for both in zip(*outputs, strict=True))
    texts = [[first.target.text(line) for line in output] for output in outputs]
    bleu, chrf = (
        tuple(scores(lines, [pairs.references]).score for lines in texts)
        for scores in (sacrebleu.corpus_bleu, sacrebleu.corpus_chrf)
    )
    return Compared(same / max(tokens, 1), (bleu[0], bleu[1]), (chrf[0], chrf[1]))


def _common(tokens: Sequence[int], others: Sequence[int]) -> int:
    """Count the tokens that two texts have in common, in the same order."""
    blocks = SequenceMatcher(None, tokens, others, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)


def table(rows: Mapping[str, Compared], title: str) -> str:
    """Write comparisons as text, one line each, under a title."""
    lines = [title, "  ".join(f"{name:>{20 if not name else 12}}" for name in HEAD)]
    for name, (equal, bleu, chrf) in rows.items():
        scores = (f"{score:12.2f}" for score in (*bleu, *chrf))
        lines.append("  ".join([f"{name:>20}", f"{equal:12.1%}", *scores]))
    return "\n".join(lines)
