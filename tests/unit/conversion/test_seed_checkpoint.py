"""A seed checkpoint's tensors: complete or refused, and back bit for bit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bnb_fairseq.conversion.seed_checkpoint import Keepsake, expected_shapes, from_seed, open_seed, seed_name, to_seed
from bnb_fairseq.conversion.seed_config import model_options
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import BnbTransformerConfig

from ...facts import naming

SEED = Path(__file__).resolve().parents[2] / "fixtures" / "seed-checkpoint"
POOLER = ["encoder.pooler.dense.weight", "encoder.pooler.dense.bias"]
LOG_VARIANCE = ["latent.log_variance.weight", "latent.log_variance.bias"]
TIED = ["decoder.cls.predictions.decoder.weight", "decoder.cls.predictions.decoder.bias"]
POSITION_IDS = ["encoder.embeddings.position_ids", "decoder.bert.embeddings.position_ids"]
Tensors = dict[str, Tensor]
Template = Callable[..., Tensors]


def fixture_tensors() -> Tensors:
    return dict(torch.load(SEED / "pytorch_model.bin", weights_only=True))


@pytest.fixture
def template(make_dictionary: Callable[[int], BnbDictionary]) -> Template:
    """Parameters of a random model of the fixture's sizes."""

    def make(**changes: object) -> Tensors:
        options = {**model_options(open_seed(SEED).config, 24), **changes}
        source, target = make_dictionary(90 - 5), make_dictionary(110 - 5)  # <s>, <pad>, </s>, <unk>, <mask>
        task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
        return dict(BnbTransformer.build_model(BnbTransformerConfig(**options), task).state_dict())

    return make


def write_seed(folder: Path, tensors: Tensors) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(SEED / "config.json", folder)
    torch.save(tensors, folder / "pytorch_model.bin")
    return folder


def assert_same_bits(found: Tensors, expected: Tensors) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("encoder.embeddings.tokens.weight", "encoder.embeddings.word_embeddings.weight"),
        ("encoder.layers.1.fc2.bias", "encoder.encoder.layer.1.output.dense.bias"),
        ("decoder.embeddings.layer_norm.bias", "decoder.bert.embeddings.LayerNorm.bias"),
        (
            "decoder.layers.0.encoder_attn.k_proj.weight",
            "decoder.bert.encoder.layer.0.crossattention.self.key.weight",
        ),
        ("decoder.head.transform.weight", "decoder.cls.predictions.transform.dense.weight"),
        ("decoder.head.bias", "decoder.cls.predictions.bias"),
        ("decoder.latent_projection.weight", "decoder.linear.weight"),
        ("latent.projection.bias", "encoder.linear.bias"),
        ("latent.log_variance.bias", "encoder.linear.bias"),
    ],
)
def test_names(ours: str, theirs: str) -> None:
    assert seed_name(ours) == theirs


@pytest.mark.parametrize("name", ["length_head.projection.weight", "decoder.layers.0.fc3.weight", "latent.x.weight"])
def test_a_parameter_without_a_name_there(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: a seed checkpoint has no tensor for it$"):
        seed_name(name)


@pytest.mark.parametrize("latent", ["deterministic", "vae"])
def test_what_is_expected_are_the_fixtures_tensors(latent: str, template: Template) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in fixture_tensors().items()}
    assert expected_shapes(template(latent=latent)) == shapes


def test_values_go_where_they_belong(template: Template) -> None:
    tensors = fixture_tensors()
    state, keepsake = from_seed(open_seed(SEED), template())
    assert list(state) == list(template())
    for ours, theirs in (
        ("encoder.layers.0.self_attn.q_proj.weight", "encoder.encoder.layer.0.attention.self.query.weight"),
        (
            "decoder.layers.1.encoder_attn.out_proj.bias",
            "decoder.bert.encoder.layer.1.crossattention.output.dense.bias",
        ),
        ("decoder.embeddings.tokens.weight", "decoder.bert.embeddings.word_embeddings.weight"),
        ("decoder.latent_projection.bias", "decoder.linear.bias"),
    ):
        assert torch.equal(state[ours], tensors[theirs])
    assert torch.equal(state["latent.projection.weight"], tensors["encoder.linear.weight"][:8])
    assert list(keepsake.tensors) == LOG_VARIANCE + POOLER
    assert torch.equal(keepsake.tensors["latent.log_variance.bias"], tensors["encoder.linear.bias"][8:])
    assert keepsake.names == list(tensors)


def test_a_variational_model_takes_the_log_variance_itself(template: Template) -> None:
    state, keepsake = from_seed(open_seed(SEED), template(latent="vae"))
    assert torch.equal(state["latent.log_variance.weight"], fixture_tensors()["encoder.linear.weight"][8:])
    assert list(keepsake.tensors) == POOLER


