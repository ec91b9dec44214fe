"""Which source tokens a text comes from: cross-attention of the canvas positions that say it."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..losses.ctc import words_to_score
from ..losses.ctc_alignment import best_alignment
from ..losses.token import best_and_chosen
from ..modules.canvas import Canvas
from ..network.encoded import Encoded
from ..network.nar_network import NarNetwork

AROUND = 2  # positions of [CLS] and [SEP] on a canvas of predicted length


@torch.no_grad()
def source_weights(network: NarNetwork, source: Mapping[str, Tensor], texts: Sequence[Sequence[int]]) -> list[Tensor]:
    """Compute how much each token of a text looks at each source token, in a pass that is shown no tokens.

    Under CTC a text is laid on the canvas by its most probable alignment, and a token has the mean of its positions.

    Args:
        network: prepared for inference.
        source: ``src_tokens`` (B x S) and ``src_lengths`` (B).
        texts: of each sentence the ids of a text, without [CLS] and [SEP].

    Returns:
        Of each sentence T x S: weights of cross-attention, mean over heads and layers; zeros for a token that has
        no position.
    """
    device = source["src_tokens"].device
    lengths = torch.tensor([len(text) for text in texts], device=device)
    width = max(map(len, texts), default=0)
    target = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts], device=device).view(-1, width)
    encoded = network.encode(source["src_tokens"], source["src_lengths"])
    aligns = network.control.has_alignments
    canvas = network.canvas(encoded, None if aligns else lengths + AROUND)
    weights = network.source_weights(encoded, canvas)
    if not aligns:
        return [rows[1 : 1 + len(text)] for rows, text in zip(weights, texts, strict=True)]
    columns = _aligned(network, encoded, canvas, target, lengths)  # B x A
    shares = F.one_hot(columns, width + 1)[:, :, 1:].to(weights.dtype).transpose(1, 2)  # B x T x A
    means = shares @ weights / shares.sum(dim=2, keepdim=True).clamp(min=1)
    return [rows[: len(text)] for rows, text in zip(means, texts, strict=True)]


def _aligned(network: NarNetwork, encoded: Encoded, canvas: Canvas, target: Tensor, lengths: Tensor) -> Tensor:
    """Lay texts on canvases: B x A, 0 for a blank, i for token i of the text."""
    states = network.decode(encoded, canvas)  # A x B x D
    words = words_to_score(target, network.control.blank)
    found = best_and_chosen(network.decoder.lazy_logits(states).flat(), words.expand(len(states), -1, -1).flatten(0, 1))
    scores = found.chosen.view(len(states), *words.shape)
    return best_alignment(scores, target, canvas.lengths, lengths)
