"""Where the files of a trained model are, and how they are read."""

import logging
import os
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from fairseq import checkpoint_utils, tasks
from fairseq.dataclass.configs import GenerationConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from ..checkpoints.reader import read_state
from ..folder.manifest import SEARCH
from ..problems import unknown_option
from ..tasks.text_to_text import TextToTextTask
from .options import BATCHING, DEFAULTS, batch_limits, typed_value

logger = logging.getLogger(__name__)

USUAL_NAMES = ("model.pt", "checkpoint_best.pt", "checkpoint_last.pt")
# Files beside a checkpoint that fairseq's tokenizers read, and the options that name them.
COMPANIONS = {
    "code": "bpe_codes",
    "bpecodes": "bpe_codes",
    "sentencepiece.bpe.model": "sentencepiece_model",
    "merges.txt": "bpe_merges",
    "vocab.json": "bpe_vocab",
}
# Options of fairseq's tokenizers that name files, perhaps on other machines.
TOKENIZER_FILES = frozenset(
    {*COMPANIONS.values(), "bpe_vocab_file", "gpt2_encoder_json", "gpt2_vocab_bpe", "sentencepiece_model_path"}
)
LANGUAGES = ("source_lang", "target_lang")


class Loaded(NamedTuple):
    """A trained model.

    Attributes:
        cfg: its configuration; what only a command line tells has the command line's defaults.
        task: the task.
        models: one model, several for an ensemble, or a model and its reranker.
        options: options of generation that were given, of no type yet.
    """

    cfg: DictConfig
    task: TextToTextTask
    models: list[Any]
    options: dict[str, Any]


def find_checkpoints(model: str | os.PathLike[str], names: str | None) -> list[Path]:
    """Find the files of a model.

    Args:
        model: a checkpoint, several with ``:`` between, or their folder.
        names: names in the folder, with ``:`` between; None: one of the usual names, or the only checkpoint there.

    Returns:
        The files.

    Raises:
        ValueError: naming what is missing, or cannot be a checkpoint.
    """
    text = os.fspath(model)
    if "://" in text:
        raise ValueError(
            f"model_name_or_path must be a file or folder on this machine, nothing is downloaded, but is {text!r}"
        )
    path = Path(text)
    if not path.is_dir():
        if names is not None:
            raise ValueError(
                f"checkpoint_file must be None unless model_name_or_path is a folder, but is {names!r} beside {text!r}"
            )
        files = [path] if path.exists() else [Path(part) for part in text.split(os.pathsep)]
    elif names is None:
        files = [only_checkpoint(path)]
    else:
        files = [path / name for name in names.split(os.pathsep)]
    for file in files:
        _check_checkpoint(file)
    return files


def only_checkpoint(folder: Path) -> Path:
    """Choose among the checkpoints of a folder: one of the usual names, or the only one.

    Raises a ValueError that names those that are there.
    """
    found = sorted(file.name for file in folder.glob("*.pt"))
    usual = [name for name in USUAL_NAMES if name in found]
    if not usual and len(found) != 1:
        listed = f"{', '.join(found[:5])}{', ...' if len(found) > 5 else ''}; name one" if found else "none"
        hint = "; it is a model folder, which Translator.load opens" if (folder / SEARCH).is_file() else ""
        raise ValueError(
            f"{folder} must have a checkpoint {', '.join(USUAL_NAMES)}, or a single other *.pt, but has {listed}{hint}"
        )
    name = (usual or found)[0]
    logger.info("%s: %s of %d checkpoints is loaded", folder, name, len(found))
    return folder / name


def _check_checkpoint(file: Path) -> None:
    """Refuse what is no file, and archives: unpacking one could write outside its folder."""
    if not file.is_file():
        beside = sorted(other.name for other in file.parent.glob("*.pt"))[:5] if file.parent.is_dir() else []
        hint = f"; {file.parent} has {', '.join(beside)}" if beside else ""
        raise ValueError(
            f"model_name_or_path and checkpoint_file must name a checkpoint on this machine (nothing is downloaded), "
            f"but there is no file {file}{hint}"
        )
    try:
        is_archive = tarfile.is_tarfile(file) or (zipfile.is_zipfile(file) and not _is_torch_file(file))
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    if is_archive:
        raise ValueError(
            f"model_name_or_path must be a checkpoint or a folder, but {file} is an archive, which is not unpacked; "
            f"unpack it and name the folder"
        )


def _is_torch_file(file: Path) -> bool:
    with zipfile.ZipFile(file) as members:
        return any(name.endswith("data.pkl") for name in members.namelist())


