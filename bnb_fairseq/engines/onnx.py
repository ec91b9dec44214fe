"""The engine of a non-autoregressive model's ONNX graph: ONNX Runtime and numpy, without torch."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..folder.manifest import GRAPHS, SHORTLIST, SOURCE, TARGET, Manifest
from ..folder.search import OF_CANVAS, PARALLEL_OPTIONS
from ..folder.shortlist import Shortlist
from ..folder.vocabulary import Vocabulary, load_vocabulary
from ..generation.collapse import text_of
from ..generation.ctc_beam import IMPOSSIBLE, Array, CanvasSymbols, CtcHypotheses, PrefixScorer, ctc_beam_search
from ..generation.glossary_scorer import DEFAULT_FLOOR, MOST_ADDED, NO_SYMBOL, Combined, GlossaryScorer
from ..generation.options import GeneratorOptions, generator_options
from ..generation.scorer import build_scorer
from ..generation.state import DecodingState, first_state, refinements
from ..generation.texts import best_distinct, printed
from ..generation.token_scores import score_best
from ..graph.facts import CANDIDATES
from ..recent import Recent
from .batches import count_cores
from .canvases import canvas_passes
from .graphs import Graphs, Predicted, in_cache, join
from .interface import AskedTerms, CanvasPass, Engine, Hypothesis

SCORERS = 4  # kept for later calls with the same options
MOST_SEARCHES = 4  # at the same time; Python runs one at a time while the graph runs for the others
# Runs a pass on some sources, with the ids that the decoder reads on the canvas; None: all [MASK].
RunPass = Callable[[Array | None], Predicted]


class OnnxEngine:
    """Graphs of a ``bnb_transformer``: one pass, perhaps refined, the best alignment or a prefix beam search.

    Args:
        graph: the ONNX file; of a model that refines the encoder, which has the decoder beside it.
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
        self._graphs = Graphs(graph, threads, len(target))
        self._graph, self._threads = graph, threads or count_cores()
        self._running: AbstractContextManager[object] = nullcontext()
        self._single: OnnxEngine | None = None
        self._loading = threading.Lock()
        self._facts = self._graphs.facts
        self._kept = text_of(self._facts.blank, self._facts.has_alignments)
        self.longest = self._facts.longest
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
        if shortlist and engine._graphs.takes_candidates and SHORTLIST in manifest.files:
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
                self._single._graphs = Graphs(self._graph, 1, len(self.target))
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
            return [[one] for states in self._states(sources, options) for one in self._written(states[-1])]
        scorer = self._scorers.get(options, lambda: build_scorer(options, self.target))
        return self._search(sources, options, scorer, glossary)

    def source_weights(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[Any] | None:
        """None: the graph has no attention weights as output."""
        return None

    def canvases(self, sources: Sequence[Sequence[int]], search: Mapping[str, Any]) -> list[list[CanvasPass]] | None:  # noqa: D102
        options = self._fitting(1, {name: value for name, value in search.items() if name in OF_CANVAS})
        blank, kept = self._facts.blank, self._kept
        parts = (canvas_passes(each, options.max_iter, blank, kept) for each in self._states(sources, options))
        return [one for part in parts for one in part]

    def _fitting(self, nbest: int, search: Mapping[str, Any]) -> GeneratorOptions:
        """The options; a ValueError names one that does not fit."""
        options = generator_options(SimpleNamespace(nbest=nbest, **search))
        if options.max_iter > 0 and not self._graphs.refines:
            raise ValueError(
                f"--iter-decode-max-iter must be 0 for an ONNX graph of one pass, but is {options.max_iter}; "
                "bnb-export writes graphs that refine for a model trained with --canvas-tokens"
            )
        if options.canvases > 1:
            raise ValueError(
                f"--iter-decode-with-beam must be 1 for the ONNX graph, but is {options.canvases}; the torch engine "
                "has it"
            )
        if options.ctc_beam > 0 and not self._facts.has_alignments:
            raise ValueError(
                f"--ctc-beam must be 0 for a model trained with --length-control length, but is {options.ctc_beam}"
            )
        if options.ctc_blank_penalty != 0 and not self._facts.has_alignments:
            raise ValueError(
                f"--ctc-blank-penalty must be 0 for a model trained with --length-control length, but is "
                f"{options.ctc_blank_penalty}"
            )
        if nbest > 1 and options.max_iter == options.ctc_beam == 0 and self._facts.has_alignments:
            options = options._replace(ctc_beam=nbest)  # as the generator does
        if nbest > max(options.ctc_beam, 1):
            raise ValueError(f"--nbest must be at most --ctc-beam, {options.ctc_beam}, but is {nbest}")
        return options

    def _passes(self, sources: Sequence[Sequence[int]], symbols: int, asked: Array) -> Iterator[RunPass]:
        """Encode sources; yields for neighbours that fit into the cache what runs a pass."""
        given = {"k": np.array([symbols])}
        if self._graphs.takes_candidates:
            candidates = self._candidates(sources, asked)
            given = {CANDIDATES: candidates, "k": np.minimum(given["k"], len(candidates))}
            asked = np.searchsorted(candidates, asked)
        lengths = np.array([len(source) for source in sources])
        for part in in_cache(lengths):
            tokens = np.full((len(lengths[part]), int(lengths[part].max())), self.source.pad())
            for row, source in zip(tokens, sources[part], strict=True):
                row[: len(source)] = source
            with self._running:
                encoded = self._graphs.encode(tokens, lengths[part])
            yield partial(self._pass, encoded, {"asked": asked[part], **given})

    def _pass(self, encoded: Mapping[str, Array], more: Mapping[str, Array], shown: Array | None) -> Predicted:
        with self._running:
            return self._graphs.decode(encoded, more, self.target.mask(), shown)

    def _run(self, sources: Sequence[Sequence[int]], symbols: int, asked: Array) -> Predicted:
        """Run one pass."""
        found = [run(None) for run in self._passes(sources, symbols, asked)]
        best, scores, blank_scores, canvas_lengths, asked_scores = zip(*found, strict=True)
        joined = np.concatenate(canvas_lengths)
        return Predicted(join(best), join(scores), join(blank_scores), joined, join(asked_scores))

    def _candidates(self, sources: Sequence[Sequence[int]], asked: Array) -> Array:
        """Choose the symbols that are scored, in order."""
        total = self._facts.symbols
        if self._shortlist is None:
            return np.arange(total)
        return self._shortlist.candidates(sources, total, [self._facts.blank, *self._silent, *asked.ravel().tolist()])

    def _states(self, sources: Sequence[Sequence[int]], options: GeneratorOptions) -> Iterator[list[DecodingState]]:
        """Fill and refine canvases; yields for some of the sources after others their states after each pass."""
        penalty = options.ctc_blank_penalty
        kept = None if options.force_max_iter else self._kept
        for run in self._passes(sources, 1 if penalty == 0 else 2, nothing_asked(len(sources))):

            def predict(_: Array, shown: Array, run: RunPass = run) -> tuple[Array, Array]:
                return self._chosen(run(shown), penalty)

            first = run(None)
            state = first_state(*self._chosen(first, penalty), first.lengths)
            yield [state, *refinements(state, options.max_iter, self.target.mask(), kept, predict)]

    def _chosen(self, found: Predicted, penalty: float) -> tuple[Array, Array]:
        """Choose the most probable symbol of each position: B x A ids, and their scores."""
        symbols, scores, blank_scores, *_ = found
        if penalty != 0:
            best = with_blank_penalty(self._without_blank(symbols, scores, blank_scores), penalty)
            wins = best.blank_scores[:, :, None] > best.scores
            symbols = np.where(wins, self._facts.blank, best.tokens)
            scores = np.where(wins, best.blank_scores[:, :, None], best.scores)
        return symbols[:, :, 0], scores[:, :, 0]

    def _written(self, state: DecodingState) -> list[Hypothesis]:
        """The texts of canvases."""
        rows = zip(state.tokens, state.scores, self._kept(state.tokens, state.lengths), strict=True)
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
        asked = nothing_asked(len(sources)) if terms is None else np.maximum(terms.symbols, 0)
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


def nothing_asked(sentences: int) -> Array:
    """One symbol to ask for in each sentence, whose score is not read: B x 1."""
    return np.zeros((sentences, 1), np.int64)


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
