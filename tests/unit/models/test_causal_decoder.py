"""The autoregressive decoder: parity with HuggingFace, what a position sees, and decoding with kept keys and values."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.models.causal_decoder import CausalDecoder, IncrementalState, future_mask
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.bert_encoder import EncoderOut
from bnb_fairseq.start.bert_checkpoint import open_bert
from bnb_fairseq.start.bert_import import import_bert
from bnb_fairseq.start.row_matching import SymbolTable, match_rows

TOLERANCE = 1e-5
ENCODER_WIDTH, POSITIONS = 10, 12
SIZES = LayerSizes(3, 16, 24, 4, dropout=0.1, attention_dropout=0.1, layer_norm_eps=0.05)
SOURCE_LENGTHS = (6, 2, 4, 1)
# <s> 0, <pad> 1, </s> 2, <unk> 3, words from 4 to 13, <mask> 14; one sentence for each source.
TOKENS = torch.tensor(
    [
        [0, 5, 7, 13, 4, 4, 9],
        [0, 4, 13, 6, 8, 12, 4],
        [0, 10, 10, 10, 3, 5, 11],
        [0, 6, 5, 4, 7, 9, 8],
    ]
)
CROSS_ATTENTION = {
    "self.query": "encoder_attn.q_proj",
    "self.key": "encoder_attn.k_proj",
    "self.value": "encoder_attn.v_proj",
    "output.dense": "encoder_attn.out_proj",
    "output.LayerNorm": "encoder_attn_layer_norm",
}
RandomParameters = Callable[[nn.Module, int], None]


@pytest.fixture
def decoder(make_dictionary: Callable[[int], BnbDictionary], random_parameters: RandomParameters) -> CausalDecoder:
    decoder = CausalDecoder(make_dictionary(10), SIZES, ENCODER_WIDTH, POSITIONS)
    random_parameters(decoder, 2)
    return decoder.eval()


def encoded(width: int = ENCODER_WIDTH, lengths: tuple[int, ...] = SOURCE_LENGTHS) -> EncoderOut:
    """Random encoder states, right-padded."""
    states = torch.randn(max(lengths), len(lengths), width, generator=torch.Generator().manual_seed(4))
    padding = torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)
    return {"encoder_out": [states], "encoder_padding_mask": [padding], "encoder_states": []}


def chosen(source: EncoderOut, order: Tensor) -> EncoderOut:
    """The sources of the beams that are kept."""
    states, padding = source["encoder_out"][0], source["encoder_padding_mask"][0]
    return {**source, "encoder_out": [states[:, order]], "encoder_padding_mask": [padding[order]]}


def writing_copy(decoder: CausalDecoder, inference: bool) -> CausalDecoder:
    """A copy, with its layers as trained or exchanged for those that fairseq's commands translate with."""
    copy = deepcopy(decoder)
    if inference:
        copy.make_generation_fast_()
    return copy


@torch.no_grad()
def logits_of(decoder: CausalDecoder, tokens: Tensor, source: EncoderOut) -> Tensor:
    return decoder(tokens, source)[0]


def huggingface(directory: Path, random_parameters: RandomParameters) -> Any:
    """The BERT as a decoder; its cross-attention, which the file does not have, is random."""
    kind = transformers.BertLMHeadModel
    model = kind.from_pretrained(directory, is_decoder=True, add_cross_attention=True)
    for seed, layer in enumerate(model.bert.encoder.layer):
        random_parameters(layer.crossattention, seed)
    return model.eval()


def imported(directory: Path, theirs: Any) -> CausalDecoder:
    bert, dictionary = open_bert(str(directory), "--bert-decoder"), load_dictionary(str(directory))
    shape = bert.sizes
    sizes = LayerSizes(
        shape["layers"], shape["embed_dim"], shape["ffn_embed_dim"], shape["attention_heads"], 0.1, 0.1, 0.01
    )
    decoder = CausalDecoder(dictionary, sizes, shape["embed_dim"], shape["positions"])
    import_bert(
        decoder, bert, shape["layers"], match_rows(dictionary, SymbolTable.of_wordpiece(bert.tokenizer)), "decoder"
    )
    for ours, layer in zip(decoder.layers, theirs.bert.encoder.layer, strict=True):
        for name, our_name in CROSS_ATTENTION.items():
            ours.get_submodule(our_name).load_state_dict(layer.crossattention.get_submodule(name).state_dict())
    return decoder.eval()


def states_of_layers(decoder: CausalDecoder) -> list[Tensor]:
    """A list that every later call fills: the states after the embeddings and after each layer, B x T x D."""
    states: list[Tensor] = []
    decoder.embeddings.register_forward_hook(lambda _module, _input, output: states.append(output))
    for layer in decoder.layers:
        layer.register_forward_hook(lambda _module, _input, output: states.append(output[0].transpose(0, 1)))
    return states


