"""Small models that start from a BERT, and fairseq's configuration of a training."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import Tensor

import bnb_fairseq.plugin  # noqa: F401  # registers models, criterion and optimizer
from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.models.bert2bert import Bert2Bert, Bert2BertConfig
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import BnbTransformerConfig
from bnb_fairseq.start.from_bert import load_berts, resolve_berts

Started = BnbTransformer | Bert2Bert
KINDS: dict[str, tuple[Any, Any]] = {
    "bnb_transformer": (BnbTransformer, BnbTransformerConfig),
    "bert2bert": (Bert2Bert, Bert2BertConfig),
}
SOURCE, LENGTHS = (
    torch.tensor([[3, 6, 7, 9, 4], [3, 10, 4, 0, 0]]),
    torch.tensor([5, 3]),
)  # ids of unit/conftest's WORDS


def start(bert: Path, kind: str = "bnb_transformer", **changes: object) -> Started:
    """Build a model as the task does; its latent and cross-attention are not the BERT's unless that is asked for."""
    model_class, config_class = KINDS[kind]
    config = config_class(bert_encoder=str(bert))
    latent = {"latent_size": 8} if kind == "bnb_transformer" else {}
    for name, value in {"cross_attention_init": "random", **latent, **changes}.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    berts = resolve_berts(config)
    assert berts is not None
    dictionary = load_dictionary(str(bert))
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    model: Started = model_class.build_model(config, task)
    load_berts(model, berts, str(config.cross_attention_init))
    return model


def logits_of(model: Started) -> Tensor:
    if isinstance(model, BnbTransformer):
        return model(SOURCE, LENGTHS).logits
    logits: Tensor = model(SOURCE, LENGTHS, torch.tensor([[3, 6, 7], [3, 8, 9]]))[0]
    return logits


def training(*more: str, optimizer: str = "bnb_adam", scheduler: str = "fixed") -> Any:
    """fairseq's configuration, as its command line makes it."""
    line = ["data", "--task", "translation_bnb", "--arch", "bnb_transformer", "--criterion", "bnb_loss"]
    line += ["--optimizer", optimizer, "--lr-scheduler", scheduler, "--lr", "0.25", *more]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))
