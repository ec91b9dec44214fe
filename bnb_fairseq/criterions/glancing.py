"""What training shows a decoder that reads its canvas: the schedule of ``--glancing``, and the choice of positions."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.ctc import words_to_score
from ..losses.ctc_alignment import best_alignment
from ..losses.glancing import choose, glanced_count, uniform_count
from ..losses.token import BestAndChosen, best_and_chosen
from ..modules.canvas import Canvas, Revealed
from ..modules.lazy_logits import LazyLogits
from ..network.nar_network import NarNetwork
from .logged import Average

LOGGED = (Average("revealed", "revealed_sum", "sentence", False, "share of the canvas that the decoder was shown"),)
SHARE = r"(0(?:\.\d+)?|1(?:\.0+)?|\.\d+)"
PATTERN = re.compile(rf"{SHARE}(?::{SHARE}@(\d+)([kM]?))?")
THOUSANDS = {"": 1, "k": 1000, "M": 1_000_000}


@dataclass(frozen=True)
class GlancingSchedule:
    """The share of wrongly guessed positions that is shown: from ``start`` to ``end`` in a straight line.

    Attributes:
        start: at update 0.
        end: from ``updates`` on.
        updates: updates in between.
    """

    start: float
    end: float
    updates: int

    def at(self, update: int) -> float:
        """Compute the share at an update."""
        if update >= self.updates:
            return self.end
        return self.start + (self.end - self.start) * update / self.updates


def glancing_schedule(text: str) -> GlancingSchedule:
    """Read ``--glancing``.

    Args:
        text: a share, or FROM:TO@UPDATES with shares from 0 to 1, such as ``0.5:0.1@200k``.

    Returns:
        The schedule.

    Raises:
        ValueError: if the text is neither.
    """
    found = PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"--glancing must be a share from 0 to 1 or FROM:TO@UPDATES, such as 0.5:0.1@200k, but is {text!r}"
        )
    start, end, updates, unit = found.groups()
    if end is None:
        return GlancingSchedule(float(start), float(start), 0)
    return GlancingSchedule(float(start), float(end), int(updates) * THOUSANDS[unit])


class Teacher:
    """Decides what the decoder is shown of a batch's targets; one for each batch.

    Nothing in evaluation, and for a decoder that reads no tokens. Else either a uniformly drawn number of tokens
    (mask-predict's training), or a share of those that the model, shown nothing, gets wrong (glancing). Under CTC the
    truth is the most probable alignment of the target with the canvas, blanks included. A share of 0 is nothing, too,
    whatever the model would guess: it is not asked, and nothing is aligned.

    Args:
        model: the network.
        target: B x T, right-padded ids.
        target_lengths: B.
        share: of the wrong positions; None: a uniform number.
    """

    def __init__(self, model: NarNetwork, target: Tensor, target_lengths: Tensor, share: float | None) -> None:
        self._model, self._target, self._target_lengths, self._share = model, target, target_lengths, share

    def __call__(self, canvas: Canvas, guess: Callable[[], LazyLogits]) -> Revealed:
        """Lay out what is shown.

        Args:
            canvas: the canvas, B x A.
            guess: gives the logits, A x B x V, of a pass that is shown nothing.

        Returns:
            What is shown, and the positions left to predict.
        """
        inside = ~canvas.padding
        if not (self._model.options.canvas_tokens and self._model.training):
            return Revealed(None, inside)
        if self._share == 0:
            return Revealed(torch.full_like(canvas.padding, self._model.mask, dtype=torch.long), inside)
        aligns = self._model.control.has_alignments
        guessed = self._read(guess()) if aligns or self._share is not None else None
        truth = self._target if guessed is None or not aligns else self._aligned(guessed.chosen, canvas)
        if self._share is None or guessed is None:
            count = canvas.lengths - uniform_count(canvas.lengths)
        else:
            count = glanced_count(guessed.best.transpose(0, 1), truth, inside, self._share)
        shown = choose(count, inside)
        return Revealed(truth.masked_fill(~shown, self._model.mask), inside & ~shown)

    def _words(self) -> Tensor:
        """The words whose scores decide the alignment under CTC, B x K; none without CTC."""
        control = self._model.control
        return words_to_score(self._target, control.blank) if control.has_alignments else self._target[:, :0]

    def _read(self, logits: LazyLogits) -> BestAndChosen:
        """Find the best word of each position, A x B, and the logits of the words, A x B x K."""
        positions, words = logits.states.shape[:2], self._words()
        found = best_and_chosen(logits.flat(), words.expand(len(logits.states), -1, -1).flatten(0, 1))
        return BestAndChosen(found.best.view(positions), found.chosen.view(*positions, words.size(1)))

    def _aligned(self, scores: Tensor, canvas: Canvas) -> Tensor:
        """Find the target's alignment: scores of the words, A x B x K -> ids B x A."""
        return self._words().gather(1, best_alignment(scores, self._target, canvas.lengths, self._target_lengths))
