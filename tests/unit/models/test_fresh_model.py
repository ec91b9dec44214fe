"""What a fresh model has and how it starts, and checkpoints of version 0.1.0, which started otherwise."""

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import BnbTransformerConfig
from bnb_fairseq.models.fairseq_layers import decoder_layers
from bnb_fairseq.modules.canvas import Canvas
from bnb_fairseq.modules.latent import Latent
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.nar_decoder import NarDecoder

MakeDictionary = Callable[[int], BnbDictionary]
MakeModel = Callable[..., BnbTransformer]
CTC: dict[str, object] = {"length_control": "ctc"}
LENGTH: dict[str, object] = {"length_control": "length", "length_range": 6}


def test_no_blank_row_without_ctc(make_model: MakeModel) -> None:
    assert make_model(**LENGTH, ctc_blank="new").decoder.embeddings.tokens.num_embeddings == 17


def test_only_the_parts_that_are_used_exist(make_model: MakeModel) -> None:
    ctc, length = make_model(**CTC), make_model(**LENGTH)
    assert not hasattr(ctc, "length_head") and not hasattr(ctc, "length_converter")
    assert hasattr(length, "length_head") and hasattr(length, "length_converter")
    assert ctc.decoder.latent_projection is not None
    without = make_model(**CTC, latent_size=0)
    assert without.decoder.latent_projection is None
    names = {name for name, _ in without.named_parameters()}
    assert not any(name.startswith("latent.") for name in names)


@pytest.mark.parametrize("latent_size", [0, 8, 64])
def test_what_comes_of_the_latent_has_the_scale_of_embeddings(
    latent_size: int, make_dictionary: MakeDictionary
) -> None:
    """Encoder states have a root mean square near 1; beside them neither position nor revealed token would count."""
    torch.manual_seed(1)
    sizes = LayerSizes(1, 384, 8, 2, 0.0, 0.0, 1e-12)
    latent = Latent(384, latent_size)
    decoder = NarDecoder(
        make_dictionary(3),
        sizes,
        latent.output_size,
        9,
        partial(decoder_layers, encoder_dim=384),
        project_latent=latent_size > 0,
    )
    states = torch.randn(4, 50, 384)
    canvas = Canvas(latent(states).mean, torch.full((4,), 50), torch.zeros(4, 50, dtype=torch.bool), None)
    content = decoder.canvas_content(canvas, None)
    assert 0.03 < float(content.detach().square().mean().sqrt()) < 0.06


def test_checkpoints_of_version_0_1_0_used_encoder_states_as_they_are(make_model: MakeModel) -> None:
    model, old = make_model(**CTC, latent_size=0), make_model(**CTC, latent_size=0).state_dict()
    del old["decoder.latent_scale"]
    model.upgrade_state_dict(old)
    model.load_state_dict(old)
    assert model.decoder.latent_scale.tolist() == [1.0]


def test_a_fresh_model_starts_as_bert_does(make_config: Callable[..., BnbTransformerConfig]) -> None:
    """Normal weights of deviation 0.02, LayerNorms 1 and 0, biases 0; the latent's projections go by scale."""
    dictionary = BnbDictionary()
    for i in range(300):
        dictionary.add_symbol(f"w{i}")
    dictionary.add_mask()
    torch.manual_seed(1)
    sizes = {f"{side}_{name}": 64 for side in ("encoder", "decoder") for name in ("embed_dim", "ffn_embed_dim")}
    config = make_config(**LENGTH, **sizes)
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model = BnbTransformer.build_model(config, task)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            gains = {"latent.projection": 1.0, "decoder.latent_projection": 0.08}
            deviation = gains[name] * module.weight.size(1) ** -0.5 if name in gains else 0.02
            spread = 4 * deviation / math.sqrt(2 * module.weight.numel())  # four standard errors of a deviation
            assert abs(float(module.weight.detach().std()) - deviation) < spread, name
            assert abs(float(module.weight.detach().mean())) < 4 * deviation / math.sqrt(module.weight.numel()), name
            if isinstance(module, nn.Linear):
                assert not module.bias.any(), name
        elif isinstance(module, nn.LayerNorm):
            assert module.weight.eq(1).all() and module.bias.eq(0).all() and module.eps == 1e-12, name
    assert not model.decoder.head.bias.any()
