"""Starting a ``bnb_classifier`` from a BERT with its pooler, from two BERTs, or from a checkpoint of another model."""

import logging
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..models.config import BertSeq2SeqConfig, BnbTransformerConfig
from ..network.bert_encoder import BertEncoder
from ..start.bert_checkpoint import BertCheckpoint
from ..start.bert_groups import finish_start
from ..start.bert_import import ImportReport, import_bert
from ..start.pretrained import OPTION, SIDES, PretrainedCheckpoint
from ..start.row_matching import SymbolTable, match_rows
from ..start.start import Start
from .bnb_classifier import BnbClassifier
from .classifier_bodies import EncoderBody
from .classifier_config import BnbClassifierConfig

# Options that determine a checkpoint's decoder: those that only bnb_transformer has, and one more.
DECODER_OPTIONS = (
    "untie_output",
    *(name for name in BnbTransformerConfig.__dataclass_fields__ if name not in BertSeq2SeqConfig.__dataclass_fields__),
)
logger = logging.getLogger(__name__)


def resolve_start(cfg: BnbClassifierConfig) -> Start:
    """Open the BERTs or the checkpoint that the options name, and complete the options with its sizes.

    A later checkpoint of the classifier then needs nothing else. With ``--classify-with decoder`` the options of latent
    and canvas become the checkpoint's, too.

    Raises ValueError if it cannot be used or contradicts the options.
    """
    whole = str(cfg.classify_with) == "decoder"
    start = Start.resolve(cfg, tuple(SIDES) if whole else ("encoder",))
    pretrained = start.pretrained
    if pretrained is None:
        return start
    # Those of a classifier, trained on another task, stand in its body.
    tensors = {name.removeprefix("body.").removeprefix("network."): t for name, t in pretrained.tensors.items()}
    pretrained = replace(pretrained, tensors=tensors)
    if whole:
        if "length_control" not in pretrained.options:
            raise ValueError(
                f"{OPTION} {pretrained.origin} must be a bnb_transformer for --classify-with decoder, but is "
                f"{pretrained.options.get('_name', 'another model')}"
            )
        _take_decoder_options(cfg, pretrained)
    return Start(pretrained=pretrained)


def _take_decoder_options(cfg: BnbClassifierConfig, pretrained: PretrainedCheckpoint) -> None:
    problems = []
    for name in DECODER_OPTIONS:
        default, wanted = BnbClassifierConfig.__dataclass_fields__[name].default, getattr(cfg, name)
        has = pretrained.options.get(name, default)  # one that an old checkpoint lacks had the default's meaning
        if str(wanted) not in (str(default), str(has)):
            problems.append(f"--{name.replace('_', '-')} must be {has}, but is {wanted}")
        setattr(cfg, name, has)
    if problems:
        raise ValueError(f"{OPTION} {pretrained.origin}: {'; '.join(problems)}")


def start_classifier(model: BnbClassifier, start: Start, head_name: str, cfg: BnbClassifierConfig) -> None:
    """Copy weights into a new classifier, and log their origins.

    Args:
        model: built with the options that ``resolve_start`` completed.
        start: its result.
        head_name: the model's head; it starts from the BERT's pooler if the encoder classifies.
        cfg: the options.

    Raises:
        ValueError: if a tensor does not fit.
    """
    if start.berts is not None and isinstance(model.body, EncoderBody):
        report = _start_encoder(model.body.encoder, start.berts.encoder)
        pooler = start_from_pooler(model.classification_heads[head_name], start.berts.encoder.tensors)
        report.ignored = [(name, reason) for name, reason in report.ignored if name not in pooler]
        report.used += [(name, f"classification head: dense.{name.rpartition('.')[2]}") for name in pooler]
        logger.info(f"classification head: dense layer {'from the pooler' if pooler else 'new, there is no pooler'}")
        report.log("encoder")
    else:
        start.load(model.body.pretrained_part, cfg)


def _start_encoder(encoder: BertEncoder, bert: BertCheckpoint) -> ImportReport:
    rows = match_rows(encoder.dictionary, SymbolTable.of_wordpiece(bert.tokenizer))
    report = import_bert(encoder, bert, encoder.sizes.layers, rows, "encoder")
    started = [name for name, _ in encoder.named_parameters() if name not in report.new]
    finish_start(encoder, "encoder", started, report.symbols - report.matched)
    return report


@torch.no_grad()
def start_from_pooler(head: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy a BERT's pooler, linear and tanh like the head, from ``tensors``; return the names of those copied.

    Raises ValueError if one of them has another shape.
    """
    copied = []
    for name, tensor in tensors.items():
        if not name.removeprefix("bert.").startswith("pooler.dense."):
            continue
        parameter = head.get_parameter(f"dense.{name.rpartition('.')[2]}")
        if tensor.shape != parameter.shape:
            raise ValueError(f"{name} has shape {tuple(tensor.shape)}, the head's {tuple(parameter.shape)}")
        parameter.copy_(tensor)
        copied.append(name)
    return copied
