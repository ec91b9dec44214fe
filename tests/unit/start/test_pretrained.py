"""Starting a model from a checkpoint whose dictionaries may be others: every tensor is accounted for."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.models.bert2bert import Bert2Bert, Bert2BertConfig
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import SIZE_FIELDS, BnbTransformerConfig
from bnb_fairseq.start.pretrained import load_pretrained, open_pretrained, resolve_pretrained
from bnb_fairseq.start.row_matching import symbol_state
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import naming
from ..checkpoint_files import save_checkpoint

SIZES = {"layers": 2, "embed-dim": 16, "ffn-embed-dim": 24, "attention-heads": 2, "positions": 20}
MakeCheckpoint = Callable[..., Path]


def words(*more: str) -> BnbDictionary:
    """<s> 0, <pad> 1, </s> 2, <unk> 3, words from 4, <mask> last."""
    dictionary = BnbDictionary()
    for word in more:
        dictionary.add_symbol(word)
    dictionary.add_mask()
    return dictionary


SOURCE, TARGET = words("he", "her", "hers"), words("er", "sie", "es", "ihr")


@pytest.fixture
def make_checkpoint(tmp_path: Path, random_parameters: Callable[[nn.Module, int], None]) -> MakeCheckpoint:
    """A checkpoint as fairseq-train writes it, of a model with random parameters and the two dictionaries above."""

    def make(*more: str, arch: str = "bnb_transformer", **changes: Any) -> Path:
        sizes = [x for s in ("encoder", "decoder") for name, n in SIZES.items() for x in (f"--{s}-{name}", str(n))]
        line = [str(tmp_path), "--task", "translation_bnb", "-s", "xx", "-t", "yy", "--arch", arch, *sizes, *more]
        line += ["--criterion", "bnb_loss" if arch == "bnb_transformer" else "cross_entropy", "--optimizer", "adam"]
        line += ["--layer-norm-eps", "0.01"]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))
        task = TranslationBnbTask(cfg.task, SOURCE, TARGET)
        model = task.build_model(cfg.model, from_checkpoint=True)
        random_parameters(model, 5)
        return save_checkpoint(tmp_path / "model.pt", cfg, task, model, **changes)

    return make


def started(
    checkpoint: Path, source: BnbDictionary = SOURCE, target: BnbDictionary = TARGET, **changes: object
) -> tuple[Any, Any]:
    """Build a model with these dictionaries and start it from the checkpoint; return both models' parameters."""
    kind = changes.pop("kind", BnbTransformer)
    config = Bert2BertConfig() if kind is Bert2Bert else BnbTransformerConfig()
    for name, value in {**changes, "pretrained_checkpoint": str(checkpoint)}.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    pretrained = resolve_pretrained(config)
    assert pretrained is not None
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    model = kind.build_model(config, task)  # type: ignore[attr-defined]
    load_pretrained(model, pretrained)
    return dict(model.named_parameters()), pretrained.tensors


def test_the_same_dictionaries_and_options_give_the_same_model(make_checkpoint: MakeCheckpoint) -> None:
    ours, theirs = started(make_checkpoint("--latent-size", "4"), latent_size=4)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_sizes_come_from_the_checkpoint(make_checkpoint: MakeCheckpoint) -> None:
    config = BnbTransformerConfig(pretrained_checkpoint=str(make_checkpoint()), decoder_ffn_embed_dim=24)
    resolve_pretrained(config)
    for side in ("encoder", "decoder"):
        assert [getattr(config, f"{side}_{name}") for name in SIZE_FIELDS] == list(SIZES.values())
    assert config.layer_norm_eps == 0.01


def test_rows_of_other_dictionaries_are_matched_by_text(make_checkpoint: MakeCheckpoint) -> None:
    source, target = words("hers", "new", "HE"), words("sie", "er", "du", "wir", "ihr", "es", "man")
    fresh_model = dict(started(make_checkpoint(), source, target)[0])
    ours, theirs = started(make_checkpoint(), source, target)
    name = "encoder.embeddings.tokens.weight"
    # <s> <pad> </s> <unk>, then hers, new, HE (the vocabulary has small letters only, so it is "he"), <mask>
    for row, old in enumerate([0, 1, 2, 3, 6, None, 4, 7]):
        same = [i for i, vector in enumerate(theirs[name]) if torch.equal(vector, ours[name][row])]
        assert same == ([] if old is None else [old]), row
    assert not torch.equal(fresh_model[name][5], ours[name][5]), "a new symbol starts random"
    for name in ("decoder.embeddings.tokens.weight", "decoder.head.bias"):
        rows: list[Tensor] = list(ours[name])
        for row, old in {4: 5, 5: 4, 8: 7, 9: 6, 11: 8, 12: 9}.items():  # 12 and 9: the CTC blank, after <mask>
            assert torch.equal(rows[row], theirs[name][old]), (name, row)
        if name.endswith("tokens.weight"):
            assert not any(torch.equal(rows[row], old) for row in (6, 7, 10) for old in theirs[name]), "they are new"


def test_a_cased_vocabulary_keeps_capitals_apart(make_checkpoint: MakeCheckpoint) -> None:
    cased = {"source": symbol_state(words("he", "Her", "hers")), "target": symbol_state(TARGET)}
    digests = {side: {"size": 8, "sha256": "x"} for side in cased}
    checkpoint = make_checkpoint(task_state={"dictionaries": digests, "symbols": cased})
    ours, theirs = started(checkpoint, words("HERS", "Her"), TARGET)
    name = "encoder.embeddings.tokens.weight"
    assert torch.equal(ours[name][5], theirs[name][5])
    assert not any(torch.equal(ours[name][4], row) for row in theirs[name])


