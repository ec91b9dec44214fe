"""Scoring finished texts with an autoregressive model."""

from collections.abc import Mapping
from typing import Any

import torch
from fairseq.models import FairseqEncoderDecoderModel
from torch import Tensor

from ..data.dictionary import BnbDictionary
from ..modules.canvas import padding_mask
from .collapse import compact, inside
from .ctc_beam import Array
from .prediction import score_tokens


class Reranker:
    """Scores any number of texts of a sentence in one teacher-forced pass.

    Args:
        model: autoregressive, such as ``bert2bert``, with the same dictionaries.
        dictionary: the target dictionary.
    """

    def __init__(self, model: FairseqEncoderDecoderModel, dictionary: BnbDictionary) -> None:
        self.model = model
        self.bos, self.pad, self.eos = dictionary.bos(), dictionary.pad(), dictionary.eos()

    @torch.no_grad()
    def scores(self, source: Mapping[str, Tensor], tokens: Array, lengths: Array) -> Array:
        """Mean log-probability of a token, including the end; of too long a text, of its beginning.

        Args:
            source: ``src_tokens`` (B x S) and ``src_lengths`` (B).
            tokens: B K x L, the texts of each sentence one after another; special symbols are not scored.
            lengths: B K.

        Returns:
            B K, float32.
        """
        self.model.eval()
        decoder: Any = self.model.decoder
        kept = inside(lengths, tokens.shape[1])
        for silent in (self.bos, self.pad, self.eos):
            kept &= tokens != silent
        parts = compact(tokens, kept, self.pad), kept.sum(axis=1)
        words, counts = (torch.from_numpy(part).to(source["src_tokens"].device) for part in parts)
        read = torch.cat([words.new_full((len(words), 1), self.bos), words], dim=1)
        target = torch.cat([words, words.new_full((len(words), 1), self.pad)], dim=1)
        target.scatter_(1, counts.unsqueeze(1), self.eos)
        longest = min(target.size(1), decoder.max_positions())
        read, target, counts = read[:, :longest], target[:, :longest], (counts + 1).clamp(max=longest)
        scored = ~padding_mask(counts, longest)
        states = self._states(source, read)[scored]
        values = score_tokens(decoder.output_layer, states, target[scored], len(decoder.dictionary))
        sums = torch.zeros(target.shape, device=values.device).masked_scatter(scored, values).sum(dim=1)
        means: Array = (sums / counts).cpu().numpy()
        return means

    def _states(self, source: Mapping[str, Tensor], read: Tensor) -> Tensor:
        """Run the model: B K x L ids -> B K x L x D."""
        encoded = self.model.encoder(source["src_tokens"], src_lengths=source["src_lengths"])
        copies = len(read) // len(source["src_tokens"])
        rows = torch.arange(len(source["src_tokens"]), device=read.device).repeat_interleave(copies)
        encoded = self.model.encoder.reorder_encoder_out(encoded, rows)
        states: Tensor = self.model.decoder(read, encoder_out=encoded, features_only=True)[0]
        return states
