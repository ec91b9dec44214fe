"""The engine of a non-autoregressive model's ONNX graph: ONNX Runtime and numpy, without torch."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..folder.manifest import GRAPHS, SHORTLIST, SOURCE, TARGET, Manifest
from ..folder.search import OF_CANVAS, PARALLEL_OPTIONS
from ..folder.shortlist import Shortlist
from ..folder.vocabulary import Vocabulary, load_vocabulary
from ..generation.ctc_beam import IMPOSSIBLE, Array, CanvasSymbols, CtcHypotheses, PrefixScorer, ctc_beam_search
from ..generation.glossary_scorer import DEFAULT_FLOOR, MOST_ADDED, NO_SYMBOL, Combined, GlossaryScorer
from ..generation.options import GeneratorOptions, generator_options
from ..generation.scorer import build_scorer
from ..generation.texts import best_distinct, printed
from ..generation.token_scores import score_best
from ..graph.facts import CANDIDATES, Facts
from ..recent import Recent
from .batches import count_cores
from .interface import AskedTerms, CanvasPass, Engine, Hypothesis

SCORERS = 4  # kept for later calls with the same options
GRAPH_TOKENS = 128  # of a run of the graph, padding included: what it computes stays in a processor's cache
MOST_SEARCHES = 4  # at the same time; Python runs one at a time while the graph runs for the others
SLOW_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]  # their kernels are slower than the two that they replace


class OnnxEngine:
    """A graph of ``bnb_transformer``: one pass, the best alignment or a prefix beam search.

    Args:
        graph: the ONNX file.
        source: the source vocabulary.
        target: the target vocabulary.
        threads: on the CPU; None: as many as there are cores.
        shortlist: the symbols that a graph with a shortlist scores; None: it scores all.

    Raises:
        ImportError: if ONNX Runtime is not installed.
        ValueError: if the file is no such graph.
    """

    options: Mapping[str, Any] = PARALLEL_OPTIONS
    batch_tokens = 512

    def __init__(
        self,
        graph: Path,
        source: Vocabulary,
        target: Vocabulary,
        threads: int | None = None,
        shortlist: Shortlist | None = None,
    ) -> None:
        self.source, self.target, self._shortlist = source, target, shortlist
        self._session = _session(graph, threads)
        self._graph, self._threads = graph, threads or count_cores()
        self._running: AbstractContextManager[object] = nullcontext()
        self._single: OnnxEngine | None = None
        self._loading = threading.Lock()
        self._facts = Facts.read(self._session.get_modelmeta().custom_metadata_map, str(graph))
        self.longest = self._facts.longest
        self._takes_candidates = CANDIDATES in {each.name for each in self._session.get_inputs()}
        self._scorers = Recent(SCORERS)
        self._silent = (target.bos(), target.pad(), target.eos())

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, threads: int | None = None, shortlist: bool = True) -> "OnnxEngine":
        """Read the graph of a model folder; see ``NarEngine.load``.

        Args:
            folder: the folder, whose files are those of the manifest.
            manifest: what ``config.json`` says.
            threads: on the CPU; None: as many as there are cores.
            shortlist: score only the symbols of the folder's shortlist, if it has one.

        Returns:
            The engine.

        Raises:
            ImportError: if ONNX Runtime is not installed.
            ValueError: if a file is missing or damaged, or does not fit another.
        """
        graph = next((folder / name for name in GRAPHS if name in manifest.files), None)
        if graph is None:
            raise ValueError(f"{folder} has no ONNX graph; `bnb-export --onnx int8` adds one")
        source, target = (load_vocabulary(folder / side) for side in (SOURCE, TARGET))
        engine = cls(graph, source, target, threads)
        if shortlist and engine._takes_candidates and SHORTLIST in manifest.files:
            engine._shortlist = Shortlist.load(folder / SHORTLIST, len(source), engine._facts.symbols)
        return engine

    def check(self, nbest: int, search: Mapping[str, Any]) -> None:  # noqa: D102
        self._fitting(nbest, search)

    def side_by_side(self, search: Mapping[str, Any]) -> tuple[Engine, int]:
        """An engine whose batches take a thread each, which wastes none on waiting; the search has one more."""
        if self._threads == 1:
            return self, 1
        with self._loading:
            if self._single is None:
                self._single = copy(self)
                self._single._session = _session(self._graph, 1)
                self._single._running = threading.Semaphore(self._threads)
        return self._single, min(self._threads + 1, MOST_SEARCHES) if search.get("ctc_beam") else self._threads

    def hypotheses(  # noqa: D102
        self,
        sources: Sequence[Sequence[int]],
        nbest: int,
        search: Mapping[str, Any],
        terms: AskedTerms | None = None,
    ) -> list[list[Hypothesis]]:
        options = self._fitting(nbest, search)
        glossary = None
        if terms is not None:
            if not self._facts.has_alignments:
                raise ValueError("a glossary needs a model that was trained with --length-control ctc")
            if options.ctc_beam == 0:
                raise ValueError("--glossary needs --ctc-beam, whose search applies it")
            glossary = GlossaryScorer(terms.glossary, terms.rows, search["glossary_bonus"])
        if options.ctc_beam == 0:
            return [[one] for one in self._fill(sources, options.ctc_blank_penalty)]
        scorer = self._scorers.get(options, lambda: build_scorer(options, self.target))
        return self._search(sources, options, scorer, glossary)

    def source_weights(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[Any] | None:
        """None: the graph has no attention weights as output."""
        return None

    def canvases(self, sources: Sequence[Sequence[int]], search: Mapping[str, Any]) -> list[list[CanvasPass]] | None:  # noqa: D102
        options = self._fitting(1, {name: value for name, value in search.items() if name in OF_CANVAS})
        tokens, scores, kept, lengths = self._filled(sources, options.ctc_blank_penalty)
        blank = self._facts.blank
        return [
            [
                CanvasPass(
                    [None if i == blank else i for i in tokens[row, :length].tolist()],
                    scores[row, :length].tolist(),
                    [False] * length,
                    kept[row, :length].tolist(),
                )
            ]
            for row, length in enumerate(lengths.tolist())
        ]

    def _fitting(self, nbest: int, search: Mapping[str, Any]) -> GeneratorOptions:
        """The options; a ValueError names one that does not fit."""
        options = generator_options(SimpleNamespace(nbest=nbest, **search))
        for name, value, only in (
            ("iter-decode-max-iter", options.max_iter, 0),
            ("iter-decode-with-beam", options.canvases, 1),
        ):
            if value != only:
                raise ValueError(f"--{name} must be {only} for the ONNX graph, but is {value}; the torch engine has it")
        if options.ctc_beam > 0 and not self._facts.has_alignments:
            raise ValueError(
                f"--ctc-beam must be 0 for a model trained with --length-control length, but is {options.ctc_beam}"
            )
        if options.ctc_blank_penalty != 0 and not self._facts.has_alignments:
            raise ValueError(
                f"--ctc-blank-penalty must be 0 for a model trained with --length-control length, but is "
                f"{options.ctc_blank_penalty}"
            )
        if nbest > 1 and options.ctc_beam == 0 and self._facts.has_alignments:
            options = options._replace(ctc_beam=nbest)  # as the generator does
        if nbest > max(options.ctc_beam, 1):
            raise ValueError(f"--nbest must be at most --ctc-beam, {options.ctc_beam}, but is {nbest}")
        return options

    def _run(
        self, sources: Sequence[Sequence[int]], symbols: int, asked: Array | None = None
    ) -> tuple[Array, Array, Array, Array, Array]:
        """Run the graph; see ``StaticNetwork``. Without asked symbols, the first one replaces them."""
        asked = np.zeros((len(sources), 1), np.int64) if asked is None else asked
        given = {"k": np.array([symbols])}
        if self._takes_candidates:
            candidates = self._candidates(sources, asked)
            given = {CANDIDATES: candidates, "k": np.minimum(given["k"], len(candidates))}
            asked = np.searchsorted(candidates, asked)
        lengths = np.array([len(source) for source in sources])
        found = []
        for part in in_cache(lengths):
            tokens = np.full((len(lengths[part]), int(lengths[part].max())), self.source.pad())
            for row, source in zip(tokens, sources[part], strict=True):
                row[: len(source)] = source
            inputs = {"src_tokens": tokens, "src_lengths": lengths[part], "asked": asked[part], **given}
            with self._running:
                found.append(self._session.run(None, inputs))
        best, scores, blank_scores, canvas_lengths, asked_scores = zip(*found, strict=True)
        joined = np.concatenate(canvas_lengths)
        return join(best), join(scores), join(blank_scores), joined, join(asked_scores)

    def _candidates(self, sources: Sequence[Sequence[int]], asked: Array) -> Array:
        """Choose the symbols that are scored, in order."""
        total = self._facts.symbols
        if self._shortlist is None:
            return np.arange(total)
        return self._shortlist.candidates(sources, total, [self._facts.blank, *self._silent, *asked.ravel().tolist()])

    def _filled(self, sources: Sequence[Sequence[int]], penalty: float) -> tuple[Array, Array, Array, Array]:
        """Choose the most probable symbol of each position: B x A ids, scores, what is part of the text; B lengths."""
        symbols, scores, blank_scores, lengths, _ = self._run(sources, 1 if penalty == 0 else 2)
        if penalty != 0:
            best = with_blank_penalty(self._without_blank(symbols, scores, blank_scores), penalty)
            wins = best.blank_scores[:, :, None] > best.scores
            symbols = np.where(wins, self._facts.blank, best.tokens)
            scores = np.where(wins, best.blank_scores[:, :, None], best.scores)
        tokens, scores = symbols[:, :, 0], scores[:, :, 0]
        kept = (tokens != self._facts.blank) & (np.arange(tokens.shape[1]) < lengths[:, None])
        if self._facts.has_alignments:
            kept[:, 1:] &= tokens[:, 1:] != tokens[:, :-1]
        return tokens, scores, kept, lengths

    def _fill(self, sources: Sequence[Sequence[int]], penalty: float) -> list[Hypothesis]:
        """Translate by the most probable symbol of each position."""
        tokens, scores, kept, _ = self._filled(sources, penalty)
        rows = zip(tokens, scores, kept, strict=True)
        return [self._hypothesis(row[keep], of_row[keep], None) for row, of_row, keep in rows]

    def _hypothesis(self, tokens: Array, scores: Array, score: float | None) -> Hypothesis:
        """Cut a text as fairseq wants it; its score is the mean of its tokens' unless given."""
        if score is None:
            score = float(scores.sum()) / max(len(scores), 1)
        ids = tokens.tolist()
        places = printed(ids, self._silent, self.target.eos())
        if not places:
            return Hypothesis([self.target.eos()], [score], score)
        return Hypothesis([ids[i] for i in places], scores[places].tolist(), score)

    def _search(
        self,
        sources: Sequence[Sequence[int]],
        options: GeneratorOptions,
        scorer: PrefixScorer | None,
        terms: GlossaryScorer | None,
    ) -> list[list[Hypothesis]]:
        most = min(options.ctc_beam_symbols + 1, self._facts.symbols)
        asked = None if terms is None else np.maximum(terms.symbols, 0)
        symbols, scores, blank_scores, lengths, asked_scores = self._run(sources, most, asked)
        best = self._without_blank(symbols, scores, blank_scores)
        canvas = with_blank_penalty(best, options.ctc_blank_penalty)
        if terms is not None:
            ids = np.where(terms.symbols == self._facts.blank, NO_SYMBOL, terms.symbols)
            moved = canvas.scores[:, :, :1] - best.scores[:, :, :1]  # the same for all symbols but the blank
            canvas = with_asked(canvas, ids, asked_scores + moved)
            scorer = terms if scorer is None else Combined(scorer, terms, terms.states)
        found = ctc_beam_search(canvas, lengths, options.ctc_beam, self.target.pad(), scorer)
        token_scores = score_best(canvas, lengths, found, 1 if options.nbest == 1 else options.ctc_beam)
        return [self._texts(found, token_scores[i], i, options.nbest) for i in range(len(sources))]

    def _without_blank(self, symbols: Array, scores: Array, blank_scores: Array) -> CanvasSymbols:
        """Keep k - 1 symbols of the k best, B x A x k: the blank is one of them, or else the last is one too many."""
        order = np.argsort(symbols == self._facts.blank, axis=2, kind="stable")[:, :, : symbols.shape[2] - 1]
        symbols, scores = (np.take_along_axis(part, order, axis=2) for part in (symbols, scores))
        return CanvasSymbols(scores, symbols, blank_scores)

    def _texts(self, found: CtcHypotheses, scores: Array, sentence: int, nbest: int) -> list[Hypothesis]:
        """The best texts of a sentence, whose tokens have scores, K x L."""
        means, lengths = found.means[sentence].tolist(), found.lengths[sentence].tolist()
        texts = [row[:length] for row, length in zip(found.tokens[sentence], lengths, strict=True)]
        chosen = best_distinct(means, [text.tolist() for text in texts], nbest, self._silent)
        return [self._hypothesis(texts[i], scores[i, : lengths[i]], means[i]) for i in chosen]


