"""Model folders back to fairseq's checkpoints."""

from pathlib import Path
from typing import Any

from ..checkpoints.writing import staging
from ..engines.nar import read_weights
from ..engines.with_fairseq import dictionary_of
from ..folder.manifest import AUTOREGRESSIVE, NAR, SOURCE, TARGET, Manifest
from ..folder.vocabulary import load_vocabulary
from ..models.config import model_options
from ..network.loading import check_weights, require_layers
from ..network.options import AutoregressiveOptions, NetworkOptions
from .fairseq_side import Training, build, save_checkpoint, training_config
from .seed import keep_others

TRAININGS = {
    NAR: Training(NAR),
    AUTOREGRESSIVE: Training(AUTOREGRESSIVE, "label_smoothed_cross_entropy", "LabelSmoothedCrossEntropyCriterion"),
}
OPTIONS: dict[str, Any] = {NAR: NetworkOptions, AUTOREGRESSIVE: AutoregressiveOptions}


def folder_to_fairseq(directory: Path, output: Path) -> list[str]:
    """Convert a model folder; its search and its language model stay behind.

    Args:
        directory: the model folder.
        output: the checkpoint to write; dictionaries go beside it.

    Returns:
        Lines for the user.

    Raises:
        ValueError: if anything does not fit; then nothing is written.
    """
    if output.is_dir():
        raise ValueError(f"OUT.pt must not be a folder, but is {output}")
    manifest = Manifest.read(directory)
    dictionaries = [dictionary_of(load_vocabulary(directory / side)) for side in (SOURCE, TARGET)]
    weights = read_weights(directory)
    languages = (manifest.source_lang or "src", manifest.target_lang or "tgt")
    folder = output.absolute().parent
    training = TRAININGS[manifest.architecture]._replace(task=manifest.task)
    try:
        network = OPTIONS[manifest.architecture].from_json(manifest.network)
        require_layers(network, weights)
        cfg = training_config(model_options(network), folder, languages, training)
        task, model = build(cfg, dictionaries)
        check_weights({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, weights)
    except ValueError as error:
        raise ValueError(f"{directory}: {error}") from error
    names = [f"dict.{language}.txt" for language in languages]
    for name, dictionary in zip(names, dictionaries, strict=True):
        keep_others(folder / name, dictionary)
    with staging(folder) as lent:
        for name, dictionary in zip(names, dictionaries, strict=True):
            dictionary.save(str(lent / name))
        parameters = {name: weights[name].float().clone() for name in model.state_dict()}
        save_checkpoint(lent / output.name, cfg, task, parameters, None, training.criterion_class)
    return [
        f"{output}: {manifest.architecture} with {len(parameters)} tensors",
        *(f"{folder / name}: {len(d):,} symbols" for name, d in zip(names, dictionaries, strict=True)),
    ]
