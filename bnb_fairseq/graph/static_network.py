"""One pass of the network as one graph, without branches or loops over the data and without skipping padding."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modules.canvas import padding_mask, upsampled_lengths
from ..modules.length import MIN_LENGTH, MIN_SIGMA
from ..network.bert_encoder import segment_types
from ..network.options import NetworkOptions, SymbolTable

Weights = Mapping[str, Tensor]
HIDDEN = -1e9  # added to the attention scores of padding; a row of only -inf would be undefined


class Affine(nn.Module):
    """A linear layer with its weight as the graph multiplies it, I x O; layers with the same input are joined.

    Args:
        weights: of the model.
        *names: of the layers.
        factors: of each layer's output; None: 1.
    """

    def __init__(self, weights: Weights, *names: str, factors: tuple[float, ...] | None = None) -> None:
        super().__init__()
        scales = factors or (1.0,) * len(names)
        parts = [
            (weights[f"{name}.weight"] * by, weights[f"{name}.bias"] * by)
            for name, by in zip(names, scales, strict=True)
        ]
        self.register_buffer("weight", torch.cat([weight for weight, _ in parts]).T.contiguous())
        self.register_buffer("bias", torch.cat([bias for _, bias in parts]))
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """... x I -> ... x O."""
        return x @ self.weight + self.bias


class Norm(nn.Module):
    """LayerNorm."""

    def __init__(self, weights: Weights, name: str, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.register_buffer("weight", weights[f"{name}.weight"])
        self.register_buffer("bias", weights[f"{name}.bias"])
        self.weight: Tensor
        self.bias: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """... x D -> ... x D."""
        return F.layer_norm(x, self.bias.shape, self.weight, self.bias, self.eps)


class Attention(nn.Module):
    """Multi-head attention.

    Args:
        weights: of the model.
        name: of the attention.
        heads: H.
        to_source: queries come from one sequence, keys and values from another.
    """

    def __init__(self, weights: Weights, name: str, heads: int, to_source: bool) -> None:
        super().__init__()
        query, key, value = (f"{name}.{part}_proj" for part in ("q", "k", "v"))
        scale = (weights[f"{query}.bias"].numel() // heads) ** -0.5
        self.heads, self.to_source = heads, to_source
        if to_source:
            self.queries = Affine(weights, query, factors=(scale,))
            self.memory = Affine(weights, key, value)
        else:
            self.projections = Affine(weights, query, key, value, factors=(scale, 1.0, 1.0))
        self.out = Affine(weights, f"{name}.out_proj")

    def forward(self, x: Tensor, hidden: Tensor, source: Tensor | None = None) -> Tensor:
        """B x L x D -> B x L x D; ``hidden``, B x 1 x 1 x S, is added to scores; no ``source`` (B x S x D): ``x``."""
        if source is not None:
            (queries,) = self._split(self.queries(x), 1)
            keys, values = self._split(self.memory(source), 2)
        else:
            queries, keys, values = self._split(self.projections(x), 3)
        scores = queries @ keys.transpose(2, 3) + hidden  # B x H x L x S
        attended: Tensor = self.out((scores.softmax(dim=-1) @ values).transpose(1, 2).flatten(2))
        return attended

    def _split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split projections: B x L x (parts D) -> parts times B x H x L x D/H."""
        batch, length = x.shape[:2]
        return tuple(part.reshape(batch, length, self.heads, -1).transpose(1, 2) for part in x.chunk(parts, dim=2))