def test_what_one_model_has_and_the_other_has_not(
    make_checkpoint: MakeCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    checkpoint = make_checkpoint("--length-control", "length", "--latent-size", "0")
    ours, theirs = started(checkpoint, latent_size=4)
    told = [record.getMessage() for record in caplog.records]
    new = {"latent.projection.weight", "latent.projection.bias"}
    new |= {"decoder.latent_projection.weight", "decoder.latent_projection.bias"}
    gone = {"length_head.projection.weight", "length_head.projection.bias", "length_converter.sigma"}
    gone.add("decoder.latent_scale")
    assert {line.split()[1] for line in told if line.startswith("new ")} == ours.keys() - theirs.keys() == new
    assert {line.split()[1] for line in told if line.startswith("ignored ")} == theirs.keys() - ours.keys() == gone
    matched = len(SOURCE) + len(TARGET)
    assert any(f"embedding rows: {matched} of {matched} (100.0%) matched by text" in line for line in told)
    name = "decoder.embeddings.tokens.weight"
    assert len(ours[name]) == len(theirs[name]) + 1, "the blank's row is new"
    assert torch.equal(ours[name][:-1], theirs[name])


def test_an_autoregressive_model_starts_from_either(make_checkpoint: MakeCheckpoint) -> None:
    ours, theirs = started(make_checkpoint(), kind=Bert2Bert)
    common = ours.keys() & theirs.keys()
    assert common == ours.keys()
    rows = len(TARGET)
    assert all(torch.equal(ours[name], theirs[name][: len(ours[name])]) for name in common)
    assert len(ours["decoder.head.bias"]) == rows
    ours, theirs = started(make_checkpoint(arch="bert2bert"))
    assert torch.equal(ours["decoder.layers.1.fc1.weight"], theirs["decoder.layers.1.fc1.weight"])


def test_started_parameters_are_marked_for_the_optimizer(make_checkpoint: MakeCheckpoint) -> None:
    ours, _ = started(make_checkpoint("--latent-size", "0"), latent_size=4)
    assert ours["encoder.layers.1.fc1.weight"].param_group == "encoder.layers.1"
    assert ours["decoder.layers.0.encoder_attn.k_proj.weight"].optim_overrides == {"layers_above": 1}
    assert not hasattr(ours["decoder.latent_projection.weight"], "param_group")


def test_frozen_parts_come_from_the_checkpoint(make_checkpoint: MakeCheckpoint) -> None:
    ours, theirs = started(make_checkpoint(), freeze="encoder")
    assert not any(parameter.requires_grad for name, parameter in ours.items() if name.startswith("encoder."))
    assert torch.equal(ours["encoder.layers.0.fc2.bias"], theirs["encoder.layers.0.fc2.bias"])


def test_all_contradicting_sizes_are_in_one_error(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint()
    config = BnbTransformerConfig(pretrained_checkpoint=str(checkpoint), encoder_layers=1, decoder_positions=512)
    problems = (
        f"--pretrained-checkpoint {checkpoint}: --encoder-layers ... 2 ... 1",
        "--decoder-positions ... 20 ... 512",
    )
    with pytest.raises(ValueError, match=naming(*problems)):
        resolve_pretrained(config)


def test_tensors_of_another_shape(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint("--latent-size", "3")
    with pytest.raises(ValueError, match=r"cannot start this model: .*latent.* has shape \(3, 16\), but .*\(4, 16\)"):
        started(checkpoint, latent_size=4)


def test_a_missing_layer(make_checkpoint: MakeCheckpoint) -> None:
    checkpoint = make_checkpoint()
    state = torch.load(checkpoint)
    del state["model"]["decoder.layers.1.fc1.bias"]
    torch.save(state, checkpoint)
    with pytest.raises(ValueError, match=r"cannot start this model: nothing for decoder\.layers\.1\.fc1\.bias$"):
        started(checkpoint)


def test_an_old_checkpoint_serves_its_own_dictionaries(make_checkpoint: MakeCheckpoint) -> None:
    task_state = torch.load(make_checkpoint())["task_state"]
    checkpoint = make_checkpoint(task_state={"dictionaries": task_state["dictionaries"]})
    ours, theirs = started(checkpoint)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if name in theirs)
    with pytest.raises(ValueError, match="must hold the symbols of its source dictionary"):
        started(checkpoint, source=words("he"))


@pytest.mark.parametrize("option", ["bert_encoder", "bert_decoder"])
def test_either_a_checkpoint_or_berts(option: str, make_checkpoint: MakeCheckpoint) -> None:
    config = BnbTransformerConfig(pretrained_checkpoint=str(make_checkpoint()))
    setattr(config, option, "some-bert")
    with pytest.raises(ValueError, match=r"--bert-encoder and --bert-decoder.* some-bert$"):
        resolve_pretrained(config)


def test_files_that_are_no_checkpoints(tmp_path: Path, make_checkpoint: MakeCheckpoint) -> None:
    with pytest.raises(ValueError, match=r"^--pretrained-checkpoint \S+/none.pt: must .*, but there is no such file$"):
        open_pretrained(f"{tmp_path}/none.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(ValueError, match=r"text\.pt: must be a checkpoint of fairseq, but"):
        open_pretrained(str(tmp_path / "text.pt"))
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: must be a checkpoint of fairseq, but lacks its entries"):
        open_pretrained(str(tmp_path / "other.pt"))
    cfg = {"model": {"_name": "transformer", "dropout": 0.1}, "task": {}, "common": {}}
    checkpoint = make_checkpoint(cfg=cfg)
    with pytest.raises(ValueError, match=r"its --arch must be bnb_transformer or bert2bert, but is transformer$"):
        open_pretrained(str(checkpoint))
