"""Outputs of a given length whatever the weights, so that all systems do the same work."""

import torch
from fairseq.models.nat import NATransformerModel

from bnb_fairseq.models.bnb_transformer import BnbTransformer

from .workload import Sample


@torch.no_grad()
def fix_length_classes(model: BnbTransformer, difference: int) -> None:
    """Let the length head choose one class, and the classes around it next.

    Args:
        model: with length control ``length``.
        difference: target minus source length.

    Raises:
        ValueError: if no class stands for the difference.
    """
    head = model.length_head
    if abs(difference) > head.length_range:
        raise ValueError(
            f"--target-tokens must be within {head.length_range} of --source-tokens, but differs by {difference}"
        )
    head.projection.weight.zero_()
    classes = torch.arange(len(head.projection.bias))
    head.projection.bias.copy_(-(classes - difference - head.length_range).abs())


@torch.no_grad()
def balance_blank(model: BnbTransformer, sample: Sample, target_tokens: int) -> None:
    """Let a CTC model keep about ``target_tokens`` of a sentence's canvas positions.

    An untrained model prefers a few symbols everywhere: the mean of each symbol's logit is taken out, so that
    neighbours differ. The blank then gets the bias at which it wins the right share of the positions.

    Args:
        model: with length control ``ctc``.
        sample: sentences to balance it on.
        target_tokens: wanted output length; at most the canvas length.

    Raises:
        ValueError: if the canvas is shorter.
    """
    output = model(**sample["net_input"])
    canvas = len(output.logits)
    if target_tokens > canvas:
        raise ValueError(f"--target-tokens must be at most {canvas}, the canvas of a source, but is {target_tokens}")
    bias = model.decoder.head.bias
    logits = output.logits.float().flatten(0, 1)
    mean = logits.mean(dim=0)
    bias.sub_(mean.to(bias.dtype))
    logits -= mean
    blank = logits[:, model.control.blank].clone()
    logits[:, model.control.blank] = float("-inf")
    margin = blank - logits.amax(dim=-1)
    bias[model.control.blank] -= margin.quantile(target_tokens / canvas).to(bias.dtype)


@torch.no_grad()
def fix_embedded_length(model: NATransformerModel, sample: Sample, target_tokens: int) -> None:
    """Let fairseq's own non-autoregressive model choose one length.

    It scores a length by the product of its embedding and the mean encoder state; every embedding becomes zero, the
    wanted one's the mean state of some sentences, whose product with each of theirs is positive.

    Args:
        model: ``nonautoregressive_transformer`` or ``cmlm_transformer``.
        sample: sentences.
        target_tokens: wanted output length.
    """
    states = model.encoder(**sample["net_input"])["encoder_out"][0]
    table = model.decoder.embed_length.weight
    table.zero_()
    table[target_tokens] = states.mean(dim=(0, 1)).to(table.dtype)