def in_cache(lengths: Array) -> list[slice]:
    """Divide sources, whose lengths are given, into neighbours that the graph runs on at once."""
    parts, first = [], 0
    for last in range(1, len(lengths) + 1):
        if last == len(lengths) or (last + 1 - first) * lengths[first : last + 1].max() > GRAPH_TOKENS:
            parts.append(slice(first, last))
            first = last
    return parts


def join(parts: Sequence[Array]) -> Array:
    """Join outputs of neighbours, each B x A x ...; zeros stand behind shorter canvases."""
    shape = sum(map(len, parts)), max(part.shape[1] for part in parts), *parts[0].shape[2:]
    joined, first = np.zeros(shape, parts[0].dtype), 0
    for part in parts:
        joined[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return joined


def with_blank_penalty(best: CanvasSymbols, penalty: float) -> CanvasSymbols:
    """Lower the blank's logit, and with it the sum that all probabilities are divided by; no logits are needed.

    Args:
        best: log-probabilities of the best symbols.
        penalty: what is subtracted, in nats.

    Returns:
        Their log-probabilities under the penalty.
    """
    if penalty == 0:
        return best
    scores, blank_scores = best.scores.astype(np.float64), best.blank_scores.astype(np.float64)
    # Where the blank is almost certain, 1 - P(blank) is lost in rounding; the best symbols' share is not.
    others = np.maximum(-np.expm1(np.minimum(blank_scores, 0)), np.exp(scores).sum(axis=2))
    lowered = blank_scores - penalty
    normaliser = np.logaddexp(np.log(others), lowered)
    scores, lowered = scores - normaliser[:, :, None], lowered - normaliser
    return CanvasSymbols(scores.astype(best.scores.dtype), best.tokens, lowered.astype(best.blank_scores.dtype))


def with_asked(best: CanvasSymbols, asked: Array, scores: Array) -> CanvasSymbols:
    """Append symbols of terms to the best ones; see ``best_symbols``.

    Args:
        best: the best symbols.
        asked: B x n ids, ``NO_SYMBOL`` for none.
        scores: B x A x n, their log-probabilities.

    Returns:
        The best symbols and at most ``MOST_ADDED`` more; -inf and id 0 stand for those not added.
    """
    there = (asked[:, None, :, None] == best.tokens[:, :, None, :]).any(axis=3)
    dropped = there | (asked == NO_SYMBOL)[:, None] | (scores < DEFAULT_FLOOR)
    scores = np.where(dropped, IMPOSSIBLE, scores)
    order = np.argsort(-scores, axis=2, kind="stable")[:, :, :MOST_ADDED]
    scores = np.take_along_axis(scores, order, axis=2)
    tokens = np.take_along_axis(np.broadcast_to(asked[:, None], dropped.shape), order, axis=2)
    tokens = np.where(scores == IMPOSSIBLE, 0, tokens)
    all_scores, ids = np.concatenate([best.scores, scores], axis=2), np.concatenate([best.tokens, tokens], axis=2)
    return CanvasSymbols(all_scores, ids, best.blank_scores)


def _session(graph: Path, threads: int | None) -> Any:
    """Load a graph into ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("the ONNX engine needs ONNX Runtime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    # Threads wait for work in a loop while the graph runs, but not behind it, where they would hinder the search.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Blocks that are kept for shapes seen before grow with every longer text; malloc takes 3% more time.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
        )
    except Exception as error:  # some of the library's exceptions derive from Exception directly
        raise ValueError(f"{graph}: cannot be read ({' '.join(str(error).split())})") from error
