"""Options: all problems in one error, and sizes that are filled in only where they are open."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_NAME_REGISTRY

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.bnb_transformer import BnbTransformer, bnb_transformer_small, bnb_transformer_tiny
from bnb_fairseq.models.config import SIZE_FIELDS, BnbTransformerConfig, check_options, complete_sizes, layer_sizes
from bnb_fairseq.modules.layers import LayerSizes

from ...facts import naming

MakeConfig = Callable[..., BnbTransformerConfig]
BERT_BASE = [12, 768, 3072, 12, 512]


def sizes(config: BnbTransformerConfig, side: str) -> list[int | None]:
    return [getattr(config, f"{side}_{name}") for name in SIZE_FIELDS]


def test_defaults_are_those_of_the_design() -> None:
    config = BnbTransformerConfig()
    assert sizes(config, "encoder") == sizes(config, "decoder") == [None] * 5
    expected = {
        "bert_encoder": None,
        "bert_decoder": None,
        "length_control": "ctc",
        "ctc_upsample": 2.0,
        "ctc_extra": 0,
        "ctc_canvas": "mask",
        "ctc_blank": "new",
        "length_range": 128,
        "latent_size": 0,
        "latent_dropout": 0.0,
        "canvas_tokens": False,
        "cross_attention_init": "random",
        "layer_norm_eps": 1e-12,
    }
    assert {name: getattr(config, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"encoder_layers": 0}, "--encoder-layers ... 1 ... 0"),
        ({"decoder_ffn_embed_dim": 0}, "--decoder-ffn-embed-dim ... 1 ... 0"),
        ({"decoder_positions": -1}, "--decoder-positions ... 1 ... -1"),
        ({"encoder_attention_heads": 3}, "--encoder-attention-heads ... width 16 ... 3"),
        ({"ctc_upsample": 0.0}, "--ctc-upsample ... 0 ... finite ... 0.0"),
        ({"ctc_upsample": -0.5}, "--ctc-upsample ... 0 ... finite ... -0.5"),
        ({"ctc_upsample": float("inf")}, "--ctc-upsample ... 0 ... finite ... inf"),
        ({"ctc_upsample": float("nan")}, "--ctc-upsample ... 0 ... finite ... nan"),
        ({"ctc_extra": -1}, "--ctc-extra ... negative ... -1"),
        ({"ctc_canvas_length": 8, "ctc_extra": 3}, "--ctc-extra ... 0 with --ctc-canvas-length ... 3"),
        ({"length_range": 0}, "--length-range ... 1 ... 0"),
        ({"latent_size": -1}, "--latent-size ... negative ... -1"),
        (
            {"latent_size": 0, "decoder_embed_dim": 32},
            "--latent-size ... width (16, 32) ... 0",
        ),
        ({"dropout": 1.0}, "--dropout ... [0, 1) ... 1.0"),
        ({"attention_dropout": -0.1}, "--attention-dropout ... [0, 1) ... -0.1"),
        ({"latent_dropout": 1.5}, "--latent-dropout ... [0, 1) ... 1.5"),
        ({"latent": "vae", "latent_size": 0}, "--latent-size ... --latent vae ... 0"),
        (
            {"ctc_canvas_length": 31, "encoder_positions": 30},
            "--ctc-canvas-length ... 0 and the 30 positions of encoder and decoder ... 31",
        ),
        (
            {"ctc_canvas_length": -1, "decoder_positions": 20},
            "--ctc-canvas-length ... 0 and the 20 positions of encoder and decoder ... -1",
        ),
        (
            {"ctc_canvas_length": 8, "length_control": "length"},
            "--ctc-canvas-length needs --length-control ctc ... length",
        ),
        (
            {"ctc_canvas_length": 8, "ctc_upsample": 3.0},
            "--ctc-upsample ... 2.0 with --ctc-canvas-length ... 3.0",
        ),
        (
            {"ctc_canvas_length": 8, "ctc_canvas": "repeat"},
            "--ctc-canvas ... mask with --ctc-canvas-length ... repeat",
        ),
    ],
)
def test_each_bad_option(options: dict[str, object], problem: str, make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match=naming(f"bnb_transformer: {problem}")):
        check_options(make_config(**options))


def test_all_bad_options_are_in_one_error(make_config: MakeConfig) -> None:
    config = make_config(
        encoder_attention_heads=0,
        decoder_embed_dim=10,
        decoder_attention_heads=4,
        ctc_upsample=0,
        latent_size=0,
        dropout=2.0,
    )
    problems = [
        "--encoder-attention-heads ... 1 ... 0",
        "--encoder-attention-heads ... width 16 ... 0",
        "--decoder-attention-heads ... width 10 ... 4",
        "--dropout ... [0, 1) ... 2.0",
        "--ctc-upsample ... 0 ... finite ... 0.0",
        "--latent-size ... width (16, 10) ... 0",
    ]
    with pytest.raises(ValueError, match=naming(*problems)):
        check_options(config)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ctc_upsample": 1.0},
        {"ctc_upsample": 0.01},
        {"ctc_upsample": 0.01, "ctc_extra": 30},
        {"latent_size": 0},
        {"latent_size": 1, "decoder_embed_dim": 32},
        {"latent": "vae", "latent_size": 1},
        {"ctc_canvas_length": 40},
        {"canvas_tokens": True, "length_control": "length"},
        {"canvas_tokens": True, "length_control": "ctc"},
        {"dropout": 0.0, "attention_dropout": 0.0, "latent_dropout": 0.99},
    ],
)
def test_good_options(options: dict[str, object], make_config: MakeConfig) -> None:
    check_options(make_config(**options))


def test_the_model_checks_its_options(make_model: Callable[..., BnbTransformer]) -> None:
    for options in ({"latent_size": 0, "decoder_embed_dim": 32}, {"ctc_upsample": 0}):
        with pytest.raises(ValueError, match=r"^bnb_transformer: --"):
            make_model(**options)


def test_complete_sizes_fills_only_what_is_open() -> None:
    config = BnbTransformerConfig(encoder_embed_dim=64, decoder_layers=3)
    defaults = {"layers": 1, "embed_dim": 2, "ffn_embed_dim": 3, "attention_heads": 4, "positions": 5}
    complete_sizes(config, "encoder", defaults)
    assert sizes(config, "encoder") == [1, 64, 3, 4, 5]
    assert sizes(config, "decoder") == [3, None, None, None, None]
    complete_sizes(config, "decoder", defaults)
    assert sizes(config, "decoder") == [3, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "fill", "expected"),
    [
        ("bnb_transformer_small", bnb_transformer_small, [6, 384, 1536, 12, 512]),
        ("bnb_transformer_tiny", bnb_transformer_tiny, [2, 128, 512, 4, 512]),
    ],
)
def test_architectures(name: str, fill: Callable[[object], None], expected: list[int]) -> None:
    assert ARCH_MODEL_NAME_REGISTRY[name] == "bnb_transformer"
    assert ARCH_CONFIG_REGISTRY[name] is fill
    config = BnbTransformerConfig(decoder_layers=1)
    fill(config)
    assert sizes(config, "encoder") == expected
    assert sizes(config, "decoder") == [1, *expected[1:]]
    with_bert = BnbTransformerConfig(bert_encoder="some-bert", encoder_layers=5)
    fill(with_bert)
    assert with_bert == BnbTransformerConfig(bert_encoder="some-bert", encoder_layers=5)


def test_without_an_architecture_the_sizes_are_those_of_bert_base(
    make_dictionary: Callable[[int], BnbDictionary], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BnbTransformerConfig] = []

    def construct(self: BnbTransformer, config: BnbTransformerConfig, *dictionaries: BnbDictionary) -> None:
        seen.append(config)

    monkeypatch.setattr(BnbTransformer, "__init__", construct)  # the real one is 250 million parameters
    dictionary = make_dictionary(3)
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    BnbTransformer.build_model(BnbTransformerConfig(encoder_layers=6), task)
    assert sizes(seen[0], "encoder") == [6, *BERT_BASE[1:]]
    assert sizes(seen[0], "decoder") == BERT_BASE


def test_layer_sizes(make_config: MakeConfig) -> None:
    config = make_config(
        decoder_layers=5,
        decoder_embed_dim=18,
        decoder_ffn_embed_dim=7,
        decoder_attention_heads=3,
        dropout=0.25,
        attention_dropout=0.5,
        layer_norm_eps=0.125,
    )
    assert layer_sizes(config, "decoder") == LayerSizes(5, 18, 7, 3, 0.25, 0.5, 0.125)
    assert layer_sizes(config, "encoder") == LayerSizes(2, 16, 24, 2, 0.25, 0.5, 0.125)