class Layer(nn.Module):
    """One BERT layer; see ``InferenceLayer``.

    Args:
        weights: of the model.
        name: of the layer.
        heads: H.
        eps: epsilon of LayerNorm.
    """

    def __init__(self, weights: Weights, name: str, heads: int, eps: float) -> None:
        super().__init__()
        self.attention = Attention(weights, f"{name}.self_attn", heads, to_source=False)
        self.attention_norm = Norm(weights, f"{name}.self_attn_layer_norm", eps)
        self.source_attention: Attention | None = None
        if f"{name}.encoder_attn.q_proj.weight" in weights:
            self.source_attention = Attention(weights, f"{name}.encoder_attn", heads, to_source=True)
            self.source_norm = Norm(weights, f"{name}.encoder_attn_layer_norm", eps)
        self.inner = Affine(weights, f"{name}.fc1")
        self.outer = Affine(weights, f"{name}.fc2")
        self.norm = Norm(weights, f"{name}.final_layer_norm", eps)

    def forward(
        self, x: Tensor, hidden: Tensor, source: Tensor | None = None, source_hidden: Tensor | None = None
    ) -> Tensor:
        """B x L x D -> B x L x D; ``source`` is B x S x D, the ``hidden`` are B x 1 x 1 x L and B x 1 x 1 x S."""
        x = self.attention_norm(x + self.attention(x, hidden))
        if self.source_attention is not None:
            x = self.source_norm(x + self.source_attention(x, source_hidden, source))
        normed: Tensor = self.norm(x + self.outer(F.gelu(self.inner(x))))
        return normed


class Stack(nn.Module):
    """Embeddings and layers of a side.

    Args:
        options: of the network.
        weights: of the model.
        side: ``encoder`` or ``decoder``.
    """

    def __init__(self, options: NetworkOptions, weights: Weights, side: str) -> None:
        super().__init__()
        sizes = options.encoder if side == "encoder" else options.decoder
        table = f"{side}.embeddings"
        types = weights[f"{table}.types.weight"]
        self.register_buffer("tokens", weights[f"{table}.tokens.weight"])
        self.register_buffer("positions", weights[f"{table}.positions.weight"] + types[0])
        self.register_buffer("second_segment", types[1] - types[0])
        self.tokens: Tensor
        self.positions: Tensor
        self.second_segment: Tensor
        self.embedding_norm = Norm(weights, f"{table}.layer_norm", sizes.layer_norm_eps)
        names = (f"{side}.layers.{i}" for i in range(sizes.layers))
        self.layers = nn.ModuleList(Layer(weights, name, sizes.attention_heads, sizes.layer_norm_eps) for name in names)

    def forward(
        self, content: Tensor, padding: Tensor, source: Tensor | None = None, source_padding: Tensor | None = None
    ) -> Tensor:
        """Add positions, normalise and apply the layers: B x L x D -> B x L x D, undefined at padding.

        ``padding`` is B x L, True at padding; ``source`` is B x S x D, the input of cross-attention, ``source_padding``
        B x S.
        """
        places = torch.arange(content.size(1), device=content.device)
        x = self.embedding_norm(content + F.embedding(places, self.positions))
        source_hidden = None if source_padding is None else _hide(source_padding)
        for layer in self.layers:
            x = layer(x, _hide(padding), source, source_hidden)
        return x


def _hide(padding: Tensor) -> Tensor:
    """Values to add to attention scores, from a mask: B x L -> B x 1 x 1 x L."""
    return (padding.float() * HIDDEN)[:, None, None, :]


