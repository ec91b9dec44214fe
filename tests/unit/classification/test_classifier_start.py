"""Starting a classifier from checkpoints of other models."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import Tensor, nn

from bnb_fairseq.classification.bnb_classifier import BnbClassifier
from bnb_fairseq.classification.classifier_bodies import DecoderBody, EncoderBody
from bnb_fairseq.classification.classifier_config import BnbClassifierConfig
from bnb_fairseq.classification.classifier_start import resolve_start, start_classifier
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ..checkpoint_files import save_checkpoint

SIZES = {"layers": 2, "embed-dim": 16, "ffn-embed-dim": 24, "attention-heads": 2, "positions": 30}
TOKENS, LENGTHS = torch.tensor([[0, 4, 5, 6, 2], [0, 6, 2, 1, 1]]), torch.tensor([5, 3])
MakeCheckpoint = Callable[..., Path]


def words(*symbols: str) -> BnbDictionary:
    """<s> 0, <pad> 1, </s> 2, <unk> 3, words from 4, <mask> last."""
    dictionary = BnbDictionary()
    for symbol in symbols:
        dictionary.add_symbol(symbol)
    dictionary.add_mask()
    return dictionary


DICTIONARY = words("he", "her", "hers")


@pytest.fixture
def make_checkpoint(tmp_path: Path, random_parameters: Callable[[nn.Module, int], None]) -> MakeCheckpoint:
    """A checkpoint as fairseq-train writes it, of a model with random parameters."""

    def make(*more: str, arch: str = "bnb_transformer") -> Path:
        sizes = [x for s in ("encoder", "decoder") for name, n in SIZES.items() for x in (f"--{s}-{name}", str(n))]
        line = [str(tmp_path), "--task", "translation_bnb", "-s", "xx", "-t", "yy", "--arch", arch, *sizes, *more]
        line += ["--criterion", "cross_entropy", "--layer-norm-eps", "0.01"]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))
        task = TranslationBnbTask(cfg.task, DICTIONARY, DICTIONARY)
        model = task.build_model(cfg.model, from_checkpoint=True)
        random_parameters(model, 5)
        return save_checkpoint(tmp_path / "model.pt", cfg, task, model)

    return make


def start(checkpoint: Path, dictionary: BnbDictionary = DICTIONARY, **changes: Any) -> tuple[BnbClassifier, Any]:
    cfg = BnbClassifierConfig(pretrained_checkpoint=str(checkpoint))
    for name, value in changes.items():
        assert hasattr(cfg, name), name
        setattr(cfg, name, value)
    started = resolve_start(cfg)
    model = BnbClassifier.build_model(cfg, SimpleNamespace(source_dictionary=dictionary))
    model.register_classification_head("head", 2)
    start_classifier(model, started, "head", cfg)
    model.body.freeze_unused()
    return model.eval(), cfg


def tensors(checkpoint: Path) -> dict[str, Tensor]:
    return dict(torch.load(checkpoint)["model"])


def test_the_encoder_is_the_checkpoints(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint("--latent-size", "4")
    model, cfg = start(checkpoint)
    assert isinstance(model.body, EncoderBody)
    theirs = tensors(checkpoint)
    ours = dict(model.body.named_parameters())
    assert set(ours) == {name for name in theirs if name.startswith("encoder.")}
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in ours.items())
    assert (cfg.encoder_embed_dim, cfg.layer_norm_eps) == (16, 0.01)


def test_an_encoder_of_bert2bert(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint(arch="bert2bert")
    model, _ = start(checkpoint)
    name = "encoder.layers.1.fc1.weight"
    assert torch.equal(model.body.get_parameter(name), tensors(checkpoint)[name])
    with pytest.raises(ValueError, match=r"bnb_transformer .*--classify-with decoder.* bert2bert"):
        start(checkpoint, classify_with="decoder")


def test_rows_are_matched_by_text(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint()
    model, _ = start(checkpoint, words("hers", "it", "he"))
    ours = model.body.get_parameter("encoder.embeddings.tokens.weight")
    theirs = tensors(checkpoint)["encoder.embeddings.tokens.weight"]
    assert torch.equal(ours[[4, 6, 7]], theirs[[6, 4, 7]])  # hers, he, <mask>
    assert not torch.isin(ours[5], theirs).any()


@pytest.mark.parametrize(
    "more",
    [
        ["--ctc-upsample", "3", "--latent-size", "4"],
        ["--length-control", "length", "--length-range", "5", "--canvas-tokens"],
        ["--ctc-canvas-length", "9", "--ctc-blank", "pad", "--untie-output"],
    ],
)
def test_the_whole_model_is_the_checkpoints(more: list[str], make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint(*more)
    model, cfg = start(checkpoint, classify_with="decoder")
    assert isinstance(model.body, DecoderBody)
    theirs = tensors(checkpoint)
    ours = dict(model.body.network.named_parameters())
    assert set(ours) == set(theirs)
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in ours.items())
    for option in more:
        if option.startswith("--"):
            saved = torch.load(checkpoint)["cfg"]["model"][option[2:].replace("-", "_")]
            assert str(getattr(cfg, option[2:].replace("-", "_"))) == str(saved)
    assert model(TOKENS, LENGTHS, classification_head_name="head")[0].shape == (2, 2)


def test_a_classifier_starts_from_another(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    state = torch.load(make_checkpoint())
    for mode in ("encoder", "decoder"):
        first, cfg = start(tmp_path / "model.pt", classify_with=mode)
        state["model"], state["cfg"]["model"] = first.state_dict(), {**vars(cfg), "_name": "bnb_classifier"}
        torch.save(state, tmp_path / "classifier.pt")
        second, _ = start(tmp_path / "classifier.pt", classify_with=mode)
        ours, theirs = dict(second.body.named_parameters()), dict(first.body.named_parameters())
        assert all(torch.equal(parameter, theirs[name]) for name, parameter in ours.items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder_embed_dim": 8}, "--encoder-embed-dim must be 16, but is 8"),
        ({"bert_encoder": "x"}, "--bert-encoder and --bert-decoder.* x$"),
        (
            {"classify_with": "decoder", "ctc_upsample": 3.0, "latent_size": 5},
            r"--ctc-upsample must be 2\.0, but is 3\.0; --latent-size must be 0, but is 5",
        ),
    ],
)
def test_what_contradicts_the_checkpoint(
    changes: dict[str, Any], message: str, make_checkpoint: MakeCheckpoint
) -> None:
    with pytest.raises(ValueError, match=message):
        start(make_checkpoint(), **changes)


def test_frozen_encoder_of_a_checkpoint(make_checkpoint: MakeCheckpoint) -> None:
    model, _ = start(make_checkpoint(), freeze="encoder")
    assert not any(parameter.requires_grad for parameter in model.body.parameters())
