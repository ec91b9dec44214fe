"""The generator of non-autoregressive models, also for fairseq's commands."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..modules.canvas import Canvas
from ..network.encoded import Encoded
from ..network.nar_network import NarNetwork
from ..network.options import SymbolTable
from .best_symbols import AskedSymbols, best_symbols
from .collapse import compact, text_of
from .ctc_beam import Array, PrefixScorer, ctc_beam_search
from .glossary_scorer import DEFAULT_FLOOR, MOST_ADDED, Combined, GlossaryScorer
from .hypotheses import Hypothesis, best_distinct, hypotheses_of
from .options import GeneratorOptions
from .prediction import predict, with_blank_penalty
from .state import DecodingState, first_state, refinements
from .token_scores import score_best


class Texts(NamedTuple):
    """Candidates for the outputs of sentences.

    Attributes:
        state: N written texts, those of one sentence after another.
        scores: N, which rank them; -inf for an empty place.
    """

    state: DecodingState
    scores: Array


class ScoresTexts(Protocol):
    """Scores texts in place of the model."""

    def scores(self, source: Mapping[str, Tensor], tokens: Array, lengths: Array) -> Array:
        """N scores of texts (N x L ids, N lengths), those of one of the B sources after another."""


class NarGenerator:
    """Writes whole outputs in one pass, or in one pass and a few refinements (mask-predict).

    Under CTC the canvas is refined with its blanks and collapsed once, at the end. With several canvases for a
    sentence, each is filled and refined separately, and the texts compete.

    Args:
        models: the model, in a list as fairseq passes it.
        dictionary: the target dictionary.
        options: the options of decoding.
        reranker: scores the texts in place of the model.
        scorer: adds to the scores of texts in the prefix beam search.

    Attributes:
        eos: id of [SEP], which fairseq's commands do not print.
        kept: the rule by which a canvas says its text.

    Raises:
        ValueError: for several models, or options that the model does not support.
    """

    def __init__(
        self,
        models: Sequence[NarNetwork],
        dictionary: SymbolTable,
        options: GeneratorOptions,
        reranker: ScoresTexts | None = None,
        scorer: PrefixScorer | None = None,
    ) -> None:
        if len(models) != 1:
            raise ValueError(f"--path must name one checkpoint, but names {len(models)}; average them instead")
        self.model = models[0]
        if options.max_iter > 0 and not self.model.options.canvas_tokens:
            raise ValueError(
                f"--iter-decode-max-iter must be 0 for a model trained without --canvas-tokens, which cannot refine, "
                f"but is {options.max_iter}"
            )
        most = self.model.control.max_canvases()
        if options.canvases > most:
            raise ValueError(
                f"--iter-decode-with-beam must be at most {most}, the number of canvas lengths of this model, but is "
                f"{options.canvases}"
            )
        if options.ctc_beam > 0 and not self.model.control.has_alignments:
            raise ValueError(
                f"--ctc-beam must be 0 for a model trained with --length-control length, but is {options.ctc_beam}"
            )
        if options.ctc_blank_penalty != 0 and not self.model.control.has_alignments:
            raise ValueError(
                f"--ctc-blank-penalty must be 0 for a model trained with --length-control length, but is "
                f"{options.ctc_blank_penalty}"
            )
        searches = options.nbest > 1 and options.max_iter == 0 and options.ctc_beam == 0
        if self.model.control.has_alignments and searches:
            # Alignments of several canvases may give the same text; the texts of a search all differ.
            options = options._replace(ctc_beam=options.nbest)
        candidates = options.canvases * max(options.ctc_beam, 1)
        if max(options.nbest, 1 + options.rerank) > candidates:
            raise ValueError(
                f"--nbest {options.nbest}{' and the reranker' if options.rerank else ''} must have enough candidates "
                f"from --iter-decode-with-beam or --ctc-beam, but there are {candidates}"
            )
        self.bos, self.pad, self.eos = dictionary.bos(), dictionary.pad(), dictionary.eos()
        self.kept = text_of(self.model.control.blank, self.model.control.has_alignments)
        self.options = options
        self.reranker = reranker
        self.scorer = scorer

    @torch.no_grad()
    def generate(
        self,
        models: Sequence[NarNetwork],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
        terms: GlossaryScorer | None = None,
    ) -> list[list[Hypothesis]]:
        """Translate a batch.

        Args:
            models: the model first; the same as at construction, or a wrapper of it.
            sample: a batch with ``net_input``.
            prefix_tokens: must be None.
            constraints: must be None.
            terms: of a glossary, with a row for each canvas; for the search only.

        Returns:
            For each sentence at most ``--nbest`` distinct hypotheses in fairseq's form, the best first: ``tokens``,
            ``score``, ``positional_scores`` (log-probability of each token), ``steps`` (passes), ``history`` and empty
            ``attention``, ``alignment``. The score is the log-probability divided by the number of tokens, or the
            reranker's. It includes blanks if several canvases or texts compete under CTC. Under a blank penalty,
            log-probabilities are those of the softmax of the lowered logits.

        Raises:
            ValueError: if there are prefix tokens or constraints, or terms without a search.
        """
        if prefix_tokens is not None or constraints is not None:
            raise ValueError("--prefix-size and --constraints cannot be used with a non-autoregressive model")
        if terms is not None and self.options.ctc_beam == 0:
            raise ValueError("--glossary needs --ctc-beam, whose search applies it")
        model = models[0]
        model.eval()
        source = sample["net_input"]
        encoded = model.encode(source["src_tokens"], source["src_lengths"])
        encoded, canvas = model.canvases(encoded, self.options.canvases)
        if self.options.ctc_beam:
            texts = self._search(model, encoded, canvas, terms)
        else:
            texts = self._fill(model, encoded, canvas)
        return self._hypotheses(source, texts)

    @torch.no_grad()
    def passes(self, sample: Mapping[str, Any]) -> list[DecodingState]:
        """The canvases of a batch after each pass, with blanks; only the last without ``--retain-iter-history``."""
        self.model.eval()
        encoded = self.model.encode(sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"])
        return self._refine(self.model, *self.model.canvases(encoded, self.options.canvases))

    def _predict(
        self, model: NarNetwork, encoded: Encoded, canvas: Canvas, positions: Array, tokens: Array | None = None
    ) -> tuple[Array, Array]:
        """Run the decoder and choose a token at each wanted position (B x A, bool): tokens and scores, B x A."""
        device = canvas.lengths.device
        read = None if tokens is None else torch.from_numpy(tokens).to(device)
        states = model.decode(encoded, canvas, read).transpose(0, 1)  # A x B x D -> B x A x D
        states = states[torch.from_numpy(positions).to(device)]  # N x D
        symbols = model.decoder.embeddings.tokens.num_embeddings
        # Blanks need scores only to choose positions for refinement or the best canvas, or in the history.
        written_alone = self.options.max_iter == 0 and self.options.canvases == 1 and not self.options.retain_history
        unscored = model.control.blank if model.control.has_alignments and written_alone else None
        prediction = predict(self._output_layer(model), states, symbols, unscored)
        filled, scores = np.full(positions.shape, self.pad), np.zeros(positions.shape, np.float32)
        filled[positions], scores[positions] = (part.cpu().numpy() for part in prediction)
        return filled, scores

    def _output_layer(self, model: NarNetwork) -> Callable[[Tensor], Tensor]:
        """Return what turns states into the logits that decoding reads."""
        return with_blank_penalty(model.decoder.output_layer, model.control.blank, self.options.ctc_blank_penalty)

    def _written(self, state: DecodingState) -> DecodingState:
        """Reduce a canvas to the tokens of its text."""
        kept = self.kept(state.tokens, state.lengths)
        tokens, scores = compact(state.tokens, kept, self.pad), compact(state.scores, kept, 0.0)
        return state._replace(tokens=tokens, scores=scores, lengths=kept.sum(axis=1))

    def _refine(self, model: NarNetwork, encoded: Encoded, canvas: Canvas) -> list[DecodingState]:
        """States after each pass; only the last one without the history option."""
        first = self._predict(model, encoded, canvas, ~canvas.padding.cpu().numpy())
        state = first_state(*first, canvas.lengths.cpu().numpy())
        kept = None if self.options.force_max_iter else self.kept

        def predict(hidden: Array, revealed: Array) -> tuple[Array, Array]:
            return self._predict(model, encoded, canvas, hidden, revealed)

        states = [state, *refinements(state, self.options.max_iter, model.mask, kept, predict)]
        return states if self.options.retain_history else states[-1:]

    def _fill(self, model: NarNetwork, encoded: Encoded, canvas: Canvas) -> list[Texts]:
        """Texts after each pass, one of each canvas; only the last ones without the history option."""
        with_blanks = model.control.has_alignments and self.options.canvases > 1
        texts = []
        for state in self._refine(model, encoded, canvas):
            written = self._written(state)
            totals = (state if with_blanks else written).scores.sum(axis=1)
            texts.append(Texts(written, totals / np.maximum(written.lengths, 1)))
        return texts

    def _search(self, model: NarNetwork, encoded: Encoded, canvas: Canvas, terms: GlossaryScorer | None) -> list[Texts]:
        """Texts that a prefix beam search finds on each canvas, those of one canvas after another."""
        positions = ~canvas.padding
        states = model.decode(encoded, canvas).transpose(0, 1)[positions]  # A x B x D -> N x D
        symbols = model.decoder.embeddings.tokens.num_embeddings
        asked, scorer = None, self.scorer
        if terms is not None:
            ids = torch.from_numpy(terms.symbols).to(states.device)
            asked = AskedSymbols(ids, MOST_ADDED, DEFAULT_FLOOR).on_positions(positions)
            scorer = terms if scorer is None else Combined(scorer, terms, terms.states)
        blank, read = model.control.blank, self.options.ctc_beam_symbols
        best = best_symbols(self._output_layer(model), states, symbols, blank, read, asked).on_canvas(positions)
        canvas_lengths = canvas.lengths.cpu().numpy()
        found = ctc_beam_search(best, canvas_lengths, self.options.ctc_beam, self.pad, scorer)
        # Tokens of texts that are never returned need no scores.
        scored = 1 if self.options.nbest == 1 and self.reranker is None else self.options.ctc_beam
        scores = score_best(best, canvas_lengths, found, scored)
        parts = found.tokens, scores, found.lengths, found.means
        tokens, positional, lengths, means = (part.reshape(-1, *part.shape[2:]) for part in parts)
        return [Texts(first_state(tokens, positional, lengths), means)]

    def _hypotheses(self, source: Mapping[str, Tensor], texts: Sequence[Texts]) -> list[list[Hypothesis]]:
        """Rank the texts of each sentence after the last pass."""
        if self.reranker is not None:
            last, own = texts[-1]
            scores = self.reranker.scores(source, last.tokens, last.lengths)
            texts = [*texts[:-1], Texts(last, np.where(own == -np.inf, own, scores))]
        cut = [hypotheses_of(text.state, text.scores.tolist()) for text in texts]
        passes = texts[-1].state.passes.tolist()
        history = cut if self.options.retain_history else []
        rows = [
            {**hypothesis, "steps": passes[i], "history": [step[i] for step in history]}
            for i, hypothesis in enumerate(cut[-1])
        ]
        count, silent = len(rows) // len(source["src_lengths"]), (self.bos, self.pad, self.eos)
        sentences = [rows[start : start + count] for start in range(0, len(rows), count)]
        return [best_distinct(candidates, self.options.nbest, silent) for candidates in sentences]
