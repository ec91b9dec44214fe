"""A record of one sentence: the canvas after each pass, and the cross-attention of the last one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from fairseq import utils
from torch import Tensor, nn

from ..data.dictionary import BnbDictionary
from ..data.pair_dataset import SPECIAL_SYMBOLS
from ..generation.generator import NarGenerator
from ..generation.options import GeneratorOptions
from ..generation.state import DecodingState, least_confident, tokens_to_mask
from ..models.bnb_transformer import BnbTransformer
from ..network.nar_network import NarNetwork

BLANK = "·"


class Slot(NamedTuple):
    """One position of the canvas after a pass.

    Attributes:
        piece: the symbol as the dictionary writes it, or ``BLANK``.
        probability: of the symbol, when it was last predicted.
        again: True: the pass hid the position and predicted it again; never in pass 0.
        kept: True: the symbol is part of the text, neither a blank nor merged with its left neighbour.
    """

    piece: str
    probability: float
    again: bool
    kept: bool


class Pass(NamedTuple):
    """The canvas after one pass, and its text, collapsed and detokenised."""

    slots: list[Slot]
    text: str


class Refinement(NamedTuple):
    """One sentence.

    Attributes:
        sentence: raw source text.
        source: S pieces, special symbols included.
        passes: pass 0 first.
        allowed: most passes, pass 0 included.
        layer: decoder layer of ``attention``; 0 is the lowest.
        attention: A x S, float32: weights of the last pass, mean over heads.
    """

    sentence: str
    source: list[str]
    passes: list[Pass]
    allowed: int
    layer: int
    attention: Tensor

    @property
    def settled(self) -> int:
        """The last pass that changed the text; 0 if none did after pass 0."""
        texts = [made.text for made in self.passes]
        return max((i for i in range(1, len(texts)) if texts[i] != texts[i - 1]), default=0)

    @property
    def summary(self) -> str:
        """The number of passes, and the last that changed the text."""
        made = f"{len(self.passes)} of at most {self.allowed} passes made"
        changed = f"pass {self.settled} was the last to change the text" if self.settled else "pass 0 wrote the text"
        return f"{made}; {changed}"


def hidden_before(states: Sequence[DecodingState], refinements: int) -> list[Tensor]:
    """Find the positions that each pass after pass 0 hid and predicted again.

    Args:
        states: after each pass.
        refinements: most passes after pass 0.

    Returns:
        B x A, bool, one fewer than states.
    """
    found = []
    for refinement, state in enumerate(states[:-1], start=1):
        counts = tokens_to_mask(state.lengths, refinement, refinements)
        found.append(least_confident(state.scores, state.lengths, counts) & ~state.done.unsqueeze(1))
    return found


@torch.no_grad()
def source_attention(model: NarNetwork, source: Mapping[str, Tensor], shown: Tensor | None, layer: int) -> Tensor:
    """Run the decoder and return the cross-attention of one layer.

    Args:
        model: as trained, not prepared for inference.
        source: ``src_tokens`` (B x S) and ``src_lengths`` (B).
        shown: B x A, tokens on the canvas; None: [MASK] everywhere, if the decoder reads tokens.
        layer: number of the layer.

    Returns:
        B x A x S, mean over heads; on a canvas of fixed length S may exceed that of ``src_tokens``.
    """
    collected: list[Tensor] = []

    def ask(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_attn": True}

    def collect(_: nn.Module, __: Any, output: Sequence[Tensor]) -> None:
        collected.append(output[1])

    asked = model.decoder.layers[layer]
    handles = [asked.register_forward_pre_hook(ask, with_kwargs=True), asked.register_forward_hook(collect)]
    try:
        encoded = model.encode(source["src_tokens"], source["src_lengths"])
        model.decode(encoded, model.canvas(encoded), shown)
    finally:
        for handle in handles:
            handle.remove()
    return collected[0]


def record(
    generator: NarGenerator,
    dictionaries: tuple[BnbDictionary, BnbDictionary],
    sample: Mapping[str, Any],
    sentence: str,
    layer: int,
) -> Refinement:
    """Translate a sentence and record its passes.

    Args:
        generator: must retain its history.
        dictionaries: of source and target.
        sample: a batch of this sentence.
        sentence: raw text.
        layer: decoder layer whose cross-attention to record.

    Returns:
        The record, on the CPU.
    """
    model, (source_dictionary, dictionary) = generator.model, dictionaries
    states = generator.passes(sample)
    hidden = hidden_before(states, generator.options.max_iter)
    shown = states[-2].tokens.masked_fill(hidden[-1], model.mask) if hidden else None
    source = sample["net_input"]
    pieces = source["src_tokens"][0, : int(source["src_lengths"][0])].tolist()
    attention = source_attention(model, source, shown, layer)[0, :, : len(pieces)]
    again = [torch.zeros_like(states[0].tokens, dtype=torch.bool), *hidden]
    return Refinement(
        sentence,
        [source_dictionary[i] for i in pieces],
        [_pass(model, dictionary, state, one) for state, one in zip(states, again, strict=True)],
        generator.options.max_iter + 1,
        layer,
        attention.float().cpu(),
    )


def _pass(model: NarNetwork, dictionary: BnbDictionary, state: DecodingState, again: Tensor) -> Pass:
    """Read one sentence's canvas; without CTC, [PAD] is the blank, as in training with AXE."""
    blank, kept = model.control.blank, model.control.kept(state.tokens, state.lengths)[0]
    tokens, scores = state.tokens[0], state.scores[0]
    columns = (tokens.tolist(), scores.exp().tolist(), again[0].tolist(), kept.tolist())
    slots = [
        Slot(BLANK if token == blank else dictionary[token], probability, hidden, part)
        for token, probability, hidden, part in zip(*columns, strict=True)
    ]
    return Pass(slots, dictionary.text(tokens[kept], dictionary.unk_word))


