"""fairseq's side of a conversion: checkpoints written as fairseq-train writes them, and read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq import options, utils
from fairseq.data import data_utils
from fairseq.dataclass.utils import convert_namespace_to_omegaconf, merge_with_parent
from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf
from torch import Tensor

from ..checkpoints.reader import DIGEST, read_state
from ..checkpoints.tensors import tensor_digest
from ..data.dictionary import BnbDictionary, load_data_bin
from ..data.digest import DictionaryDigest, check_same_dictionary
from ..models.bert2bert import Bert2Bert, Bert2BertConfig
from ..models.bnb_transformer import BnbTransformer
from ..models.config import BertSeq2SeqConfig, BnbTransformerConfig
from ..tasks.translation_bnb import TranslationBnbTask
from .seed_checkpoint import Keepsake

SEED_ENTRY = "seed"  # of a checkpoint, beside fairseq's own
CONFIGS: dict[type, type[BertSeq2SeqConfig]] = {BnbTransformer: BnbTransformerConfig, Bert2Bert: Bert2BertConfig}
FIRST_EPOCH = {"version": 2, "epoch": 1, "iterations_in_epoch": 0, "shuffle": True}


class Trained(NamedTuple):
    """A checkpoint of fairseq.

    Attributes:
        path: the file.
        name: the architecture's name.
        model: the model's class.
        cfg: the model's options, every one set.
        parameters: our parameters by name.
        languages: source and target language; None: the training inferred them.
        data: data-bin folders of the training.
        digests: digests of its dictionaries by side.
        keepsake: rest of the seed checkpoint that it was converted from; None: it was trained here.
    """

    path: Path
    name: str
    model: type[BnbTransformer] | type[Bert2Bert]
    cfg: Any
    parameters: dict[str, Tensor]
    languages: tuple[str | None, str | None]
    data: str
    digests: Mapping[str, Any]
    keepsake: Keepsake | None

    @property
    def has_blank_row(self) -> bool:
        """Whether the target's table has a row for the blank after the dictionary's."""
        return self.model is BnbTransformer and (str(self.cfg.length_control), str(self.cfg.ctc_blank)) == (
            "ctc",
            "new",
        )


class Training(NamedTuple):
    """Names of a training in fairseq.

    Attributes:
        architecture: ``--arch``.
        criterion: ``--criterion``.
        criterion_class: its class's name, which a checkpoint has.
        task: ``--task``.
    """

    architecture: str = "bnb_transformer"
    criterion: str = "bnb_loss"
    criterion_class: str = "BnbLoss"
    task: str = "translation_bnb"


NON_AUTOREGRESSIVE = Training()


def training_config(
    model_options: Mapping[str, Any], data: Path, languages: tuple[str, str], training: Training = NON_AUTOREGRESSIVE
) -> Any:
    """Make the configuration that fairseq-train makes of such options.

    Args:
        model_options: options of the model by field name.
        data: folder of the dictionaries.
        languages: source and target language.
        training: names of the training's parts.

    Returns:
        fairseq's configuration, every field set.
    """
    line = [str(data), "--task", training.task, "--source-lang", languages[0], "--target-lang", languages[1]]
    line += ["--arch", training.architecture, "--criterion", training.criterion, "--optimizer", "adam"]
    line += option_words(model_options)
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))


def option_words(model_options: Mapping[str, Any]) -> list[str]:
    """Write options as words of a command line; a switch that is off is left out."""
    words = []
    for name, value in model_options.items():
        if value is not False:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return words


def build(cfg: Any, dictionaries: list[BnbDictionary]) -> tuple[TranslationBnbTask, Any]:
    """Build task and model, as loading a checkpoint does.

    Args:
        cfg: from ``training_config``.
        dictionaries: source and target dictionary.

    Returns:
        The task, and the model with random weights.
    """
    task: TranslationBnbTask = TASK_REGISTRY[cfg.task._name](cfg.task, *dictionaries)
    return task, task.build_model(cfg.model, from_checkpoint=True)


def save_checkpoint(
    path: Path,
    cfg: Any,
    task: TranslationBnbTask,
    parameters: Mapping[str, Tensor],
    keepsake: Keepsake | None,
    criterion: str = NON_AUTOREGRESSIVE.criterion_class,
) -> None:
    """Write a checkpoint with fairseq's own entries, before the first update, and one for the way back.

    Args:
        path: the file.
        cfg: from ``training_config``.
        task: the task.
        parameters: our parameters by name.
        keepsake: what the model has no place for; fairseq does not look at it; None: nothing.
        criterion: class of the criterion.
    """
    history = {"criterion_name": criterion, "optimizer_name": "FairseqAdam", "lr_scheduler_state": {}, "num_updates": 0}
    state = {
        "args": None,
        "cfg": OmegaConf.to_container(cfg, resolve=True, enum_to_str=True),
        "model": dict(parameters),
        "criterion": None,
        "optimizer_history": [history],
        "task_state": {**task.state_dict(), DIGEST: tensor_digest(parameters)},
        "extra_state": {"train_iterator": dict(FIRST_EPOCH), "previous_training_time": 0.0},
        **({} if keepsake is None else {SEED_ENTRY: keepsake.entry()}),
    }
    torch.save(state, path)


def read_checkpoint(path: Path) -> Trained:
    """Read a checkpoint of ``bnb_transformer`` or ``bert2bert``.

    Raises ValueError if it is another file.
    """
    state = read_state(path)
    cfg = state["cfg"]
    name = str(cfg.model._name)
    model = ARCH_MODEL_REGISTRY.get(name) or MODEL_REGISTRY.get(name)
    if model not in CONFIGS:
        raise ValueError(f"{path}: its --arch must be bnb_transformer or bert2bert, but is {name}")
    entry = state.get(SEED_ENTRY)
    return Trained(
        path,
        name,
        model,
        merge_with_parent(CONFIGS[model](), cfg.model, remove_missing=True),
        state["model"],
        (cfg.task.source_lang, cfg.task.target_lang),
        str(cfg.task.data),
        state.get("task_state", {}).get("dictionaries", {}),
        None if entry is None else Keepsake(**entry),
    )


def find_dictionaries(trained: Trained, folder: Path | None) -> list[BnbDictionary]:
    """Load the dictionaries that a checkpoint was trained with.

    Args:
        trained: the checkpoint.
        folder: theirs; None: the checkpoint's folder, else the data-bin folder of the training.

    Returns:
        Source and target dictionary.

    Raises:
        ValueError: if they are missing, or others than those of the training.
    """
    data = [Path(path) for path in utils.split_paths(trained.data)[:1]]
    candidates = [trained.path.parent, *data] if folder is None else [folder]
    languages = _languages(trained.languages, [*candidates, *data])
    names = [f"dict.{language}.txt" for language in languages]
    found = next((path for path in candidates if all((path / name).is_file() for name in names)), None)
    if found is None:
        looked = " or ".join(map(str, candidates))
        raise ValueError(f"--data must be a folder with {' and '.join(names)}, but {looked} is not one")
    dictionaries = load_data_bin(found, languages)
    for side, dictionary in zip(("source", "target"), dictionaries, strict=True):
        if side in trained.digests:
            check_same_dictionary(side, dictionary.digest(), DictionaryDigest.of_state(trained.digests[side]))
    return dictionaries


def _languages(told: tuple[str | None, str | None], folders: list[Path]) -> tuple[str, str]:
    """Languages of a training, found as in fairseq-train: given, or from the file names in its data-bin folder."""
    inferred = (data_utils.infer_language_pair(str(path)) for path in folders if path.is_dir())
    for source, target in (told, *inferred):
        if source is not None and target is not None:
            return source, target
    looked = ", ".join(map(str, folders))
    raise ValueError(
        f"--data must be the data-bin folder of the training, whose file names give the languages, but is {looked}"
    )
