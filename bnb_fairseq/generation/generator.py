"""The generator that ``fairseq-generate`` and ``fairseq-interactive`` run for non-autoregressive models."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..data.dictionary import BnbDictionary
from ..models.bnb_transformer import BnbTransformer, Encoded
from ..modules.canvas import Canvas
from .collapse import compact, kept_by_ctc, kept_on_canvas
from .prediction import predict
from .state import DecodingState, first_state, least_confident, refined, tokens_to_mask

Hypothesis = dict[str, Any]

# fairseq's generation options that mean nothing to one parallel pass, with the value that leaves them alone.
UNUSED_OPTIONS = {
    "nbest": 1,
    "iter_decode_with_beam": 1,
    "iter_decode_eos_penalty": 0.0,
    "iter_decode_with_external_reranker": False,
    "prefix_size": 0,
    "sampling": False,
    "lm_path": None,
    "constraints": None,
    "print_alignment": None,
    "replace_unk": None,
    "score_reference": False,
    "no_repeat_ngram_size": 0,
    "diverse_beam_groups": -1,
    "match_source_len": False,
    "lenpen": 1.0,
    "unkpen": 0.0,
    "unnormalized": False,
    "temperature": 1.0,
    "min_len": 1,
    "max_len_a": 0.0,
    "max_len_b": 200,
}


class GeneratorOptions(NamedTuple):
    """What the generator can be asked for.

    Attributes:
        max_iter: refinement passes after pass 0 (``--iter-decode-max-iter``).
        force_max_iter: run all of them even where the text no longer changes (``--iter-decode-force-max-iter``).
        retain_history: keep every pass's text (``--retain-iter-history``).
    """

    max_iter: int = 0
    force_max_iter: bool = False
    retain_history: bool = False


def generator_options(args: Any) -> GeneratorOptions:
    """Read fairseq's generation options.

    Args:
        args: fairseq's generation config, or a namespace with some of its fields.

    Returns:
        Plain values.

    Raises:
        ValueError: if an option is set that this generator would have to ignore, or is out of range.
    """
    problems = [
        f"--{name.replace('_', '-')} {getattr(args, name)}"
        for name, neutral in UNUSED_OPTIONS.items()
        if getattr(args, name, neutral) not in (neutral, None)
    ]
    if problems:
        raise ValueError(f"a non-autoregressive model decodes in parallel and cannot use {', '.join(problems)}")
    max_iter = getattr(args, "iter_decode_max_iter", 0)
    if max_iter < 0:
        raise ValueError(f"--iter-decode-max-iter must not be negative, but is {max_iter}")
    return GeneratorOptions(
        max_iter,
        bool(getattr(args, "iter_decode_force_max_iter", False)),
        bool(getattr(args, "retain_iter_history", False)),
    )


class NarGenerator:
    """Writes whole outputs in one pass, or in one pass and a few refinements (mask-predict).

    Under CTC the refinements take place on the canvas, blanks included; it is collapsed once, at the end.

    Args:
        models: the model, in a list as fairseq hands it over.
        dictionary: the target dictionary.
        options: what was asked for.

    Attributes:
        eos: id of [SEP], which fairseq's commands leave out of what they print.

    Raises:
        ValueError: for several models, or refinement passes on a model that was not trained to refine.
    """

    def __init__(self, models: Sequence[BnbTransformer], dictionary: BnbDictionary, options: GeneratorOptions) -> None:
        if len(models) != 1:
            raise ValueError(f"--path must name one checkpoint, but names {len(models)}; average them instead")
        self.model = models[0]
        if options.max_iter > 0 and not self.model.reads_canvas_tokens:
            raise ValueError(
                f"--iter-decode-max-iter must be 0 for a model trained without --canvas-tokens, which cannot refine, "
                f"but is {options.max_iter}"
            )
        self.pad, self.eos = dictionary.pad(), dictionary.eos()
        self.options = options

    @torch.no_grad()
    def generate(
        self,
        models: Sequence[BnbTransformer],
        sample: Mapping[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[Hypothesis]]:
        """Translate a batch.

        Args:
            models: the model, in a list; the same as at construction, or a wrapper of it.
            sample: a batch with ``net_input``.
            prefix_tokens: must be None.
            constraints: must be None.

        Returns:
            For each sentence a list with one hypothesis in fairseq's form: ``tokens``, ``score`` (mean log-probability
            of a token), ``positional_scores``, ``steps`` (passes), ``history`` and empty ``attention``, ``alignment``.

        Raises:
            ValueError: if there are prefix tokens or constraints.
        """
        if prefix_tokens is not None or constraints is not None:
            raise ValueError("--prefix-size and --constraints cannot be used with a non-autoregressive model")
        model = models[0]
        model.eval()
        encoded = model.encode(sample["net_input"]["src_tokens"], sample["net_input"]["src_lengths"])
        canvas = model.canvas(encoded)
        return self._hypotheses([self._written(model, state) for state in self._refine(model, encoded, canvas)])

    def _predict(
        self, model: BnbTransformer, encoded: Encoded, canvas: Canvas, positions: Tensor, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run the decoder and choose a token at each wanted position (B x A, bool): tokens and scores, B x A."""
        states = model.decode(encoded, canvas, tokens).transpose(0, 1)[positions]  # A x B x D -> N x D
        decoder = model.decoder
        # What is not written needs a score only where scores decide what is predicted again.
        unscored = model.blank if model.uses_ctc and self.options.max_iter == 0 else None
        prediction = predict(decoder.output_layer, states, decoder.embeddings.tokens.num_embeddings, unscored)
        filled = prediction.tokens.new_full(positions.shape, self.pad)
        filled[positions] = prediction.tokens
        scores = prediction.scores.new_zeros(positions.shape)
        scores[positions] = prediction.scores
        return filled, scores

    def _written(self, model: BnbTransformer, state: DecodingState) -> DecodingState:
        """Reduce a canvas to the tokens that are part of the text."""
        if model.uses_ctc:
            kept = kept_by_ctc(state.tokens, state.lengths, model.blank)
        else:
            kept = kept_on_canvas(state.tokens, state.lengths, self.pad)
        tokens, scores = compact(state.tokens, kept, self.pad), compact(state.scores, kept, 0.0)
        return state._replace(tokens=tokens, scores=scores, lengths=kept.sum(dim=1))

    def _refine(self, model: BnbTransformer, encoded: Encoded, canvas: Canvas) -> list[DecodingState]:
        """Return the states after each pass (only the last one unless the history is wanted)."""
        state = first_state(*self._predict(model, encoded, canvas, ~canvas.padding), canvas.lengths)
        states = [state]
        for refinement in range(1, self.options.max_iter + 1):
            if bool(state.done.all()):
                break
            counts = tokens_to_mask(state.lengths, refinement, self.options.max_iter)
            hidden = least_confident(state.scores, state.lengths, counts)
            revealed = state.tokens.masked_fill(hidden, model.mask)
            predicted = self._predict(model, encoded, canvas, hidden, revealed)
            state = refined(state, hidden, *predicted, force=self.options.force_max_iter)
            states = [*states, state] if self.options.retain_history else [state]
        return states

    def _hypotheses(self, states: Sequence[DecodingState]) -> list[list[Hypothesis]]:
        """Cut the states into fairseq's hypotheses, on the CPU, once the last pass is over."""
        cut = [_cut(state) for state in states]
        passes = states[-1].passes.tolist()
        history = cut if self.options.retain_history else []
        return [
            [{**hypothesis, "steps": passes[i], "history": [step[i] for step in history]}]
            for i, hypothesis in enumerate(cut[-1])
        ]


def empty_hypothesis(eos: int) -> Hypothesis:
    """Make the translation of an empty sentence.

    Args:
        eos: id of the end symbol.

    Returns:
        What to put over a hypothesis of fairseq's.
    """
    return {"tokens": torch.tensor([eos]), "score": 0.0, "positional_scores": torch.zeros(1), "alignment": []}


def _cut(state: DecodingState) -> list[Hypothesis]:
    lengths = state.lengths.tolist()
    means = (state.scores.sum(dim=1) / state.lengths.clamp(min=1)).tolist()
    tokens, scores = state.tokens.cpu(), state.scores.cpu()
    return [
        {
            "tokens": tokens[i, :length],
            "score": means[i],
            "positional_scores": scores[i, :length],
            "attention": None,
            "alignment": [],
        }
        for i, length in enumerate(lengths)
    ]
