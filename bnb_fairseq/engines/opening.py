"""From a model folder, perhaps on the hub, to the engine that runs it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..folder.manifest import AUTOREGRESSIVE, CARD, CONFIG, GRAPHS, READ, SOURCE, TARGET, WEIGHTS, Manifest
from ..installation import is_installed, require_host, require_torch

if TYPE_CHECKING:
    from .interface import Engine

ENGINES = AUTO, TORCH, ONNX = "auto", "torch", "onnx"
FLOAT32, *HALVES = "float32", "bfloat16", "float16"
DEVICES, PRECISIONS = ("cpu", "cuda"), ("highest", "high", "medium")
USUAL_NAMES = ("model.pt", "checkpoint_best.pt", "checkpoint_last.pt")  # the first that a folder has is loaded


class Loading(NamedTuple):
    """Arguments of ``Translator.load``."""

    engine: str
    device: str
    dtype: str
    precision: str
    threads: int | None
    shortlist: bool


def check_loading(loading: Loading, data: object) -> None:
    """Check the arguments of ``Translator.load``; a ValueError if one is unknown or does not fit another."""
    engine, device, dtype, precision, threads, _ = loading
    for name, value, known in (
        ("engine", engine, ENGINES),
        ("device", device, DEVICES),
        ("dtype", dtype, (FLOAT32, *HALVES)),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be {' or '.join(known)}, but is {value!r}")
    for name, value, only in (("device", device, "cpu"), ("dtype", dtype, FLOAT32)):
        if engine == ONNX and value != only:
            raise ValueError(f"{name} must be {only} for engine {ONNX}, but is {value!r}")
    if engine == ONNX and data is not None:
        raise ValueError(f"engine must be {AUTO} or {TORCH} for a checkpoint, but is {engine!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, but is {threads}")


def prepare_torch(loading: Loading) -> None:
    """Check that torch is installed, and finds the GPU if requested; set the number of threads."""
    require_torch()
    import torch

    if loading.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu where PyTorch finds no GPU, but is 'cuda'")
    if loading.threads is not None:
        torch.set_num_threads(loading.threads)


def load_engine(path: Path, manifest: Manifest, loading: Loading) -> "Engine":
    """Load the engine of a model folder; see ``Translator.load``."""
    engine, device, dtype, precision, threads, shortlist = loading
    has_graph = any(name in manifest.files for name in GRAPHS)
    runs_graph = is_installed("onnxruntime") or WEIGHTS not in manifest.files
    plain = device == "cpu" and dtype == FLOAT32
    if engine == ONNX or (engine == AUTO and plain and has_graph and runs_graph):
        from .onnx import OnnxEngine

        return OnnxEngine.load(path, manifest, threads, shortlist)
    if WEIGHTS not in manifest.files:
        raise ValueError(f"{path} must have {WEIGHTS} for engine {TORCH}, but was exported without it")
    prepare_torch(loading)
    if manifest.architecture == AUTOREGRESSIVE:
        require_host()
        from .with_fairseq import load_autoregressive

        return load_autoregressive(path, manifest, device, dtype)
    from .nar import NarEngine

    return NarEngine.load(path, manifest, device, precision, dtype)


def load_checkpoints(paths: Sequence[Path], data: Path, loading: Loading) -> tuple["Engine", str, str]:
    """Load the engine of a training's checkpoints; return it, the source language, and the task's name."""
    prepare_torch(loading)
    require_host()
    from .with_fairseq import open_checkpoints

    paths = [only_checkpoint(path) if path.is_dir() else path for path in paths]
    engine, task = open_checkpoints(paths, data, loading.device, loading.dtype, loading.precision)
    return engine, str(getattr(task.cfg, "source_lang", None) or ""), str(task.cfg._name)


def only_checkpoint(folder: Path) -> Path:
    """Choose the checkpoint of a folder: one of ``USUAL_NAMES``, or the only one; a ValueError names those it has."""
    found = sorted(file.name for file in folder.glob("*.pt"))
    usual = [name for name in USUAL_NAMES if name in found]
    if not usual and len(found) != 1:
        listed = f"{', '.join(found[:5])}{', ...' if len(found) > 5 else ''}; name one" if found else "none"
        hint = "; it is a model folder, which Translator.load opens without data" if (folder / CONFIG).is_file() else ""
        raise ValueError(
            f"{folder} must have a checkpoint {', '.join(USUAL_NAMES)}, or a single other *.pt, but has {listed}{hint}"
        )
    return folder / (usual or found)[0]


def download(name: str) -> Path:
    """Fetch a model folder from the HuggingFace hub."""
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ValueError(f"there is no model folder or checkpoint {name!r}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(f"{name!r} is no folder; to fetch it from the hub, pip install huggingface_hub") from error
    try:
        wanted = [CONFIG, CARD, *READ, f"{SOURCE}/*", f"{TARGET}/*"]
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"there is no folder {name!r}, and the hub gives no model of this name: {reason}") from error