@pytest.mark.parametrize("inference", [False, True])  # torch has kernels of its own for inference
@pytest.mark.parametrize("layers", [1, 4])
def test_parity_with_huggingface(
    layers: int, inference: bool, tmp_path: Path, write_bert: Callable[..., Path], random_parameters: RandomParameters
) -> None:
    theirs = huggingface(write_bert(tmp_path, num_hidden_layers=layers), random_parameters)
    decoder = imported(tmp_path, theirs)
    source = encoded(width=32, lengths=(7, 3, 1))
    tokens = torch.tensor([[3, 6, 7, 21, 9, 14], [3, 10, 6, 2, 0, 0], [3, 0, 0, 0, 0, 0]])
    kept = tokens.ne(decoder.dictionary.pad())
    states = states_of_layers(decoder)
    with torch.inference_mode(inference):
        expected = theirs(
            input_ids=tokens,
            attention_mask=kept.long(),
            encoder_hidden_states=source["encoder_out"][0].transpose(0, 1),
            encoder_attention_mask=(~source["encoder_padding_mask"][0]).long(),
            output_hidden_states=True,
        )
        logits, _ = decoder(tokens, source)
    for ours, layer in zip(states, expected.hidden_states, strict=True):
        assert (ours - layer)[kept].abs().max() <= TOLERANCE
    assert (logits - expected.logits)[kept].abs().max() <= TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize("inference", [False, True])
def test_one_position_at_a_time_equals_recomputing_the_prefix(inference: bool, decoder: CausalDecoder) -> None:
    writer, state = writing_copy(decoder, inference), IncrementalState()
    for length in range(1, TOKENS.size(1) + 1):
        step, _ = writer(TOKENS[:, :length], encoded(), incremental_state=state)
        assert step.shape == (4, 1, 15)
        expected = logits_of(decoder, TOKENS[:, :length], encoded())[:, -1:]
        assert (step - expected).abs().max() <= TOLERANCE, length


@torch.no_grad()
@pytest.mark.parametrize("inference", [False, True])
def test_reordered_beams_equal_recomputing_their_prefixes(inference: bool, decoder: CausalDecoder) -> None:
    """Three sentences of two beams, which change places and are copied; then one sentence after the other is done."""
    orders = [[1, 0, 2, 2, 5, 4], [1, 1, 3, 2, 4, 5], [2, 3, 5, 5], [1, 0, 2, 3], [3, 2], [1, 1]]
    writer, state = writing_copy(decoder, inference), IncrementalState()
    source = chosen(encoded(), torch.tensor([0, 0, 1, 1, 2, 2]))
    prefix, generator = TOKENS[:1, :1].expand(6, 1), torch.Generator().manual_seed(6)
    writer(prefix, source, incremental_state=state)
    for order in map(torch.tensor, orders):
        writer.reorder_incremental_state_scripting(state, order)
        source = chosen(source, order)
        prefix = torch.cat([prefix[order], torch.randint(2, 15, (len(order), 1), generator=generator)], dim=1)
        step, _ = writer(prefix, source, incremental_state=state)
        expected = logits_of(decoder, prefix, source)[:, -1:]
        assert (step - expected).abs().max() <= TOLERANCE, prefix.size(1)


def test_layers_for_inference_compute_the_same(decoder: CausalDecoder) -> None:
    writer = writing_copy(decoder, inference=True)
    difference = logits_of(writer, TOKENS, encoded()) - logits_of(decoder, TOKENS, encoded())
    assert difference.abs().max() <= TOLERANCE


@pytest.mark.parametrize("place", range(TOKENS.size(1)))
def test_a_position_sees_itself_and_its_left_only(place: int, decoder: CausalDecoder) -> None:
    changed = TOKENS.clone()
    changed[:, place] = 14
    difference = (logits_of(decoder, changed, encoded()) - logits_of(decoder, TOKENS, encoded())).abs()
    assert (difference[:, :place] <= 1e-6).all()
    assert difference[:, place:].amax(dim=2).min() > 1e-4


def test_right_padding_changes_nothing(decoder: CausalDecoder) -> None:
    padded = torch.nn.functional.pad(TOKENS, (0, 3), value=1)
    padded[2, 3:] = 1
    difference = (logits_of(decoder, padded, encoded())[:, :7] - logits_of(decoder, TOKENS, encoded())).abs()
    kept = padded[:, :7].ne(1)
    assert difference[kept].max() <= TOLERANCE


def test_every_source_state_counts_and_no_padding(decoder: CausalDecoder) -> None:
    before = logits_of(decoder, TOKENS, encoded())
    for place in range(max(SOURCE_LENGTHS)):
        source = encoded()
        source["encoder_out"][0][place] += torch.linspace(-1, 1, ENCODER_WIDTH)
        difference = (logits_of(decoder, TOKENS, source) - before).abs().amax(dim=2)
        for row, length in zip(difference, SOURCE_LENGTHS, strict=True):
            assert (row.min() > 1e-4) if place < length else (row.max() <= 1e-6)


@torch.no_grad()
def test_features_only(decoder: CausalDecoder) -> None:
    states, extra = decoder(TOKENS, encoded(), features_only=True)
    assert states.shape == (4, 7, 16)
    assert extra == {"attn": None}
    assert torch.equal(decoder.output_layer(states), logits_of(decoder, TOKENS, encoded()))


def test_future_mask_by_hand() -> None:
    assert future_mask(1, torch.device("cpu")).tolist() == [[False]]
    assert future_mask(3, torch.device("cpu")).tolist() == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]


@torch.no_grad()
@pytest.mark.parametrize("incremental", [False, True])
def test_all_positions_can_be_used(incremental: bool, decoder: CausalDecoder) -> None:
    assert decoder.max_positions() == POSITIONS
    tokens = torch.arange(POSITIONS).expand(4, -1)
    state: IncrementalState = {}
    if incremental:
        for length in range(1, POSITIONS):
            decoder(tokens[:, :length], encoded(), incremental_state=state)
    logits, _ = decoder(tokens, encoded(), incremental_state=state if incremental else None)
    assert torch.isfinite(logits).all()
