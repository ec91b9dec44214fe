"""From a model folder to the engine that runs it, and the hub's folders."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..folder.manifest import AUTOREGRESSIVE, CARD, CONFIG, GRAPHS, READ, SOURCE, TARGET, WEIGHTS, Manifest
from ..installation import is_installed, require_torch

if TYPE_CHECKING:
    from .interface import Engine

ENGINES = AUTO, TORCH, ONNX = "auto", "torch", "onnx"
DEVICES, PRECISIONS = ("cpu", "cuda"), ("highest", "high", "medium")


def check_loading(engine: str, device: str, precision: str, threads: int | None, data: object) -> None:
    """Check the arguments of ``Translator.load``; a ValueError if one is unknown or does not fit another."""
    for name, value, known in (
        ("engine", engine, ENGINES),
        ("device", device, DEVICES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be {' or '.join(known)}, but is {value!r}")
    if engine == ONNX and device != "cpu":
        raise ValueError(f"device must be cpu for engine {ONNX}, but is {device!r}")
    if engine == ONNX and data is not None:
        raise ValueError(f"engine must be {AUTO} or {TORCH} for a checkpoint, but is {engine!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, but is {threads}")


def prepare_torch(device: str, threads: int | None) -> None:
    """Check that torch is there, and the GPU if it is wanted, and set the number of threads."""
    require_torch()
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be cpu where PyTorch finds no GPU, but is 'cuda'")
    if threads is not None:
        torch.set_num_threads(threads)


def load_engine(
    path: Path,
    manifest: Manifest,
    engine: str,
    device: str,
    threads: int | None,
    precision: str,
    shortlist: bool = True,
) -> "Engine":
    """Load what computes; see ``Translator.load``."""
    has_graph = any(name in manifest.files for name in GRAPHS)
    runs_graph = is_installed("onnxruntime") or WEIGHTS not in manifest.files
    if engine == ONNX or (engine == AUTO and device == "cpu" and has_graph and runs_graph):
        from .onnx import OnnxEngine

        return OnnxEngine.load(path, manifest, threads, shortlist)
    if WEIGHTS not in manifest.files:
        raise ValueError(f"{path} must have {WEIGHTS} for engine {TORCH}, but was exported without it")
    prepare_torch(device, threads)
    if manifest.architecture == AUTOREGRESSIVE:
        from ..hub.engine import load_autoregressive

        return load_autoregressive(path, manifest, device)
    from .nar import NarEngine

    return NarEngine.load(path, manifest, device, precision)


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
