"""Options that are set in vain: each table row by the option, its value and its need, and none that has an effect."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from fairseq.dataclass import FairseqDataclass
from omegaconf import DictConfig

from bnb_fairseq.criterions.config import BnbLossConfig
from bnb_fairseq.models.config import BnbTransformerConfig
from bnb_fairseq.tasks import unused_options
from bnb_fairseq.tasks.pretraining_config import PretrainingBnbConfig
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask
from bnb_fairseq.tasks.unused_options import Effect, described, merged, unused_of_model, without_effect

from ...facts import names
from .conftest import AUTOREGRESSIVE, BERT2BERT, NON_AUTOREGRESSIVE

Config = Callable[..., DictConfig]
LENGTH = ["--length-control", "length"]
VAE = ["--latent", "vae", "--latent-size", "2"]


def build(config: Config, *arguments: str) -> TranslationBnbTask:
    """What fairseq-train does before it loads data."""
    cfg = config(*arguments)
    task = TranslationBnbTask.setup_task(cfg.task)
    task.build_model(cfg.model)
    task.build_criterion(cfg.criterion)
    return task


@pytest.mark.parametrize(
    ("arguments", "option", "needs"),
    [
        (["--length-range", "64"], "--length-range 64", "--length-control length"),
        ([*LENGTH, "--ctc-upsample", "3"], "--ctc-upsample 3.0", "--length-control ctc"),
        ([*LENGTH, "--ctc-canvas", "repeat"], "--ctc-canvas repeat", "--length-control ctc"),
        ([*LENGTH, "--ctc-blank", "pad"], "--ctc-blank pad", "--length-control ctc"),
        (["--ctc-upsample", "0.9", "--ctc-canvas", "repeat"], "--ctc-canvas repeat", "--ctc-upsample above 1"),
        (["--cross-attention-init", "self"], "--cross-attention-init self", "--bert-encoder"),
        (["--length-loss-factor", "1"], "--length-loss-factor 1.0", "--length-control length"),
        ([*LENGTH, "--axe-skip-target", "2"], "--axe-skip-target 2.0", "--token-loss axe"),
        ([*LENGTH, "--token-loss", "axe", "--oaxe-margin", "0.5"], "--oaxe-margin 0.5", "--token-loss oaxe"),
        (["--oaxe-warmup-updates", "9"], "--oaxe-warmup-updates 9", "--token-loss oaxe"),
        (["--kl-factor", "2"], "--kl-factor 2.0", "--latent vae"),
        (["--kl-schedule", "cyclic", "--max-update", "9"], "--kl-schedule cyclic", "--latent vae"),
        (["--kl-cycles", "5"], "--kl-cycles 5", "--latent vae and --kl-schedule cyclic"),
        ([*VAE, "--kl-zero-share", "0.1"], "--kl-zero-share 0.1", "--kl-schedule cyclic"),
        ([*VAE, "--kl-increase-share", "0.1"], "--kl-increase-share 0.1", "--kl-schedule cyclic"),
        ([*VAE, "--kl-total-updates", "9"], "--kl-total-updates 9", "--kl-schedule cyclic"),
        (["--eval-bleu-args", '{"beam": 2}'], '--eval-bleu-args {"beam": 2}', "--eval-bleu, --eval-rouge"),
        (["--eval-bleu-print-samples"], "--eval-bleu-print-samples True", "--eval-bleu, --eval-rouge"),
        (["--ctc-beam-symbols", "5"], "--ctc-beam-symbols 5", "--ctc-beam above 0"),
        (["--ctc-token-bonus", "5"], "--ctc-token-bonus 5.0", "--ctc-beam above 0"),
        ([*LENGTH, "--ctc-beam", "5"], "--ctc-beam 5", "--arch bnb_transformer with --length-control ctc"),
        ([*LENGTH, "--ctc-blank-penalty", "1"], "--ctc-blank-penalty 1.0", "--length-control ctc"),
    ],
)
def test_each_option(arguments: list[str], option: str, needs: str, config: Config) -> None:
    with pytest.raises(ValueError, match=names(option, needs)) as error:
        build(config, *NON_AUTOREGRESSIVE, *arguments)
    assert ";" not in str(error.value)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--ctc-upsample", "3", "--ctc-canvas", "repeat", "--ctc-blank", "pad", "--ctc-beam", "4"],
        ["--ctc-blank-penalty", "0.5"],
        ["--ctc-canvas-length", "20", "--length-range", "128", "--kl-factor", "1.0"],
        [*LENGTH, "--length-range", "64", "--length-loss-factor", "1", "--token-loss", "axe", "--axe-skip-target", "2"],
        [*LENGTH, "--token-loss", "oaxe", "--oaxe-margin", "0.1", "--oaxe-warmup-updates", "9"],
        [*VAE, "--kl-factor", "2", "--kl-schedule", "cyclic", "--kl-cycles", "2", "--max-update", "9"],
        [*VAE, "--kl-schedule", "cyclic", "--kl-total-updates", "9", "--kl-zero-share", "0.1"],
        ["--eval-bleu", "--eval-bleu-args", "{}", "--eval-bleu-print-samples"],
    ],
)
def test_what_has_an_effect(arguments: list[str], config: Config) -> None:
    build(config, *NON_AUTOREGRESSIVE, *arguments)


def test_all_at_once_and_before_a_training_only(config: Config) -> None:
    given = ["--length-range", "64", "--kl-factor", "2", "--eval-bleu-print-samples", "--glancing", "0.5"]
    with pytest.raises(ValueError, match=names("--length-range")) as error:
        build(config, *NON_AUTOREGRESSIVE, *given)
    for option in ("--length-range 64", "--kl-factor 2.0", "--eval-bleu-print-samples", "--glancing"):
        assert option in str(error.value)
    cfg = config(*NON_AUTOREGRESSIVE, *given[:-2])
    task = TranslationBnbTask.setup_task(cfg.task)
    task.build_model(cfg.model, from_checkpoint=True)
    task.build_criterion(cfg.criterion)  # as fairseq-validate does with a checkpoint


@pytest.mark.parametrize("arguments", [AUTOREGRESSIVE, BERT2BERT])
def test_autoregressive_models(arguments: list[str], config: Config) -> None:
    build(config, *arguments)
    with pytest.raises(ValueError, match=names("--ctc-beam", "3", "--arch", "bnb_transformer")):
        build(config, *arguments, "--ctc-beam", "3")


def test_models_that_start_from_something(make_config: Callable[..., Any]) -> None:
    cfg = make_config(bert_encoder="some/bert", layer_norm_eps=1e-5, cross_attention_init="self")
    cfg._name = "bnb_transformer_tiny"
    assert list(unused_of_model(cfg)) == ["--layer-norm-eps 1e-05"]
    cfg.bert_encoder, cfg.pretrained_checkpoint = None, "a.pt"
    assert list(unused_of_model(cfg)) == ["--layer-norm-eps 1e-05", "--cross-attention-init self"]


@pytest.mark.parametrize(
    ("strategy", "unused"),
    [
        ("mlm", ["--permute-prob 0.9", "--continuation-min 0.1", "--continuation-max 0.5"]),
        ("plm", ["--mask-prob 0.9", "--continuation-min 0.1", "--continuation-max 0.5"]),
        ("clm", ["--mask-prob 0.9", "--permute-prob 0.9"]),
    ],
)
def test_pretraining(strategy: str, unused: list[str]) -> None:
    cfg = PretrainingBnbConfig(
        strategy=strategy, mask_prob=0.9, permute_prob=0.9, continuation_min=0.1, continuation_max=0.5
    )
    assert set(unused_options.unused_of_task(cfg, None)) == set(unused)


def test_every_row_names_fields_that_exist() -> None:
    tables: list[tuple[type[FairseqDataclass], Sequence[Effect]]] = [
        *unused_options.MODELS.values(),
        (BnbLossConfig, unused_options.LOSS + unused_options.LOSS_OF_MODEL),
        (PretrainingBnbConfig, unused_options.TASK + unused_options.PRETRAINING),
    ]
    for defaults, effects in tables:
        for effect in effects:
            assert all(name in defaults.__dataclass_fields__ for name in effect.options)


def test_findings_are_merged() -> None:
    never = Effect(("length_range", "latent_size"), "A", lambda _: False)
    cfg = SimpleNamespace(length_range=3, latent_size=0)
    found = without_effect(cfg, BnbTransformerConfig, [never, never._replace(needs="B")])
    assert found == {"--length-range 3": ["A", "B"]}
    both = merged(found, {"--x 1": ["C"], "--length-range 3": ["D"]})
    assert described(both) == [
        "--length-range 3 has no effect: it needs A and B and D",
        "--x 1 has no effect: it needs C",
    ]
