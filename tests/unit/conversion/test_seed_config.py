"""The configuration of a seed checkpoint: read, refused with every reason, translated, and written again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.conversion.seed_config import (
    SpecialIds,
    check_expressible,
    make_seed_config,
    model_options,
    read_seed_config,
    seed_config_text,
    special_ids,
)
from bnb_fairseq.models.config import BnbTransformerConfig

from ...facts import naming

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
Change = Callable[[dict[str, Any]], object]


def changed(folder: Path, change: Change) -> Path:
    """A folder with the fixture's configuration, changed."""
    config = json.loads((SEED / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_options_of_the_fixture() -> None:
    config = read_seed_config(SEED)
    assert special_ids(config) == (0, 2, 3)
    sizes = {"layers": 2, "embed_dim": 32, "ffn_embed_dim": 64, "attention_heads": 4, "positions": 64}
    assert model_options(config, 24) == {
        **{f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in sizes.items()},
        "layer_norm_eps": 1e-12,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "length_control": "ctc",
        "ctc_blank": "pad",
        "ctc_canvas_length": 24,
        "latent": "deterministic",
        "latent_size": 8,
        "latent_dropout": 0.0,
    }


def test_every_option_comes_from_its_own_entry(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for side in ("encoder", "decoder"):
            config[side] |= {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2, "layer_norm_eps": 1e-5}
            config[side]["latent_size"] = 5
        config["encoder"] |= {"num_hidden_layers": 3, "intermediate_size": 96, "max_position_embeddings": 40}
        config["decoder"] |= {"num_hidden_layers": 1, "num_attention_heads": 8, "max_position_embeddings": 50}
        config |= {"is_vae": True, "dropout_prob": 0.5}

    options = model_options(read_seed_config(changed(tmp_path, change)), 30)
    assert (options["dropout"], options["attention_dropout"], options["layer_norm_eps"]) == (0.3, 0.2, 1e-5)
    assert (options["latent"], options["latent_size"], options["latent_dropout"]) == ("vae", 5, 0.5)
    sizes = ("layers", "ffn_embed_dim", "attention_heads", "positions")
    assert [options[f"encoder_{name}"] for name in sizes] == [3, 96, 4, 40]
    assert [options[f"decoder_{name}"] for name in sizes] == [1, 64, 8, 50]


def test_what_a_bert_may_leave_out(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        for side in ("encoder", "decoder"):
            for key in ("layer_norm_eps", "hidden_dropout_prob", "attention_probs_dropout_prob", "hidden_act"):
                del config[side][key]
            del config[side]["position_embedding_type"], config[side]["pad_token_id"]

    options = model_options(read_seed_config(changed(tmp_path, change)), 24)
    assert (options["layer_norm_eps"], options["dropout"], options["attention_dropout"]) == (1e-12, 0.1, 0.1)


def spoil_much(config: dict[str, Any]) -> None:
    config |= {"model_type": "bart", "is_vae": 1, "dropout_prob": 1.0, "pad_token_id": 1, "eos_token_id": None}
    del config["decoder_start_token_id"]
    config["encoder"] |= {"hidden_act": "relu", "hidden_size": "32", "num_hidden_layers": 0}
    del config["encoder"]["vocab_size"]
    config["decoder"] |= {"model_type": "gpt2", "layer_norm_eps": 1e-5, "latent_size": 4, "hidden_dropout_prob": 0.2}
    config["decoder"]["position_embedding_type"] = "relative_key"


@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (lambda c: c.update(model_type="bert"), ["model_type must be 'encoder-decoder', but is 'bert'"]),
        (lambda c: c.pop("model_type"), ["model_type is missing"]),
        (lambda c: c.pop("encoder"), ["encoder is missing"]),
        (lambda c: c.update(decoder=3), ["decoder must be a BERT's configuration"]),
        (lambda c: c["decoder"].pop("latent_size"), ["decoder.latent_size is missing"]),
        (lambda c: c.pop("is_vae"), ["is_vae is missing"]),
        (lambda c: c["encoder"].update(latent_size=7), ["latent_size of encoder (7) and decoder (8) differ"]),
        (
            lambda c: c["decoder"].update(hidden_size=64),
            ["hidden_size of encoder (32) and decoder (64) differ"],
        ),
        (
            spoil_much,
            [
                "model_type ... 'encoder-decoder' ... 'bart'",
                "is_vae ... true or false ... 1",
                "dropout_prob ... a number in [0, 1) ... 1.0",
                "pad_token_id ... 0 ... 1",
                "decoder_start_token_id is missing",
                "eos_token_id ... 0 ... None",
                "encoder.hidden_act ... 'gelu' ... 'relu'",
                "encoder.num_hidden_layers ... 1 ... 0",
                "encoder.hidden_size ... 1 ... '32'",
                "encoder.vocab_size is missing",
                "decoder.model_type ... 'bert' ... 'gpt2'",
                "decoder.position_embedding_type ... 'absolute' ... 'relative_key'",
                "layer_norm_eps of encoder (1e-12) and decoder (1e-05) differ",
                "hidden_dropout_prob of encoder (0.1) and decoder (0.2) differ",
                "latent_size of encoder (8) and decoder (4) differ",
            ],
        ),
    ],
)
def test_everything_wrong_is_in_one_error(change: Change, problems: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=naming(f"{tmp_path}/config.json: ... {problems[0]}", *problems[1:])):
        read_seed_config(changed(tmp_path, change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, ": ... no config.json"),
        ("{", "config.json: ... JSON"),
        ("[]", "config.json: ... no JSON object"),
    ],
)
def test_no_configuration(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=naming(message)):
        read_seed_config(tmp_path)


def seed_options(**changes: object) -> BnbTransformerConfig:
    return BnbTransformerConfig(**{**model_options(read_seed_config(SEED), 24), **changes})


def test_a_model_like_the_fixture_can_be_expressed() -> None:
    check_expressible(seed_options())
    check_expressible(seed_options(latent="vae"), (0, 0))


def test_every_reason_against_a_seed_checkpoint_is_told() -> None:
    options = seed_options(
        length_control="length",
        ctc_blank="mask",
        ctc_canvas_length=0,
        canvas_tokens=True,
        untie_output=True,
        latent_size=0,
        decoder_embed_dim=64,
    )
    problems = (
        "--length-control ... ctc ... length",
        "--ctc-blank ... pad ... mask",
        "--ctc-canvas-length ... 1 ... 0",
        "--canvas-tokens ... off ... on",
        "--untie-output ... off ... on",
        "--latent-size ... 1 ... 0",
        "--decoder-embed-dim ... 32 ... 64",
        "--tgtdict ... [PAD] ... 0 ... 1",
    )
    with pytest.raises(ValueError, match=naming(*problems)):
        check_expressible(options, (0, 1))


@pytest.mark.parametrize("latent", ["deterministic", "vae"])
def test_a_written_configuration_gives_the_options_back(latent: str, tmp_path: Path) -> None:
    options = {
        **model_options(read_seed_config(SEED), 24),
        "latent": latent,
        "latent_dropout": 0.25,
        "layer_norm_eps": 1e-7,
        "dropout": 0.2,
        "attention_dropout": 0.15,
        "encoder_positions": 30,
        "decoder_layers": 5,
    }
    config = make_seed_config(BnbTransformerConfig(**options), SpecialIds(0, 3, 4), (70, 80))
    (tmp_path / "config.json").write_text(seed_config_text(config))
    read = read_seed_config(tmp_path)
    assert model_options(read, 24) == options
    assert special_ids(read) == (0, 3, 4)
    assert (read["encoder"]["vocab_size"], read["decoder"]["vocab_size"], read["vocab_size"]) == (70, 80, 80)
    assert (read["encoder"]["is_decoder"], read["decoder"]["is_decoder"]) == (False, True)
    assert (read["encoder"]["add_cross_attention"], read["decoder"]["add_cross_attention"]) == (False, True)


def test_text_is_laid_out_as_the_original_does(tmp_path: Path) -> None:
    shutil.copy(SEED / "config.json", tmp_path)
    assert seed_config_text(read_seed_config(tmp_path)) == (SEED / "config.json").read_text()