class StaticNetwork(nn.Module):
    """The network's first pass, and the best symbols of every position.

    Args:
        options: of the network.
        source: the source vocabulary.
        target: the target vocabulary.
        weights: of a ``bnb_transformer``, float32, by their names in its checkpoint.
        symbols: k, symbols of each position in the output, including the blank.

    Attributes:
        blank: id of the symbol that stands for no text: the blank, or [PAD] under length classification.
    """

    def __init__(
        self,
        options: NetworkOptions,
        source: SymbolTable,
        target: SymbolTable,
        weights: Weights,
        symbols: int = 1,
    ) -> None:
        super().__init__()
        self.options, self.symbols = options, symbols
        self.source_pad, self.separator = source.pad(), source.eos()
        blanks = {"new": len(target), "pad": target.pad(), "mask": target.mask()}
        self.uses_ctc = options.length_control == "ctc"
        self.blank = blanks[options.ctc_blank] if self.uses_ctc else target.pad()
        self.encoder = Stack(options, weights, "encoder")
        self.decoder = Stack(options, weights, "decoder")
        self.latent = Affine(weights, "latent.projection") if options.latent_size else None
        self.latent_projection = Affine(weights, "decoder.latent_projection") if options.latent_size else None
        self.latent_scale = 1.0 if options.latent_size else float(weights["decoder.latent_scale"])
        self.register_buffer("mask_row", weights["decoder.embeddings.tokens.weight"][target.mask()].clone())
        self.mask_row: Tensor
        self.transform = Affine(weights, "decoder.head.transform")
        self.head_norm = Norm(weights, "decoder.head.layer_norm", options.decoder.layer_norm_eps)
        self.register_buffer("output_bias", weights["decoder.head.bias"])
        self.output_bias: Tensor
        self.output_weight = weights["decoder.head.weight"] if options.untie_output else self.decoder.tokens
        self.canvas: FixedCanvas | SpreadCanvas | EvenCanvas | ClassifiedCanvas
        if not self.uses_ctc:
            self.canvas = ClassifiedCanvas(options, weights)
        elif options.ctc_canvas_length:
            self.canvas = FixedCanvas(options.ctc_canvas_length)
        else:
            self.canvas = EvenCanvas(options) if options.ctc_extra else SpreadCanvas(options)

    def forward(
        self, src_tokens: Tensor, src_lengths: Tensor, asked: Tensor, candidates: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Run encoder and decoder once.

        Args:
            src_tokens: B x S, right-padded ids.
            src_lengths: B, true lengths.
            asked: B x n symbols to score at every position: ids, or places in ``candidates``.
            candidates: C ids, the blank among them, the only symbols that are scored; None: all.

        Returns:
            The best symbols of each position, B x A x k, the best first; their log-probabilities; the blank's, B x A;
            canvas lengths, B; and log-probabilities of the asked symbols, B x A x n.
        """
        if fixed := self.options.ctc_canvas_length:
            src_tokens = F.pad(src_tokens, (0, fixed - src_tokens.size(1)), value=self.source_pad)
        padding = src_tokens.eq(self.source_pad)
        types = segment_types(src_tokens, self.separator, padding).unsqueeze(2).float()
        content = F.embedding(src_tokens, self.encoder.tokens) + types * self.encoder.second_segment
        states = self.encoder(content, padding)
        latent = states if self.latent is None else self.latent(states)
        spread, lengths, added = self.canvas(latent, src_lengths, states, padding)
        canvas_padding = padding_mask(lengths, spread.size(1))
        filled = self.decoder(self._content(spread, added), canvas_padding, states, padding)
        scores = self._log_probabilities(filled, candidates)
        best, symbols = scores.topk(self.symbols, dim=-1)
        if candidates is None:
            blank_scores = scores[:, :, self.blank]
        else:
            symbols = candidates[symbols]
            place = (candidates == self.blank).long().argmax().unsqueeze(0)
            blank_scores = scores.index_select(2, place).squeeze(2)
        asked_scores = scores.gather(2, asked.unsqueeze(1).expand(-1, scores.size(1), -1))
        return symbols, best, blank_scores, lengths, asked_scores

    def _content(self, spread: Tensor, added: Tensor | None) -> Tensor:
        """Content of canvas positions: latent B x A x Z -> B x A x D; see ``NarDecoder.canvas_content``."""
        if self.latent_projection is None:
            content = spread * self.latent_scale
        else:
            content = F.gelu(self.latent_projection(spread))
        reads_tokens = self.options.canvas_tokens  # all of them [MASK]
        if added is not None:
            content = torch.where(added, content.new_zeros(()) if reads_tokens else self.mask_row, content)
        return content + self.mask_row if reads_tokens else content

    def _log_probabilities(self, states: Tensor, candidates: Tensor | None) -> Tensor:
        """Log-probabilities of the vocabulary, B x A x D -> B x A x V, or of the candidates, B x A x C."""
        states = self.head_norm(F.gelu(self.transform(states)))
        weight, bias = self.output_weight, self.output_bias
        if candidates is not None:
            weight, bias = F.embedding(candidates, weight), bias[candidates]
        return (states @ weight.T + bias).log_softmax(dim=-1)


class SpreadCanvas(nn.Module):
    """CTC's canvas, ``upsample`` positions for each source token; tables replace arithmetic, see ``canvas.py``.

    Args:
        options: of the network.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        ratio = options.ctc_upsample
        lengths = upsampled_lengths(torch.arange(options.encoder_positions + 1), ratio)
        places = torch.arange(int(lengths[-1]), dtype=torch.float64)
        sources = (places / ratio + 1e-9).floor().long()
        self.register_buffer("lengths", lengths)
        self.register_buffer("sources", sources)
        repeats = F.pad(sources[1:] == sources[:-1], (1, 0))
        self.register_buffer("repeats", repeats if options.ctc_canvas == "mask" else None)
        self.lengths: Tensor
        self.sources: Tensor
        self.repeats: Tensor | None

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The latent on the canvas, B x S x Z -> B x A x Z; lengths, B; and True at added positions, A x 1."""
        lengths = self.lengths[src_lengths]
        places = _places(lengths)
        sources = self.sources[places].clamp(max=latent.size(1) - 1)
        added = None if self.repeats is None else self.repeats[places].unsqueeze(1)
        return latent.index_select(1, sources), lengths, added


class EvenCanvas(nn.Module):
    """CTC's canvas with extra positions: the source is spread over it at a ratio of its own; see ``canvas.py``.

    Args:
        options: of the network.
    """

    def __init__(self, options: NetworkOptions) -> None:
        super().__init__()
        lengths = torch.arange(options.encoder_positions + 1)
        self.register_buffer("lengths", upsampled_lengths(lengths, options.ctc_upsample, options.ctc_extra))
        self.lengths: Tensor
        self.mask_added = options.ctc_canvas == "mask"

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Lay out the canvas: latent B x S x Z -> B x A x Z, lengths B, and where [MASK] stands, B x A x 1."""
        lengths = self.lengths[src_lengths]
        places, tokens, positions = _places(lengths), src_lengths.unsqueeze(1), lengths.unsqueeze(1)
        sources = (places * tokens // positions).clamp(max=latent.size(1) - 1)  # B x A
        spread = latent.gather(1, sources.unsqueeze(2).expand(-1, -1, latent.size(2)))
        if not self.mask_added:
            return spread, lengths, None
        left = (places - 1).clamp(min=0) * tokens // positions
        added = (sources == left.clamp(max=latent.size(1) - 1)) & (places > 0)
        return spread, lengths, added.unsqueeze(2)


class FixedCanvas(nn.Module):
    """CTC's canvas of one length, to which the source is padded.

    Args:
        length: A.
    """

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length = length

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The latent, B x A x Z, as it is; lengths, B; and no added positions."""
        return latent, torch.full_like(src_lengths, self.length), None


class ClassifiedCanvas(nn.Module):
    """A canvas of the most probable length, to which the latent is resampled; see ``length.py``.

    Args:
        options: of the network.
        weights: of the model.
    """

    def __init__(self, options: NetworkOptions, weights: Weights) -> None:
        super().__init__()
        self.projection = Affine(weights, "length_head.projection")
        self.longest = options.decoder_positions
        self.register_buffer("differences", torch.arange(-options.length_range, options.length_range + 1))
        self.differences: Tensor
        self.width = 2.0 * max(float(weights["length_converter.sigma"]) ** 2, MIN_SIGMA**2)

    def forward(
        self, latent: Tensor, src_lengths: Tensor, states: Tensor, padding: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The latent on the canvas, B x S x Z -> B x A x Z; lengths, B; and no added positions."""
        kept = (~padding).float().unsqueeze(2)
        logits = self.projection((states * kept).sum(dim=1) / kept.sum(dim=1))
        possible = src_lengths.unsqueeze(1) + self.differences
        forbidden = (possible < MIN_LENGTH) | (possible > self.longest)
        best = logits.masked_fill(forbidden, float("-inf")).argmax(dim=1, keepdim=True)
        lengths = possible.gather(1, best).squeeze(1).clamp(MIN_LENGTH, self.longest)
        centres = _places(lengths).float() * (src_lengths.float() / lengths.float()).unsqueeze(1)  # B x A
        sources = torch.arange(latent.size(1), device=latent.device)
        scores = -(sources - centres.unsqueeze(2)).square() / self.width  # B x A x S
        beyond = (sources >= src_lengths.unsqueeze(1)).unsqueeze(1)
        return scores.masked_fill(beyond, float("-inf")).softmax(dim=-1) @ latent, lengths, None


def _places(lengths: Tensor) -> Tensor:
    """Position numbers of the longest canvas: A."""
    longest = lengths.max().item()
    torch._check(longest >= 1)  # type: ignore[no-untyped-call]
    return torch.arange(longest, device=lengths.device)
