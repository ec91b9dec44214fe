"""The encoder's outer form; what it computes is compared with BERT in test_bert_parity.py."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.fairseq_layers import encoder_layers
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.bert_encoder import BertEncoder

TOKENS = torch.tensor([[0, 5, 6, 7, 2], [0, 4, 2, 1, 1], [0, 2, 1, 1, 1]])
LENGTHS = torch.tensor([5, 3, 2])


@pytest.fixture
def encoder(
    make_dictionary: Callable[[int], BnbDictionary], random_parameters: Callable[[nn.Module, int], None]
) -> BertEncoder:
    sizes = LayerSizes(3, 8, 12, 2, 0.1, 0.1, 1e-12)
    module = BertEncoder(make_dictionary(5), sizes, 7, encoder_layers)
    random_parameters(module, 1)
    return module.eval()


def test_output_has_fairseqs_form(encoder: BertEncoder) -> None:
    out = encoder(TOKENS, LENGTHS)
    assert set(out) == {"encoder_out", "encoder_padding_mask", "encoder_states"}
    assert out["encoder_out"][0].shape == (5, 3, 8)
    assert out["encoder_padding_mask"][0].tolist() == [
        [False] * 5,
        [False, False, False, True, True],
        [False, False, True, True, True],
    ]
    assert out["encoder_states"] == []
    states = encoder(TOKENS, LENGTHS, return_all_hiddens=True)["encoder_states"]
    assert len(states) == 1 + 3
    assert torch.equal(states[-1], out["encoder_out"][0])


def test_reordering_selects_and_repeats_sentences(encoder: BertEncoder) -> None:
    order = torch.tensor([2, 0, 0])
    reordered = encoder.reorder_encoder_out(encoder(TOKENS, LENGTHS, return_all_hiddens=True), order)
    expected = encoder(TOKENS[order], LENGTHS[order], return_all_hiddens=True)
    assert set(reordered) == set(expected)
    for name, tensors in expected.items():
        assert len(reordered[name]) == len(tensors)
        for ours, theirs in zip(reordered[name], tensors, strict=True):
            assert torch.allclose(ours.float(), theirs.float(), rtol=0, atol=1e-6), name


def test_positions(encoder: BertEncoder) -> None:
    assert encoder.max_positions() == 7
    assert encoder.embeddings.positions.num_embeddings == 7


def test_gradients_do_not_come_from_padding(encoder: BertEncoder) -> None:
    encoder(TOKENS, LENGTHS)["encoder_out"][0].transpose(0, 1)[TOKENS.ne(1)].square().sum().backward()
    gradient = encoder.embeddings.tokens.weight.grad
    assert gradient is not None
    assert gradient[1].eq(0).all()
    assert gradient[[0, 2, 4, 5, 6, 7]].abs().sum(dim=1).gt(0).all()
