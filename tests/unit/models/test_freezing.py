"""What --freeze leaves as the BERT has it, and what it refuses."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import optim

from bnb_fairseq.models.bert2bert import Bert2BertConfig
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import BnbTransformerConfig, check_options

from ...facts import naming
from ..conftest import WORDS
from ..started_model import KINDS, Started, logits_of, start, training

WriteBert = Callable[..., Path]
STARTS = {
    "encoder-embeddings": ("encoder.embeddings.",),
    "encoder": ("encoder.",),
    "head": ("decoder.head.",),
    "encoder-embeddings, head": ("encoder.embeddings.", "decoder.head."),
    "decoder-embeddings,encoder": ("decoder.embeddings.", "encoder."),
}


def train(model: Started, updates: int) -> None:
    """Train as fairseq's trainer does: with the parameters that require a gradient."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optim.build_optimizer(training("--bert-lr-factor", "0.5").optimizer, parameters)
    for _ in range(updates):
        optimizer.zero_grad()
        optimizer.backward(logits_of(model).square().sum())
        optimizer.step()
    assert len({id(p) for p in optimizer.params}) == len(parameters)


@pytest.mark.parametrize("kind", ["bnb_transformer", "bert2bert"])
@pytest.mark.parametrize("parts", STARTS)
def test_frozen_parts_stay_bit_by_bit_and_all_others_learn(
    parts: str, kind: str, tmp_path: Path, write_bert: WriteBert
) -> None:
    options = {"latent_size": 0, "ctc_blank": "pad"} if kind == "bnb_transformer" else {}
    model = start(write_bert(tmp_path), kind, freeze=parts, **options)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    train(model, updates=3)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    # Keys' biases cancel in the softmax.
    learns = {name for name in before if not name.startswith(STARTS[parts]) and not name.endswith("k_proj.bias")}
    assert learns <= moved <= {name for name in before if not name.startswith(STARTS[parts])}


def test_the_log_counts_what_is_frozen(tmp_path: Path, write_bert: WriteBert, caplog: pytest.LogCaptureFixture) -> None:
    bert = write_bert(tmp_path)
    with caplog.at_level(logging.INFO, logger="bnb_fairseq"):
        start(bert, freeze="encoder-embeddings,head")
    assert f"encoder: {(22 + 24 + 2 + 2) * 32:,} parameters in 5 tensors are frozen" in caplog.text
    # transform, LayerNorm, and a bias for 22 symbols and the blank
    assert f"decoder: {32 * 32 + 32 + 64 + 23:,} parameters in 5 tensors are frozen" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="bnb_fairseq"):
        start(bert)
    assert "frozen" not in caplog.text


def test_checkpoints_are_the_same(tmp_path: Path, write_bert: WriteBert) -> None:
    bert = write_bert(tmp_path)
    frozen, free = start(bert, freeze="encoder,head").eval(), start(bert).eval()
    free.load_state_dict(frozen.state_dict(), strict=True)
    torch.testing.assert_close(logits_of(free), logits_of(frozen), rtol=0, atol=1e-5)
    assert all(parameter.requires_grad for parameter in free.parameters())


def test_a_head_that_the_bert_lacks_cannot_be_frozen(tmp_path: Path, write_bert: WriteBert) -> None:
    message = (
        "^--freeze must .* random, but the BERT of the decoder lacks decoder.head.bias, "
        "decoder.head.transform.weight, decoder.head.transform.bias, decoder.head.layer_norm.weight, "
        "decoder.head.layer_norm.bias$"
    )
    with pytest.raises(ValueError, match=message):
        start(write_bert(tmp_path, kind="BertModel"), freeze="head")


def test_frozen_rows_that_match_no_word_are_reported(
    tmp_path: Path, write_bert: WriteBert, caplog: pytest.LogCaptureFixture
) -> None:
    bert = write_bert(tmp_path / "encoder")
    other = write_bert(tmp_path / "decoder", words=[*WORDS[:-2], "other", "words"], seed=2)
    with caplog.at_level(logging.WARNING, logger="bnb_fairseq"):
        start(bert, "bert2bert", bert_decoder=str(other), freeze="encoder-embeddings,decoder-embeddings")
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("decoder: the frozen embeddings of 2 symbols ")


NAMES = "encoder-embeddings, decoder-embeddings, encoder, head"
UNSTARTED = "--freeze ... --bert-encoder or --pretrained-checkpoint"
BLANK = "--freeze ... --ctc-blank new"


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        (
            {"freeze": "encoder"},
            [f"{UNSTARTED} ... encoder"],
        ),
        ({"freeze": "decoder", "bert_encoder": "x"}, [f"--freeze ... {NAMES} ... 'decoder'"]),
        ({"freeze": "encoder,", "bert_encoder": "x"}, [f"--freeze ... {NAMES} ... 'encoder,'"]),
        ({"freeze": "decoder-embeddings", "bert_encoder": "x"}, [f"{BLANK} ... decoder-embeddings"]),
        ({"freeze": "head", "untie_output": True, "bert_encoder": "x"}, [f"{BLANK} ... head"]),
        (
            {"freeze": "", "dropout": 1.0},
            [
                "--dropout ... [0, 1) ... 1.0",
                f"--freeze ... {NAMES} ... ''",
                f"{UNSTARTED} ... ",
            ],
        ),
    ],
)
def test_bad_options(
    options: dict[str, Any], problems: list[str], make_config: Callable[..., BnbTransformerConfig]
) -> None:
    with pytest.raises(ValueError, match=naming(*problems)):
        check_options(make_config(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"freeze": "encoder-embeddings , encoder"},
        {"freeze": "decoder-embeddings", "ctc_blank": "mask"},
        {"freeze": "decoder-embeddings", "untie_output": True},
        {"freeze": "decoder-embeddings", "length_control": "length"},
        {"freeze": "head"},
    ],
)
def test_good_options(options: dict[str, Any], make_config: Callable[..., BnbTransformerConfig]) -> None:
    check_options(make_config(bert_encoder="x", **options))


@pytest.mark.parametrize("kind", KINDS)
def test_models_check_their_options(
    kind: str, make_config: Callable[..., Any], small_task: Any, make_model: Callable[..., BnbTransformer]
) -> None:
    config_class = Bert2BertConfig if kind == "bert2bert" else BnbTransformerConfig
    with pytest.raises(ValueError, match=rf"^{kind}: --freeze needs --bert-encoder"):
        KINDS[kind][0].build_model(make_config(config_class, freeze="encoder"), small_task)
