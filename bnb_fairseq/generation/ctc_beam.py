"""CTC prefix beam search (Graves 2012, section 7.5.3; Hannun et al. 2014), over all sentences of a batch at once.

A hypothesis is a text, not an alignment: the probabilities of all alignments that the beam kept add up. Those that end
in a blank are kept apart, since only behind a blank may the same token come again as a new one.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ..modules.canvas import padding_mask
from .best_symbols import BestSymbols

NOTHING = -1  # stands behind the tokens of a text; no id
IMPOSSIBLE = float("-inf")


class PrefixScorer(Protocol):
    """Adds a score to texts, token by token. Its states are numbers that the search carries along."""

    def start(self) -> int:
        """Return the state of the empty text; the search calls it once a batch."""

    def extend(self, states: Tensor, tokens: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Score each next token.

        Args:
            states: B x K, int64.
            tokens: B x k ids.
            wanted: B x K x k, True where the search reads the result.

        Returns:
            What each token adds to each text, float32, and the states behind it, int64, both B x K x k.
        """

    def finish(self, states: Tensor) -> Tensor:
        """Score the end of texts: states B x K -> what it adds, B x K, float32."""


class CtcHypotheses(NamedTuple):
    """Texts, all different within a sentence, best first; of places that the search could not fill, scores are -inf.

    Attributes:
        tokens: B x K x L ids, the pad symbol behind a text.
        lengths: B x K, number of tokens.
        ctc_scores: B x K, log-probability of each text under CTC, over the alignments that the beam kept.
        scores: B x K, with what the scorer added; they decide the order.
    """

    tokens: Tensor
    lengths: Tensor
    ctc_scores: Tensor
    scores: Tensor

    @property
    def counts(self) -> Tensor:
        """How many texts each sentence has: B."""
        return self.ctc_scores.isfinite().sum(dim=1)

    @property
    def means(self) -> Tensor:
        """Scores divided by the number of tokens, B x K; of an empty text by 1."""
        return self.scores / self.lengths.clamp(min=1)


class _Beam(NamedTuple):
    """The texts that are being written.

    Attributes:
        tokens: B x K x A, ``NOTHING`` behind a text.
        lengths: B x K.
        blank: B x K, log-probability of the alignments that end in a blank, or are empty.
        token: B x K, of those that end in the text's last token.
        shared: B x K x K, how many tokens two texts have in common at their beginnings.
        states: B x K, the scorer's.
        added: B x K, what the scorer has added.
    """

    tokens: Tensor
    lengths: Tensor
    blank: Tensor
    token: Tensor
    shared: Tensor
    states: Tensor
    added: Tensor


class _Growth(NamedTuple):
    """What one canvas position makes of a beam: each text may stay what it is, or grow by one token.

    Attributes:
        blank: B x K, of a text that stays: log-probability of the alignments that end in a blank.
        token: B x K, of those that end in its last token.
        grown: B x K x k, log-probability of a text that grows; -inf where the result is in the beam already.
    """

    blank: Tensor
    token: Tensor
    grown: Tensor


def ctc_beam_search(
    symbols: BestSymbols, lengths: Tensor, beam: int, pad: int, scorer: PrefixScorer | None = None
) -> CtcHypotheses:
    """Search the most probable texts.

    Args:
        symbols: B x A in place of N; what lies beyond a sentence's canvas is not read.
        lengths: B, true canvas lengths.
        beam: K, texts kept at each position.
        pad: what stands behind the tokens of a text in the result.
        scorer: what else texts are judged by.

    Returns:
        Up to K texts of each sentence; a sentence without canvas has the empty text alone.

    Raises:
        ValueError: if the beam is not positive.
    """
    if beam < 1:
        raise ValueError(f"--ctc-beam must be at least 1, but is {beam}")
    padding = padding_mask(lengths, symbols.blank_scores.size(1))
    # A certain blank changes no text and no probability, so that sentences of all lengths go on together.
    blank_scores = symbols.blank_scores.masked_fill(padding, 0.0)
    scores = symbols.scores.masked_fill(padding.unsqueeze(2), IMPOSSIBLE)
    state = _first_beam(blank_scores, beam, scorer.start() if scorer else 0)
    for i in range(int(lengths.max()) if len(lengths) else 0):
        state = _step(state, BestSymbols(scores[:, i], symbols.tokens[:, i], blank_scores[:, i]), scorer)
    return _hypotheses(state, pad, scorer)


def _first_beam(scores: Tensor, beam: int, state: int) -> _Beam:
    """Begin with the empty text in the first place of each sentence and nothing in the others: scores B x A."""
    sentences, longest = scores.shape
    nobody = scores.new_full((sentences, beam), IMPOSSIBLE)
    blank = nobody.clone()
    blank[:, 0] = 0.0
    zeros = torch.zeros((sentences, beam), dtype=torch.long, device=scores.device)
    return _Beam(
        tokens=torch.full((sentences, beam, longest), NOTHING, device=scores.device),
        lengths=zeros,
        blank=blank,
        token=nobody,
        shared=zeros.unsqueeze(2).repeat(1, 1, beam),
        states=torch.full_like(zeros, state),
        added=torch.zeros_like(nobody),
    )