def make_samples(task: Any, sentences: Sequence[str], longest: int) -> list[dict[str, Any]]:
    """Encode raw sentences as fairseq-interactive does, one a batch.

    Raises a ValueError if a sentence is empty or has more than ``longest`` pieces, special symbols counted.
    """
    dataset = task.build_dataset_for_inference(*task.get_interactive_tokens_and_lengths(sentences, lambda text: text))
    samples = [dataset.collater([dataset[i]]) for i in range(len(sentences))]
    for sentence, sample in zip(sentences, samples, strict=True):
        pieces = int(sample["net_input"]["src_lengths"][0])
        if not SPECIAL_SYMBOLS < pieces <= longest:
            raise ValueError(
                f"--sentence must have {SPECIAL_SYMBOLS + 1} to {longest} pieces, special symbols counted, but "
                f"{sentence[:60]!r} has {pieces}"
            )
    return samples


def record_all(
    model: BnbTransformer, task: Any, sentences: Sequence[str], options: GeneratorOptions, layer: int | None, cpu: bool
) -> list[Refinement]:
    """Translate sentences and record their passes.

    Args:
        model: as trained, not prepared for inference; it moves to the GPU if that is used.
        task: has the dictionaries.
        sentences: raw source text.
        options: must retain the history.
        layer: decoder layer whose cross-attention to record, 0 is the lowest; None: the last.
        cpu: use the CPU even where there is a GPU.

    Returns:
        A record of each.

    Raises:
        ValueError: if the model cannot refine, has no such layer, or a sentence does not fit.
    """
    generator = NarGenerator([model], task.target_dictionary, options)
    layers = len(model.decoder.layers)
    layer = layers - 1 if layer is None else layer
    if not 0 <= layer < layers:
        raise ValueError(f"--alignment-layer must lie between 0 and {layers - 1}, but is {layer}")
    samples = make_samples(task, sentences, model.max_positions()[0])
    if torch.cuda.is_available() and not cpu:
        model.cuda()
        samples = [utils.move_to_cuda(sample) for sample in samples]
    dictionaries = (task.source_dictionary, task.target_dictionary)
    return [
        record(generator, dictionaries, sample, sentence, layer)
        for sentence, sample in zip(sentences, samples, strict=True)
    ]
