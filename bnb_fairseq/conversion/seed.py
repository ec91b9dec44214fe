"""Conversion of seed checkpoints to fairseq's and back."""

from pathlib import Path

import torch

from ..checkpoints.writing import new_folder, staging
from ..data.dictionary import BnbDictionary, load_dictionary
from ..models.bnb_transformer import BnbTransformer
from .fairseq_side import (
    Trained,
    build,
    find_dictionaries,
    option_words,
    read_checkpoint,
    save_checkpoint,
    training_config,
)
from .seed_checkpoint import WEIGHTS, Keepsake, from_seed, open_seed, to_seed
from .seed_config import (
    CONFIG,
    SIDES,
    SeedConfig,
    SpecialIds,
    check_expressible,
    make_seed_config,
    model_options,
    seed_config_text,
)
from .vocabulary import choose_dictionaries

TRANSLATION_CANVAS = 128  # positions of the original's translation models


def canvas_length(config: SeedConfig, wanted: int | None) -> int:
    """Canvas length of a seed checkpoint, which the original takes from its training script.

    ``wanted`` is ``--canvas-length``; None: the original's for translation, or all positions if they are fewer. A
    ValueError if it exceeds the positions.
    """
    positions = min(int(config[side]["max_position_embeddings"]) for side in SIDES)
    if wanted is None:
        return min(TRANSLATION_CANVAS, positions)
    if not 1 <= wanted <= positions:
        raise ValueError(
            f"--canvas-length must lie between 1 and the checkpoint's {positions} positions, but is {wanted}"
        )
    return wanted


def seed_to_fairseq(
    directory: Path,
    output: Path,
    vocabularies: tuple[str | None, str | None],
    canvas: int | None,
    languages: tuple[str, str],
) -> list[str]:
    """Convert a seed checkpoint to fairseq's.

    Args:
        directory: the seed checkpoint's folder.
        output: the checkpoint to write; dictionaries are written beside it.
        vocabularies: ``--source-vocab`` and ``--target-vocab``.
        canvas: ``--canvas-length``.
        languages: source and target language.

    Returns:
        Lines for the user.

    Raises:
        ValueError: if anything does not fit; then nothing is written.
    """
    if output.is_dir():
        raise ValueError(f"OUT.pt must not be a folder, but is {output}")
    if languages[0] == languages[1]:
        raise ValueError(f"--target-lang must differ from --source-lang, but both are {languages[0]}")
    seed = open_seed(directory)
    options = model_options(seed.config, canvas_length(seed.config, canvas))
    dictionaries = choose_dictionaries(seed.config, directory, *vocabularies)
    folder = output.absolute().parent
    cfg = training_config(options, folder, languages)
    task, model = build(cfg, dictionaries)
    parameters, keepsake = from_seed(seed, model.state_dict())
    names = [f"dict.{language}.txt" for language in languages]
    for name, dictionary in zip(names, dictionaries, strict=True):
        keep_others(folder / name, dictionary)
    with staging(folder) as lent:
        for name, dictionary in zip(names, dictionaries, strict=True):
            dictionary.save(str(lent / name))
        save_checkpoint(lent / output.name, cfg, task, parameters, keepsake)
    return [
        f"{output}: {len(keepsake.names)} tensors of {directory} became {len(parameters)} parameters; "
        f"kept for the way back: {', '.join(keepsake.tensors)}",
        *(f"{folder / name}: {len(d):,} symbols" for name, d in zip(names, dictionaries, strict=True)),
        f"to train on: fairseq-train ... --arch bnb_transformer {' '.join(option_words(options))} "
        f"--finetune-from-model {output}",
    ]


def keep_others(path: Path, dictionary: BnbDictionary) -> None:
    """Refuse to overwrite another dictionary, which data or checkpoints may depend on."""
    if not path.exists():
        return
    if load_dictionary(str(path)).digest().differences(dictionary.digest()) not in ([], ["spaces"]):
        raise ValueError(f"{path} must not exist yet, but is another dictionary; choose another folder for OUT.pt")


def fairseq_to_seed(checkpoint: Path, directory: Path, data: Path | None) -> list[str]:
    """Convert a checkpoint of ``bnb_transformer`` to a seed checkpoint.

    Args:
        checkpoint: the file.
        directory: the folder to make.
        data: folder of the dictionaries, for a model that was trained here; None: see ``find_dictionaries``.

    Returns:
        Lines for the user.

    Raises:
        ValueError: if the original cannot express the model, or anything else does not fit; then nothing is written.
    """
    trained = read_checkpoint(checkpoint)
    if trained.model is not BnbTransformer:
        raise ValueError(
            f"a seed checkpoint cannot hold this model: --arch must be bnb_transformer, but is {trained.name}"
        )
    keepsake = trained.keepsake or _fresh_keepsake(trained, data)
    tensors = to_seed(trained.parameters, keepsake)
    with new_folder(directory) as lent:
        (lent / CONFIG).write_text(seed_config_text(keepsake.config), encoding="utf-8")
        torch.save(tensors, lent / WEIGHTS)
    if trained.keepsake is None:
        missing = "the pooler" if str(trained.cfg.latent) == "vae" else "the pooler and the log-variance"
        return [f"{directory}: {len(tensors)} tensors; {missing}, which this model does not have, are zeros"]
    return [f"{directory}: {len(tensors)} tensors, those of the seed checkpoint that this model was converted from"]


def _fresh_keepsake(trained: Trained, data: Path | None) -> Keepsake:
    """Configuration of a model that was trained here."""
    try:
        dictionaries = find_dictionaries(trained, data)
    except ValueError:
        check_expressible(trained.cfg)  # the better reason, if there is one
        raise
    check_expressible(trained.cfg, [dictionary.pad() for dictionary in dictionaries])
    target = dictionaries[1]
    ids = SpecialIds(target.pad(), target.bos(), target.eos())
    source_size, target_size = (len(trained.parameters[f"{side}.embeddings.tokens.weight"]) for side in SIDES)
    return Keepsake(make_seed_config(trained.cfg, ids, (source_size, target_size)))
