"""BERT layers for inference only: fairseq's function, with less work around the matrix products.

One product computes queries, keys and values, attention weights are never stored, padding is skipped, and a CPU's
weights are packed for its matrix multiplication.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..torch_compat import pack_weight, packed_linear

WEIGHT_BIAS = ("weight", "bias")


class InferenceLinear(nn.Module):
    """A linear layer, with gelu if wanted, that can no longer be trained or saved.

    Args:
        weight: O x I.
        bias: O.
        gelu: apply the exact gelu.
        exact: multiply in float32 even under ``--float32-matmul-precision medium``; None: read torch's precision now.
            The layer keeps it.
    """

    def __init__(self, weight: Tensor, bias: Tensor, gelu: bool = False, exact: bool | None = None) -> None:
        super().__init__()
        self.gelu = gelu
        self.exact = torch.get_float32_matmul_precision() != "medium" if exact is None else exact
        self._lay_out(weight.detach(), bias.detach())

    def _lay_out(self, weight: Tensor, bias: Tensor) -> None:
        self.bias = bias
        self.packed = pack_weight(weight, self.exact)
        self.weight = weight if self.packed is None else None

    def _plain_weight(self) -> Tensor:
        """The weight in torch's own layout; one that was packed in bfloat16 stays rounded."""
        if self.packed is not None:
            return self.packed.to_dense().to(self.bias.dtype)
        assert self.weight is not None
        return self.weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "InferenceLinear":
        """Repack for another device or type: torch calls this in ``to``, ``cuda``, ``half`` and the like."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._lay_out(fn(self._plain_weight()), fn(self.bias))
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "InferenceLinear":
        return InferenceLinear(self._plain_weight().clone(), self.bias.clone(), self.gelu, self.exact)

    @classmethod
    def of(cls, *layers: nn.Linear, gelu: bool = False) -> "InferenceLinear":
        """One layer in place of several that read the same input; their outputs follow each other."""
        return cls(torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers]), gelu)

    def forward(self, x: Tensor) -> Tensor:
        """N x I -> N x O."""
        if self.packed is not None:
            return packed_linear(x, self.packed, self.bias, self.gelu)
        y = F.linear(x, self.weight, self.bias)  # type: ignore[arg-type]
        return F.gelu(y) if self.gelu else y


class Layout:
    """Index of the non-padding positions of a batch, so that layers skip padding.

    Args:
        padding: B x L, True at padding; None: no padding.
        keep_padding: compute padding like any other position; attention ignores it in any case.

    Attributes:
        mask: B x 1 x 1 x L, True where attention may look; None: everywhere.
    """

    def __init__(self, padding: Tensor | None, keep_padding: bool = False) -> None:
        self.mask: Tensor | None = None
        self._places: Tensor | None = None
        if padding is not None and bool(padding.any()):
            self.mask = ~padding[:, None, None, :]
            self._places = None if keep_padding else self.mask.flatten().nonzero().squeeze(1)

    def flat(self, x: Tensor) -> Tensor:
        """Drop the padding: B x L x D -> N x D."""
        rows = x.flatten(0, 1)
        return rows if self._places is None else rows[self._places]

    def padded(self, x: Tensor, batch: int) -> Tensor:
        """Insert zeros at padding: N x D -> B x L x D."""
        if self._places is None or self.mask is None:
            return x.view(batch, -1, x.size(-1))
        rows = x.new_zeros(self.mask.numel(), x.size(-1))
        rows[self._places] = x
        return rows.view(batch, -1, x.size(-1))


class KeyValues(NamedTuple):
    """Keys and values of one attention, each B x H x L x D/H."""

    keys: Tensor
    values: Tensor

    def extended(self, new: "KeyValues") -> "KeyValues":
        """With further positions at the right."""
        return KeyValues(torch.cat([self.keys, new.keys], dim=2), torch.cat([self.values, new.values], dim=2))

    def selected(self, rows: Tensor) -> "KeyValues":
        """The keys and values of the sentences ``rows``, which may repeat."""
        return KeyValues(self.keys.index_select(0, rows), self.values.index_select(0, rows))


class SourceMemory(NamedTuple):
    """The source as each layer's cross-attention reads it, computed once for all passes or steps.

    Attributes:
        layers: keys and values, one pair for each layer.
        mask: B x 1 x 1 x S, True where attention may look; None: everywhere.
    """

    layers: Sequence[KeyValues]
    mask: Tensor | None

    def selected(self, rows: Tensor) -> "SourceMemory":
        """That of the sentences ``rows``, which may repeat."""
        mask = None if self.mask is None else self.mask.index_select(0, rows)
        return SourceMemory([layer.selected(rows) for layer in self.layers], mask)


class InferenceLayer(nn.Module):
    """One BERT layer, with cross-attention if the weights have it: after-norm, exact gelu.

    Args:
        weights: of one of fairseq's layers, by fairseq's names; the LayerNorms share them, the rest is copied.
        heads: attention heads.
        eps: epsilon of LayerNorm.
    """

    def __init__(self, weights: Mapping[str, Tensor], heads: int, eps: float) -> None:
        super().__init__()

        def linear(prefix: str, *names: str, gelu: bool = False) -> InferenceLinear:
            weight, bias = (torch.cat([weights[f"{prefix}{name}.{kind}"] for name in names]) for kind in WEIGHT_BIAS)
            return InferenceLinear(weight, bias, gelu)

        def norm(name: str) -> nn.LayerNorm:
            layer = nn.LayerNorm(len(weights[f"{name}.bias"]), eps=eps, device="meta")
            layer.weight, layer.bias = (_constant(weights[f"{name}.{kind}"]) for kind in WEIGHT_BIAS)
            return layer

        self.heads = heads
        self.queries_keys_values = linear("self_attn.", "q_proj", "k_proj", "v_proj")
        self.attention_out = linear("self_attn.", "out_proj")
        self.attention_norm = norm("self_attn_layer_norm")
        if "encoder_attn.q_proj.weight" in weights:
            self.source_queries = linear("encoder_attn.", "q_proj")
            self.source_keys_values = linear("encoder_attn.", "k_proj", "v_proj")
            self.source_out = linear("encoder_attn.", "out_proj")
            self.source_norm = norm("encoder_attn_layer_norm")
        self.inner = linear("", "fc1", gelu=True)
        self.outer = linear("", "fc2")
        self.norm = norm("final_layer_norm")

    def split(self, x: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split projections into heads: B x L x (parts D) -> parts times B x H x L x D/H."""
        batch, length = x.shape[:2]
        return x.view(batch, length, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(
        self,
        x: Tensor,
        batch: int,
        layout: Layout,
        source: tuple[KeyValues, Tensor | None] | None = None,
        past: KeyValues | None = None,
        causal: bool = False,
    ) -> tuple[Tensor, KeyValues]:
        """Apply the layer.

        Args:
            x: N x D, the positions of B sentences.
            batch: B.
            layout: index of the N positions.
            source: keys, values and mask of cross-attention.
            past: keys and values of earlier positions.
            causal: a position sees only itself and those to its left.

        Returns:
            N x D; and the keys and values of self-attention, including ``past``.
        """
        x, seen = self._look_around(x, batch, layout, past, causal)
        if source is not None:
            memory, mask = source
            (queries,) = self.split(layout.padded(self.source_queries(x), batch), 1)
            attended = F.scaled_dot_product_attention(queries, *memory, attn_mask=mask)
            x = self.source_norm(x + self.source_out(layout.flat(_merge(attended))))
        return self.norm(x + self.outer(self.inner(x))), seen

    def _look_around(
        self, x: Tensor, batch: int, layout: Layout, past: KeyValues | None, causal: bool
    ) -> tuple[Tensor, KeyValues]:
        """Apply self-attention and its LayerNorm; returns N x D, and keys and values."""
        queries, *new = self.split(layout.padded(self.queries_keys_values(x), batch), 3)
        seen = KeyValues(*new) if past is None else past.extended(KeyValues(*new))
        attended = F.scaled_dot_product_attention(queries, *seen, attn_mask=layout.mask, is_causal=causal)
        return self.attention_norm(x + self.attention_out(layout.flat(_merge(attended)))), seen

    def source_weights(self, x: Tensor, batch: int, layout: Layout, source: tuple[KeyValues, Tensor | None]) -> Tensor:
        """Weights of cross-attention, B x L x S, mean over heads; the arguments are those of ``forward``."""
        x, _ = self._look_around(x, batch, layout, None, causal=False)
        (queries,) = self.split(layout.padded(self.source_queries(x), batch), 1)
        memory, mask = source
        scores = queries @ memory.keys.transpose(-1, -2) / queries.size(-1) ** 0.5  # B x H x L x S
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return scores.softmax(dim=-1).mean(dim=1)


def _constant(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.detach(), requires_grad=False)


def _merge(attended: Tensor) -> Tensor:
    """Join the heads: B x H x L x D/H -> B x L x D."""
    return attended.transpose(1, 2).flatten(2)


class InferenceStack(nn.Module):
    """The layers of an encoder or decoder.

    Args:
        weights: one mapping for each layer, see ``InferenceLayer``.
        heads: attention heads.
        eps: epsilon of LayerNorm.
        keep_padding: compute the states of padding, too.
    """

    def __init__(
        self, weights: Sequence[Mapping[str, Tensor]], heads: int, eps: float, keep_padding: bool = False
    ) -> None:
        super().__init__()
        self._keep_padding = keep_padding
        self.layers = nn.ModuleList(InferenceLayer(layer, heads, eps) for layer in weights)

    def read(self, encoder_states: Tensor, encoder_padding: Tensor) -> SourceMemory:
        """Keys and values for cross-attention, from states S x B x D and their padding B x S (True at padding)."""
        layout = Layout(encoder_padding)
        flat, batch = layout.flat(encoder_states.transpose(0, 1)), encoder_states.size(1)
        projected = [(layer, layout.padded(layer.source_keys_values(flat), batch)) for layer in self.layers]  # type: ignore[operator]
        return SourceMemory([KeyValues(*layer.split(x, 2)) for layer, x in projected], layout.mask)  # type: ignore[operator]

    def forward(
        self,
        states: Tensor,
        padding: Tensor | None,
        memory: SourceMemory | None = None,
        past: Sequence[KeyValues] | None = None,
        causal: bool = False,
        keep: bool = False,
    ) -> tuple[Tensor, list[KeyValues]]:
        """Apply all layers.

        Args:
            states: B x L x D.
            padding: B x L, True at padding; None: no padding.
            memory: input of cross-attention.
            past: keys and values of earlier positions, one pair for each layer.
            causal: a position sees only itself and those to its left.
            keep: return keys and values.

        Returns:
            B x L x D, zeros at padding unless it is kept; and with ``keep`` each layer's keys and values, including
            ``past``.
        """
        layout = Layout(padding, self._keep_padding)
        x, batch, kept = layout.flat(states), len(states), []
        for i, layer in enumerate(self.layers):
            source = None if memory is None else (memory.layers[i], memory.mask)
            x, seen = layer(x, batch, layout, source, None if past is None else past[i], causal)
            if keep:
                kept.append(seen)
        return layout.padded(x, batch), kept

    def source_weights(self, states: Tensor, padding: Tensor, memory: SourceMemory) -> Tensor:
        """Weights of cross-attention, B x L x S, mean over heads and layers; ``padding`` is B x L, True at padding."""
        layout, batch = Layout(padding, self._keep_padding), len(states)
        x, weights = layout.flat(states), []
        for layer, source in zip(self.layers, memory.layers, strict=True):
            weights.append(layer.source_weights(x, batch, layout, (source, memory.mask)))  # type: ignore[operator]
            x, _ = layer(x, batch, layout, (source, memory.mask))
        return torch.stack(weights).mean(dim=0)