def _step(beam: _Beam, symbols: BestSymbols, scorer: PrefixScorer | None) -> _Beam:
    """Read one canvas position, N = B: all that the texts can become, and of that the best."""
    size, k = beam.lengths.size(1), symbols.tokens.size(1)
    growth = _grow(beam, symbols)
    added, states = beam.added.unsqueeze(2).expand_as(growth.grown), beam.states.unsqueeze(2).expand_as(growth.grown)
    if scorer is not None:
        gains, states = scorer.extend(beam.states, symbols.tokens, growth.grown > IMPOSSIBLE)
        added = added + gains
    stay = torch.logaddexp(growth.blank, growth.token)
    ranked = torch.cat([stay + beam.added, (growth.grown + added).flatten(1)], dim=1)  # B x (K + K k)
    # Sorting is stable, whereas which of several equal values topk takes may depend on the batch. So an impossible text
    # is one that stays, never one that grows: no text is there twice but the empty one.
    chosen = ranked.sort(dim=1, descending=True, stable=True).indices[:, :size]
    grows = chosen >= size
    parents = torch.where(grows, (chosen - size) // k, chosen)
    new_tokens = symbols.tokens.gather(1, (chosen - size).clamp(min=0) % k).masked_fill(~grows, NOTHING)
    lengths = beam.lengths.gather(1, parents)
    tokens = beam.tokens.gather(1, parents.unsqueeze(2).expand_as(beam.tokens))
    tokens = tokens.scatter(2, lengths.unsqueeze(2), new_tokens.unsqueeze(2))
    lengths = lengths + grows

    def take(of_stays: Tensor, of_grown: Tensor) -> Tensor:
        return torch.cat([of_stays, of_grown.flatten(1)], dim=1).gather(1, chosen)

    return _Beam(
        tokens=tokens,
        lengths=lengths,
        blank=growth.blank.gather(1, parents).masked_fill(grows, IMPOSSIBLE),
        token=take(growth.token, growth.grown),
        shared=_shared(beam.shared, parents, tokens, lengths),
        states=take(beam.states, states),
        added=take(beam.added, added),
    )


def _grow(beam: _Beam, symbols: BestSymbols) -> _Growth:
    """Add up the alignments that lead to each text."""
    total = torch.logaddexp(beam.blank, beam.token)
    last = beam.tokens.gather(2, (beam.lengths - 1).clamp(min=0).unsqueeze(2)).squeeze(2)
    is_last = symbols.tokens.unsqueeze(1) == last.unsqueeze(2)  # B x K x k
    scores = symbols.scores.unsqueeze(1)  # B x 1 x k
    last_score = scores.masked_fill(~is_last, IMPOSSIBLE).amax(dim=2)
    grown = torch.where(is_last, beam.blank.unsqueeze(2), total.unsqueeze(2)) + scores
    # B x K x K, [i, j]: text j is text i and one token more. Places not yet filled hold the empty text, nobody's child.
    child = (beam.shared == beam.lengths.unsqueeze(2)) & (beam.lengths.unsqueeze(1) == beam.lengths.unsqueeze(2) + 1)
    repeats = last.unsqueeze(2) == last.unsqueeze(1)
    source = torch.where(repeats, beam.blank.unsqueeze(2), total.unsqueeze(2))
    from_parent = source.masked_fill(~child, IMPOSSIBLE).amax(dim=1)  # a text has one parent at most
    in_beam = (child.unsqueeze(3) & is_last.unsqueeze(1)).any(dim=2)  # B x K x K x k -> B x K x k
    return _Growth(
        blank=total + symbols.blank_scores.unsqueeze(1),
        token=torch.logaddexp(beam.token, from_parent) + last_score,
        grown=grown.masked_fill(in_beam, IMPOSSIBLE),
    )


def _shared(before: Tensor, parents: Tensor, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Compare the beginnings of new texts: one more token at most than their parents have in common.

    Args:
        before: B x K x K, of the parents' beam.
        parents: B x K, places of the parents there.
        tokens: B x K x A, the new texts.
        lengths: B x K.

    Returns:
        B x K x K.
    """
    rows = before.gather(1, parents.unsqueeze(2).expand_as(before))
    shared = rows.gather(2, parents.unsqueeze(1).expand_as(before))
    next_tokens = tokens.gather(2, shared.clamp(max=tokens.size(2) - 1))  # [i, j]: of text i
    return shared + ((next_tokens == next_tokens.transpose(1, 2)) & (lengths.unsqueeze(2) > shared))


def _hypotheses(beam: _Beam, pad: int, scorer: PrefixScorer | None) -> CtcHypotheses:
    ctc_scores = torch.logaddexp(beam.blank, beam.token)
    scores = ctc_scores + beam.added
    if scorer is not None:
        scores = scores + scorer.finish(beam.states)
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    ctc_scores = ctc_scores.gather(1, order)
    lengths = beam.lengths.gather(1, order).masked_fill(ctc_scores == IMPOSSIBLE, 0)
    longest = int(lengths.max()) if lengths.numel() else 0
    tokens = beam.tokens.gather(1, order.unsqueeze(2).expand_as(beam.tokens))[:, :, :longest]
    behind = torch.arange(longest, device=tokens.device) >= lengths.unsqueeze(2)
    return CtcHypotheses(tokens.masked_fill(behind, pad), lengths, ctc_scores, scores)
