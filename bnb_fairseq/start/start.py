"""Starts of a new model: from BERTs, from a checkpoint of another model, or random."""

from collections.abc import Sequence
from typing import NamedTuple

from fairseq.models import BaseFairseqModel

from ..models.config import BertSeq2SeqConfig
from .from_bert import BertPair, load_berts, resolve_berts
from .pretrained import SIDES, PretrainedCheckpoint, load_pretrained, resolve_pretrained


class Start(NamedTuple):
    """Opened BERTs or an opened checkpoint, at most one of the two."""

    berts: BertPair | None = None
    pretrained: PretrainedCheckpoint | None = None

    @classmethod
    def resolve(cls, cfg: BertSeq2SeqConfig, sides: Sequence[str] = tuple(SIDES)) -> "Start":
        """Open what the options name, and complete them; see ``resolve_pretrained`` and ``resolve_berts``."""
        pretrained = resolve_pretrained(cfg, sides)
        return cls(resolve_berts(cfg) if pretrained is None else None, pretrained)

    def load(self, model: BaseFairseqModel, cfg: BertSeq2SeqConfig) -> None:
        """Copy the weights into a model built with those options; see ``load_pretrained`` and ``load_berts``."""
        if self.pretrained is not None:
            load_pretrained(model, self.pretrained)
        elif self.berts is not None:
            load_berts(model, self.berts, str(cfg.cross_attention_init))
