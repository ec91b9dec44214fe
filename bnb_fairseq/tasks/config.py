"""Options of the tasks."""

import json
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.data.indexed_dataset import get_available_dataset_impl
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.configs import GenerationConfig
from omegaconf import II, OmegaConf
from omegaconf.errors import OmegaConfBaseException

MATMUL_PRECISION_CHOICES = ChoiceEnum(["highest", "high", "medium"])
DATASET_IMPL_CHOICES = ChoiceEnum(get_available_dataset_impl())


@dataclass
class RestoringConfig(FairseqDataclass):
    """fairseq's options for the checkpoint that a training resumes from."""

    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    checkpoint_suffix: str = II("checkpoint.checkpoint_suffix")


@dataclass
class CheckpointsConfig(RestoringConfig):
    """fairseq's options for the checkpoints that are read, in training or generation."""

    path: Optional[str] = II("common_eval.path")
    lm_path: Optional[str] = II("generation.lm_path")
    checkpoint_shard_count: int = II("checkpoint.checkpoint_shard_count")
    ddp_backend: Any = II("distributed_training.ddp_backend")


@dataclass
class BnbTaskConfig(CheckpointsConfig):
    """Options of every text-to-text task.

    Options that fairseq's ``translation`` shares have its names. Of its other options there are no
    ``--left-pad-source``, ``--left-pad-target``, ``--load-alignments``, ``--num-batch-buckets``,
    ``--required-seq-len-multiple`` and ``--upsample-primary``; and no ``--eval-bleu-detok``, ``--eval-bleu-remove-bpe``
    and ``--eval-tokenized-bleu``, because the target dictionary always detokenises text.
    """

    data: Optional[str] = field(
        default=None,
        metadata={
            "help": "data-bin folders, separated by colons; training takes them in turn, validation and test data are "
            "in the first"
        },
    )
    max_source_positions: int = field(
        default=512, metadata={"help": "longest source in tokens, [CLS] and [SEP] included (the model may allow less)"}
    )
    max_target_positions: int = field(
        default=512, metadata={"help": "longest target in tokens, [CLS] and [SEP] included (the model may allow less)"}
    )
    truncate_source: bool = field(
        default=False,
        metadata={"help": "cut sources to --max-source-positions, or to the model's positions if they are fewer"},
    )
    eval_bleu: bool = field(
        default=False, metadata={"help": "report sacreBLEU of detokenised text on the validation data"}
    )
    eval_rouge: bool = field(
        default=False,
        metadata={"help": "report ROUGE-1, ROUGE-2 and ROUGE-L (F1) of detokenised text on the validation data"},
    )
    eval_meteor: bool = field(
        default=False,
        metadata={"help": "report METEOR of detokenised text on the validation data; without WordNet, warn instead"},
    )
    eval_bleu_args: str = field(
        default="{}",
        metadata={
            "help": "generation options of --eval-bleu, --eval-rouge and --eval-meteor as JSON, such as "
            "'{\"iter_decode_max_iter\": 4}'"
        },
    )
    eval_bleu_print_samples: bool = field(
        default=False,
        metadata={"help": "--eval-bleu, --eval-rouge, --eval-meteor: log one output of each validation batch"},
    )
    ctc_beam: int = field(
        default=0,
        metadata={
            "help": "CTC: number of texts that the prefix beam search keeps (default: N with --nbest N, else 0: take "
            "the most probable alignment)"
        },
    )
    ctc_beam_symbols: int = field(
        default=10, metadata={"help": "--ctc-beam: number of most probable symbols to read at each canvas position"}
    )
    ctc_lm_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "--ctc-beam, or an autoregressive model's n-best list: file of an n-gram model over the target "
            "dictionary, ARPA or KenLM's binary"
        },
    )
    ctc_lm_weight: float = field(
        default=0.0, metadata={"help": "--ctc-lm-path: weight of the n-gram model's log-probability"}
    )
    ctc_token_bonus: float = field(
        default=0.0,
        metadata={
            "help": "--ctc-beam, or an autoregressive model's n-best list: bonus added to a text's log-probability "
            "for each token, against short texts"
        },
    )
    ctc_blank_penalty: float = field(
        default=0.0,
        metadata={
            "help": "CTC: penalty subtracted from the blank's logit at each canvas position, against short texts"
        },
    )
    float32_matmul_precision: MATMUL_PRECISION_CHOICES = field(  # type: ignore[valid-type]
        default="highest",
        metadata={
            "help": "precision of float32 matrix products: 'high' uses TF32 on GPUs, 'medium' bfloat16, also on "
            "CPUs where that is faster"
        },
    )
    train_subset: str = II("dataset.train_subset")
    num_shards: int = II("dataset.num_shards")
    shard_id: int = II("dataset.shard_id")
    best_checkpoint_metric: str = II("checkpoint.best_checkpoint_metric")
    maximize_best_checkpoint_metric: bool = II("checkpoint.maximize_best_checkpoint_metric")
    dataset_impl: Optional[DATASET_IMPL_CHOICES] = II("dataset.dataset_impl")  # type: ignore[valid-type]


@dataclass
class TranslationBnbConfig(BnbTaskConfig):
    """Options of ``translation_bnb``."""

    source_lang: Optional[str] = field(default=None, metadata={"help": "source language", "argparse_alias": "-s"})
    target_lang: Optional[str] = field(default=None, metadata={"help": "target language", "argparse_alias": "-t"})


def eval_bleu_options(text: str) -> Namespace:
    """Parse ``--eval-bleu-args``: a JSON object of fairseq's generation options, each converted to its type.

    Raises ValueError if it is none, or an option does not exist or has a value of another type.
    """
    try:
        options = json.loads(text)
        if not isinstance(options, dict):
            raise ValueError(f"it holds a {type(options).__name__}")
        checked = OmegaConf.merge(OmegaConf.structured(GenerationConfig), options)
        return Namespace(**{name: checked[name] for name in options})
    except (ValueError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]  # OmegaConf adds lines about its own types
        raise ValueError(
            f"--eval-bleu-args must be a JSON object of fairseq's generation options, such as "
            f"'{{\"iter_decode_max_iter\": 4}}', but is {text!r}: {reason}"
        ) from error
