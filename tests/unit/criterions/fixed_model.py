"""A model that answers with given logits, and criterions and batches for it."""

from types import SimpleNamespace

import torch
from torch import Tensor, nn

from bnb_fairseq.criterions.bnb_loss import BnbLoss
from bnb_fairseq.criterions.config import BnbLossConfig
from bnb_fairseq.modules.canvas import Canvas, Revealed, padding_mask
from bnb_fairseq.modules.lazy_logits import LazyLogits
from bnb_fairseq.modules.length import LengthHead
from bnb_fairseq.network.nar_network import NarOutput, Reveal

PAD, MASK, BLANK, BOS = 1, 9, 3, 0


class FixedModel(nn.Module):
    """What the criterion sees of a ``bnb_transformer``; remembers what it was called with."""

    def __init__(self, output: NarOutput, uses_ctc: bool, reads_canvas_tokens: bool = False) -> None:
        super().__init__()
        self.output = output
        self.control = SimpleNamespace(has_alignments=uses_ctc, blank=BLANK)
        self.options, self.mask = SimpleNamespace(canvas_tokens=reads_canvas_tokens), MASK
        self.num_updates = 0
        self.length_head = LengthHead(4, length_range=2)
        self.decoder = SimpleNamespace(max_positions=lambda: 20)
        self.revealed: list[Revealed] = []
        self.gold: list[Tensor | None] = []

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        target_lengths: Tensor | None = None,
        reveal: Reveal | None = None,
        inner_states: bool = False,
    ) -> NarOutput:
        assert reveal is not None and not inner_states
        lengths = self.output.canvas_lengths
        padding = padding_mask(lengths, len(self.output.logits))
        revealed = reveal(Canvas(torch.zeros(0), lengths, padding, None), lambda: self.output.prediction)
        self.revealed.append(revealed)
        self.gold.append(target_lengths)
        prediction = LazyLogits(self.output.logits.transpose(0, 1)[revealed.hidden])
        return self.output._replace(prediction=prediction, revealed=revealed)


class WholeTargets(BnbLoss):
    """Its batches have everything in their targets that the canvas is to hold, [CLS] or any other first symbol."""

    def _canvas_target(self, target: Tensor) -> Tensor:
        return target


def criterion(
    label_smoothing: float = 0.1, length_loss_factor: float = 0.1, kind: type[BnbLoss] = WholeTargets, **options: object
) -> BnbLoss:
    config = BnbLossConfig(label_smoothing=label_smoothing, length_loss_factor=length_loss_factor, max_update=0)
    for name, value in options.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    task = SimpleNamespace(target_dictionary=SimpleNamespace(pad=lambda: PAD, bos=lambda: BOS))
    return kind(task, config)


def padded(sentences: list[list[int]], extra: int = 0) -> Tensor:
    rows = torch.full((len(sentences), max(map(len, sentences)) + extra), PAD)
    for row, sentence in zip(rows, sentences, strict=True):
        row[: len(sentence)] = torch.tensor(sentence)
    return rows


def batch(sources: list[list[int]], targets: list[list[int]], extra: int = 0) -> dict[str, object]:
    """fairseq's sample; the source has ``extra`` columns of padding more than needed."""
    return {
        "net_input": {
            "src_tokens": padded(sources, extra),
            "src_lengths": torch.tensor([len(source) for source in sources]),
        },
        "target": padded(targets),
        "ntokens": sum(map(len, targets)),
        "nsentences": len(targets),
    }