@pytest.mark.parametrize("latent", ["deterministic", "vae"])
@pytest.mark.parametrize("left_out", [[], POSITION_IDS, TIED, [TIED[0], POSITION_IDS[1]]])
def test_there_and_back_is_bit_equal(latent: str, left_out: list[str], tmp_path: Path, template: Template) -> None:
    tensors = {name: tensor for name, tensor in fixture_tensors().items() if name not in left_out}
    seed = open_seed(write_seed(tmp_path, tensors))
    assert_same_bits(to_seed(*from_seed(seed, template(latent=latent))), tensors)


def test_other_types_and_orders_come_back_too(tmp_path: Path, template: Template) -> None:
    tensors = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in reversed(fixture_tensors().items())
    }
    seed = open_seed(write_seed(tmp_path, tensors))
    state, keepsake = from_seed(seed, template())
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    assert_same_bits(to_seed(state, keepsake), tensors)


def test_safetensors_come_first(tmp_path: Path, template: Template) -> None:
    """safetensors files hold no tensor twice: transformers leaves the tied ones out."""
    tensors = {name: tensor for name, tensor in fixture_tensors().items() if name not in TIED}
    write_seed(tmp_path, {"x": torch.ones(1)})
    save_file(tensors, tmp_path / "model.safetensors")
    back = to_seed(*from_seed(open_seed(tmp_path), template()))
    assert set(back) == set(tensors)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_a_model_that_was_trained_here_gets_zeros(template: Template) -> None:
    state = template()
    tensors = to_seed(state, Keepsake({}))
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected_shapes(state)
    assert torch.equal(tensors["encoder.linear.weight"][:8], state["latent.projection.weight"])
    for zeros in (tensors["encoder.linear.weight"][8:], tensors["encoder.linear.bias"][8:], *map(tensors.get, POOLER)):
        assert zeros is not None
        assert not zeros.any()
    assert torch.equal(tensors[TIED[0]], state["decoder.embeddings.tokens.weight"])
    assert torch.equal(tensors[POSITION_IDS[1]], torch.arange(64).view(1, 64))
    variational = template(latent="vae")
    log_variance = to_seed(variational, Keepsake({}))["encoder.linear.weight"][8:]
    assert torch.equal(log_variance, variational["latent.log_variance.weight"])
    assert log_variance.any()


def check_refused(folder: Path, tensors: Tensors, template: Tensors, problems: list[str]) -> None:
    with pytest.raises(ValueError, match=naming(f"{folder}: ... {problems[0]}", *problems[1:])):
        from_seed(open_seed(write_seed(folder, tensors)), template)


def test_missing_unknown_and_misshapen_tensors_are_in_one_error(tmp_path: Path, template: Template) -> None:
    tensors = fixture_tensors()
    del tensors["encoder.encoder.layer.1.intermediate.dense.bias"], tensors[POOLER[0]]
    tensors |= {
        "final_logits_bias": torch.zeros(1, 110),
        "encoder.encoder.layer.2.output.dense.bias": torch.zeros(32),
        "encoder.linear.weight": torch.zeros(8, 32),
        "decoder.linear.bias": torch.zeros(32, dtype=torch.int64),
    }
    problems = [
        "encoder.encoder.layer.1.intermediate.dense.bias is missing",
        "encoder.pooler.dense.weight is missing",
        "final_logits_bias is an unknown tensor",
        "encoder.encoder.layer.2.output.dense.bias is an unknown tensor",
        "encoder.linear.weight ... (8, 32) ... (16, 32)",
        "decoder.linear.bias ... torch.int64",
    ]
    check_refused(tmp_path, tensors, template(), problems)


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        (TIED[0], lambda t: t + 1e-6, f"{TIED[0]} ... decoder.bert.embeddings.word_embeddings.weight"),
        (
            TIED[0],
            lambda t: t.double(),
            f"{TIED[0]} ... decoder.bert.embeddings.word_embeddings.weight",
        ),
        (TIED[1], lambda t: t * 2, f"{TIED[1]} ... decoder.cls.predictions.bias"),
        (POSITION_IDS[0], lambda t: t.flip(1), f"{POSITION_IDS[0]} ... 0 to 63 as int64"),
        (POSITION_IDS[1], lambda t: t.int(), f"{POSITION_IDS[1]} ... 0 to 63 as int64"),
        (POSITION_IDS[1], lambda t: t[:, 1:], f"{POSITION_IDS[1]} ... (1, 63) ... (1, 64)"),
    ],
)
def test_what_repeats_another_must_repeat_it(
    name: str, change: Callable[[Tensor], Tensor], problem: str, tmp_path: Path, template: Template
) -> None:
    tensors = fixture_tensors()
    tensors[name] = change(tensors[name].clone())
    check_refused(tmp_path, tensors, template(), [problem])


def test_no_tensors(tmp_path: Path) -> None:
    shutil.copy(SEED / "config.json", tmp_path)
    message = f"^{tmp_path}: holds neither model.safetensors nor pytorch_model.bin$"
    with pytest.raises(ValueError, match=message):
        _ = open_seed(tmp_path).tensors