def find_data_bin(data: str | os.PathLike[str], beside: Path, trained: Mapping[str, Any]) -> Path:
    """Find the folder of the dictionaries.

    Args:
        data: the folder; a name that begins with a dot is taken from the checkpoint's folder.
        beside: the checkpoint's folder.
        trained: options of the task in the training.

    Returns:
        The folder.

    Raises:
        ValueError: naming the folder or the dictionaries that are missing.
    """
    text = os.fspath(data)
    folder = beside / text if text.startswith(".") else Path(text)
    languages = [str(trained[name]) for name in LANGUAGES if trained.get(name)]
    wanted = [f"dict.{language}.txt" for language in languages] or ["dict.*.txt"]
    missing = [name for name in wanted if not any(folder.glob(name))]
    if folder.is_dir() and not missing:
        return folder.resolve()
    reason = f"{folder} has no {' and no '.join(missing)}" if folder.is_dir() else f"there is no folder {folder}"
    hint = "; a name that begins with a dot is taken from the checkpoint's folder" if text.startswith(".") else ""
    hint += f"; the training used {trained['data']}" if trained.get("data") else ""
    raise ValueError(
        f"data_name_or_path must be a data-bin folder on this machine, with its dictionaries {' and '.join(wanted)}, "
        f"but {reason}{hint}"
    )


def load(files: Sequence[Path], data: str | os.PathLike[str], options: Mapping[str, Any]) -> Loaded:
    """Load a model as ``fairseq-interactive`` does: what that reads from its command line is read from ``options``.

    Args:
        files: checkpoints.
        data: see ``find_data_bin``.
        options: options of task, model and generation, ``batch_size``, ``max_tokens`` and ``post_process``.

    Returns:
        The model.

    Raises:
        ValueError: if a file is no checkpoint of a text-to-text model, something is missing, or options do not exist
            or have no effect.
    """
    generation = {name: value for name, value in options.items() if name in DEFAULTS}
    others = {name: value for name, value in options.items() if name not in DEFAULTS}
    present = {option: str(files[0].parent / name) for name, option in COMPANIONS.items()}
    overrides = {**{name: path for name, path in present.items() if Path(path).exists()}, **others}
    state = read_state(files[0], overrides)
    cfg = state["cfg"]
    _check_task(files[0], cfg)
    _check_names(others, cfg)
    _check_files(files[0], cfg, overrides)
    folder = find_data_bin(data, files[0].parent, {**cfg.task, **others})
    with open_dict(cfg):
        cfg.task = _task_options(cfg.task, {**others, "data": str(folder)})
        cfg.dataset.update(batch_limits({name: others.get(name) for name in BATCHING}, cfg.dataset))
        cfg.generation = OmegaConf.structured(GenerationConfig)
        cfg.generation.iter_decode_max_iter = DEFAULTS["iter_decode_max_iter"]
    task = tasks.setup_task(cfg.task, from_checkpoint=True)
    models = []
    for file in files:
        state = state if file is files[0] else read_state(file, overrides)
        loaded, _, _ = checkpoint_utils.load_model_ensemble_and_task([str(file)], overrides, task, state=state)
        models += loaded
    return Loaded(cfg, task, models, generation)


def _check_task(file: Path, cfg: DictConfig) -> None:
    name = cfg.task.get("_name")
    if not issubclass(tasks.TASK_REGISTRY.get(name, object), TextToTextTask):
        known = [name for name, kind in tasks.TASK_REGISTRY.items() if issubclass(kind, TextToTextTask)]
        raise ValueError(f"{file} must be of a task that writes text, {' or '.join(known)}, but is of {name}")


def _check_names(options: Mapping[str, Any], cfg: DictConfig) -> None:
    """Refuse options that nothing would read."""
    known = {*BATCHING, "post_process", *DEFAULTS, *trained_options(cfg), "bpe", "tokenizer"}
    if problems := [unknown_option(name, known) for name in options if name not in known]:
        raise ValueError("; ".join(problems))


def _check_files(file: Path, cfg: DictConfig, given: Mapping[str, Any]) -> None:
    """Refuse files of fairseq's tokenizers that only the checkpoint names: they lie anywhere, or are downloaded."""
    beside = ", ".join(COMPANIONS)
    for section in ("bpe", "tokenizer"):
        options = cfg.get(section)
        if not isinstance(options, DictConfig) or not options.get("_name"):
            continue
        for name in sorted(TOKENIZER_FILES & options.keys()):
            if name not in given and options.get(name):
                raise ValueError(
                    f"{name} must be given to from_pretrained or lie beside the checkpoint as one of {beside}, but "
                    f"{file} names {options[name]}"
                )


def trained_options(cfg: DictConfig) -> set[str]:
    """Return the options that a checkpoint's configuration has of the task, the model and fairseq's tokenizers."""
    groups = [cfg[name] for name in ("task", "model", "bpe", "tokenizer") if isinstance(cfg.get(name), DictConfig)]
    return {str(name) for group in groups for name in group} - {"_name", "data"}


def _task_options(trained: DictConfig, given: Mapping[str, Any]) -> DictConfig:
    """Replace the options of a training by those of a translation: the command line's defaults, and what is given."""
    cfg = trained.copy()
    with open_dict(cfg):
        for field in fields(tasks.TASK_DATACLASS_REGISTRY[cfg["_name"]]):
            interpolated = str(field.default).startswith("${")
            if field.name in given:
                cfg[field.name] = typed_value(field.name, given[field.name], field.type)
            elif not interpolated and field.name not in ("_name", *LANGUAGES):
                cfg[field.name] = field.default
    return cfg
