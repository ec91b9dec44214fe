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
    """fairseq's options that say which checkpoint a training goes on from."""

    save_dir: str = II("checkpoint.save_dir")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    checkpoint_suffix: str = II("checkpoint.checkpoint_suffix")


@dataclass
class CheckpointsConfig(RestoringConfig):
    """fairseq's options that say which checkpoints are read, for training or for translation."""

    path: Optional[str] = II("common_eval.path")
    lm_path: Optional[str] = II("generation.lm_path")
    checkpoint_shard_count: int = II("checkpoint.checkpoint_shard_count")
    ddp_backend: Any = II("distributed_training.ddp_backend")


@dataclass
class BnbTaskConfig(CheckpointsConfig):
    """Options of every text-to-text task.

    Options that fairseq's ``translation`` has, too, go by its names. It has more, which do not exist here:
    ``--left-pad-source``, ``--left-pad-target``, ``--load-alignments``, ``--num-batch-buckets``,
    ``--required-seq-len-multiple`` and ``--upsample-primary``; ``--eval-bleu-detok``, ``--eval-bleu-remove-bpe`` and
    ``--eval-tokenized-bleu``, since text is always detokenised by the target dictionary.
    """

    data: Optional[str] = field(
        default=None,
        metadata={
            "help": "data-bin folders, separated by colons; training goes through them round-robin, "
            "validation and test data lie in the first"
        },
    )
    max_source_positions: int = field(
        default=512, metadata={"help": "longest source in tokens, [CLS] and [SEP] counted (the model may allow less)"}
    )
    max_target_positions: int = field(
        default=512, metadata={"help": "longest target in tokens, [CLS] and [SEP] counted (the model may allow less)"}
    )
    truncate_source: bool = field(
        default=False,
        metadata={
            "help": "cut sources to --max-source-positions or to what the model's positions allow, if that is less"
        },
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
        metadata={
            "help": "report METEOR of detokenised text on the validation data; left out with a warning where NLTK does "
            "not find WordNet"
        },
    )
    eval_bleu_args: str = field(
        default="{}",
        metadata={
            "help": "generation options as JSON for --eval-bleu, --eval-rouge and --eval-meteor, which judge one "
            "output, such as '{\"iter_decode_max_iter\": 4}'"
        },
    )
    eval_bleu_print_samples: bool = field(
        default=False,
        metadata={"help": "--eval-bleu, --eval-rouge, --eval-meteor: log one output of each validation batch"},
    )
    ctc_beam: int = field(
        default=0,
        metadata={
            "help": "CTC: texts that the prefix beam search keeps (default: 0, the most probable alignment decides; "
            "with --nbest N, N)"
        },
    )
    ctc_beam_symbols: int = field(
        default=10, metadata={"help": "--ctc-beam: symbols of each canvas position that the search reads"}
    )
    ctc_lm_path: Optional[str] = field(
        default=None,
        metadata={"help": "--ctc-beam: n-gram model over the target dictionary, ARPA or KenLM's binary"},
    )
    ctc_lm_weight: float = field(default=0.0, metadata={"help": "--ctc-lm-path: weight of its log-probability"})
    ctc_token_bonus: float = field(
        default=0.0,
        metadata={"help": "--ctc-beam: added to a text's log-probability for each token, against short texts"},
    )
    float32_matmul_precision: MATMUL_PRECISION_CHOICES = field(  # type: ignore[valid-type]
        default="highest",
        metadata={
            "help": "torch.set_float32_matmul_precision: 'high' multiplies in TF32 on GPUs, 'medium' in bfloat16, on "
            "CPUs with such instructions too"
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
    """Read ``--eval-bleu-args``.

    Args:
        text: a JSON object, fairseq's generation options by their field names.

    Returns:
        The options that it sets, each of the type that fairseq wants.

    Raises:
        ValueError: if it is no such object, or an option does not exist or has a value of another type.
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
