"""Checks of the options of ``bnb-score``, before anything is read."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..evaluation import runs
from ..evaluation.columns import TESTED
from ..evaluation.systems import System
from ..folder.manifest import CARD
from .command import find_data_bin_faults, find_output_faults, find_small

FORMATS = (".png", ".pdf", ".svg")
PACKAGES = {"rouge": ("rouge-score", "rouge_score"), "meteor": ("NLTK", "nltk")}  # of metrics, with their modules


def find_faults(arguments: Namespace) -> list[str]:
    """List all that is wrong with the options of one of the three commands."""
    if arguments.command == "checkpoints":
        systems: list[System] = arguments.systems
        names = [system.name for system in systems]
        own = [*find_small(arguments, {"batch_size": 1, "speed_rounds": 1}), *_find_checkpoint_faults(arguments)]
        files = {}
    else:
        outputs = outputs_of(arguments)
        names = [name for name, _ in outputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        text = "SYSTEM: every NAME must be given once, but {!r} is given {} times"
        own = [text.format(name, names.count(name)) for name in twice]
        files = {f"SYSTEM: OUTPUT of {name}": path for name, path in outputs}
    if arguments.command == "analysis":
        own += find_small(arguments, {"buckets": 1})
        files = {"--train-text": arguments.train_text, **files}
    else:
        own += find_small(arguments, {"bootstrap": 1, "bootstrap_seed": 1})
    if arguments.command == "texts":
        own += find_small(arguments, {"samples": 0})
        if arguments.card is not None and not (arguments.card / CARD).is_file():
            own.append(f"--card must be a model folder with a {CARD}, but is {arguments.card}")
    faults = [*own, *_find_file_faults({"--source": arguments.source, "--reference": arguments.reference, **files})]
    if arguments.baseline not in (None, *names):
        faults.append(f"--baseline must be one of {names}, but is {arguments.baseline!r}")
    return faults if arguments.command == "analysis" else [*faults, *_find_table_faults(arguments)]


def outputs_of(arguments: Namespace) -> list[tuple[str, Path]]:
    """Return name and output file of each SYSTEM that was translated before."""
    return [output for found in arguments.systems for output in found]


def _find_file_faults(files: Mapping[str, Path]) -> list[str]:
    return [f"{option} must be a file, but is {path}" for option, path in files.items() if not path.is_file()]


def _find_checkpoint_faults(arguments: Namespace) -> list[str]:
    systems: list[System] = arguments.systems
    faults = find_data_bin_faults(arguments.data_bin)
    if not arguments.user_dir.is_dir():
        faults.append(f"--user-dir must be a folder, but is {arguments.user_dir}")
    if arguments.output.exists() and not arguments.output.is_dir():
        faults.append(f"--output must be a folder, but is {arguments.output}")
    if missing := [str(file) for system in systems for file in system.checkpoints if not file.is_file()]:
        faults.append(f"SYSTEM: every checkpoint must be a file, but these are missing: {', '.join(missing)}")
    files = [system.file.casefold() for system in systems]
    for file in sorted({file for file in files if files.count(file) > 1}):
        sharing = [system.name for system, other in zip(systems, files, strict=True) if other == file]
        faults.append(f"SYSTEM: every NAME needs an output file of its own, but {sharing} would share {file}")
    if not runs.GENERATE.is_file():
        faults.append(f"fairseq must be installed for the Python that runs this, but there is no {runs.GENERATE}")
    return faults


def _find_table_faults(arguments: Namespace) -> list[str]:
    """Check metrics and picture, which may lie in the output folder before that exists."""
    picture, output = arguments.picture, getattr(arguments, "output", None)
    faults = find_metric_faults(arguments.metrics, picture)
    for metric, (package, module) in PACKAGES.items():
        if metric in arguments.metrics and find_spec(module) is None:
            faults.append(f"--metrics {metric} needs {package}, but it is not installed; pip install {package.lower()}")
    if picture is None:
        return faults
    if picture.suffix.lower() not in FORMATS:
        faults.append(f"--picture must end in {', '.join(FORMATS)}, but is {picture}")
    if output is None or picture.parent.resolve() != output.resolve():
        faults += find_output_faults("--picture", picture)
    if find_spec("matplotlib") is None:
        faults.append("--picture needs matplotlib, but it is not installed; pip install matplotlib")
    return faults


def find_metric_faults(metrics: Sequence[str], picture: Path | None) -> list[str]:
    """Check that there is something to score, and something to draw."""
    if not metrics:
        return ["--metrics needs another metric beside meteor, which is left out"]
    if picture is not None and not TESTED.keys() & set(metrics):
        return [f"--picture needs {' or '.join(TESTED)} among --metrics, but they are {' '.join(metrics)}"]
    return []
