"""fairseq's layers as BERT's: what differs from fairseq's defaults, and the embeddings by hand."""

import math

import torch
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import nn

from bnb_fairseq.models.fairseq_layers import decoder_layers, encoder_layers
from bnb_fairseq.modules.layers import (
    BertEmbeddings,
    LayerSizes,
    init_bert_weights,
)

SIZES = LayerSizes(
    layers=3, embed_dim=8, ffn_embed_dim=20, attention_heads=2, dropout=0.25, attention_dropout=0.5, layer_norm_eps=0.03
)


def test_sizes_of_encoder_layers() -> None:
    layers = encoder_layers(SIZES)
    assert len(layers) == 3
    for layer in layers:
        assert isinstance(layer, TransformerEncoderLayerBase)
        shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
        assert (shapes["fc1.weight"], shapes["fc2.weight"]) == ((20, 8), (8, 20))
        assert shapes["self_attn.q_proj.weight"] == (8, 8)
        assert layer.self_attn.num_heads == 2
        assert len(shapes) == 16


def test_sizes_of_decoder_layers() -> None:
    layers = decoder_layers(SIZES, 6)
    assert len(layers) == 3
    for layer in layers:
        assert isinstance(layer, TransformerDecoderLayerBase)
        shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
        assert shapes["encoder_attn.k_proj.weight"] == shapes["encoder_attn.v_proj.weight"] == (8, 6)
        assert shapes["encoder_attn.q_proj.weight"] == shapes["self_attn.k_proj.weight"] == (8, 8)
        assert layer.encoder_attn.num_heads == layer.self_attn.num_heads == 2
        assert len(shapes) == 26


def test_layers_are_berts() -> None:
    """After-norm, exact gelu, BERT's epsilon everywhere, dropout where BERT has it."""
    for layer in [*encoder_layers(SIZES), *decoder_layers(SIZES, 6)]:
        assert not layer.normalize_before
        norms = [module for module in layer.modules() if isinstance(module, nn.LayerNorm)]
        assert len(norms) == (2 if isinstance(layer, TransformerEncoderLayerBase) else 3)
        assert {norm.eps for norm in norms} == {0.03}
        for x in (-3.0, -0.7, 0.4, 2.0):
            exact = x * 0.5 * (1 + math.erf(x / math.sqrt(2)))
            assert abs(float(layer.activation_fn(torch.tensor(x, dtype=torch.float64))) - exact) < 1e-15
        assert layer.dropout_module.p == 0.25
        assert layer.activation_dropout_module.p == 0.0
        assert layer.self_attn.dropout_module.p == 0.5


def test_decoder_layers_compute_no_attention_weights() -> None:
    layer = decoder_layers(SIZES, 6)[0].eval()
    _, weights, _ = layer(torch.randn(3, 2, 8), torch.randn(4, 2, 6), torch.zeros(2, 4, dtype=torch.bool))
    assert weights is None


def test_init_bert_weights() -> None:
    torch.manual_seed(1)
    linear, table, norm = nn.Linear(300, 200), nn.Embedding(200, 300), nn.LayerNorm(4)
    nn.init.constant_(linear.bias, 3.0)
    nn.init.constant_(norm.weight, 3.0)
    module = nn.Sequential(linear, table, norm, nn.Linear(2, 2, bias=False))
    module.apply(init_bert_weights)
    for weight in (linear.weight, table.weight):
        deviation = float(weight.detach().std())
        assert abs(deviation - 0.02) < 4 * 0.02 / math.sqrt(2 * 60_000)  # four standard errors
        assert float(weight.detach().abs().max()) > 3 * 0.02  # normal, not truncated or uniform
        kurtosis = float((weight.detach() / 0.02).pow(4).mean())
        assert abs(kurtosis - 3) < 4 * math.sqrt(96 / 60_000)
    assert linear.bias.eq(0).all()
    assert norm.weight.eq(3).all()


def test_fresh_layers_are_initialised_as_bert() -> None:
    torch.manual_seed(1)
    sizes = LayerSizes(1, 64, 64, 4, 0.0, 0.0, 1e-12)
    for layer in (encoder_layers(sizes)[0], decoder_layers(sizes, 64)[0]):
        for name, parameter in layer.named_parameters():
            values = parameter.detach()
            if "layer_norm" in name:
                assert values.eq(1.0 if name.endswith("weight") else 0.0).all(), name
            elif name.endswith("bias"):
                assert values.eq(0).all(), name
            else:
                assert abs(float(values.std()) - 0.02) < 4 * 0.02 / math.sqrt(2 * 4096), name


def test_embeddings_by_hand() -> None:
    sizes = LayerSizes(1, 2, 4, 1, dropout=0.0, attention_dropout=0.0, layer_norm_eps=3.0)
    embeddings = BertEmbeddings(5, 4, sizes)
    with torch.no_grad():
        embeddings.positions.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0], [9.0, 9.0]]))
        embeddings.types.weight.copy_(torch.tensor([[0.0, 1.0], [100.0, 100.0]]))
        embeddings.layer_norm.weight.copy_(torch.tensor([2.0, 10.0]))
        embeddings.layer_norm.bias.copy_(torch.tensor([0.0, 1.0]))
    content = torch.tensor([[[3.0, 0.0], [1.0, -1.0]]])
    # Sums (3, 1) and (2, 0): mean 2 and 1, variance 1, so x - mean is divided by sqrt(1 + 3) = 2.
    assert embeddings(content).tolist() == [[[1.0, -4.0], [1.0, -4.0]]]
    assert embeddings.tokens.weight.shape == (5, 2)


def test_embeddings_from_a_later_position_on() -> None:
    embeddings = BertEmbeddings(5, 9, SIZES).eval()
    content = torch.randn(2, 9, 8)
    whole = embeddings(content)
    for start in range(9):
        for end in range(start + 1, 10):
            part = embeddings(content[:, start:end], start)
            assert torch.allclose(part, whole[:, start:end], rtol=0, atol=1e-6), (start, end)


def test_embeddings_dropout_follows_the_norm() -> None:
    embeddings = BertEmbeddings(5, 40, LayerSizes(1, 50, 4, 1, 0.5, 0.0, 1e-12))
    content = torch.randn(1, 40, 50)
    expected = embeddings.eval()(content)
    torch.manual_seed(1)
    dropped = embeddings.train()(content)
    zero = dropped.eq(0)
    assert 0.4 < float(zero.float().mean()) < 0.6
    assert torch.allclose(dropped[~zero], 2 * expected[~zero], rtol=0, atol=1e-5)
