"""Ordinary files, and torch's reasons for not reading one."""

import pickle
import re
import stat
from pathlib import Path

# In the messages of torch's safe loader, and the first sentence of any other message.
REFUSED_CLASS = re.compile(r"\bGLOBAL (\S+)")
WHY_REFUSED = re.compile(r"WeightsUnpickler error:\s*(\S.*)")
WHY_UNREADABLE = re.compile(r"^\s*([^.\n]+)")
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError)  # what torch.load raises
KINDS = ((stat.S_ISDIR, "folder"), (stat.S_ISFIFO, "pipe"), (stat.S_ISSOCK, "socket"))


def find_file_fault(path: Path) -> str | None:
    """Why a path is no ordinary file, worded to follow its name, else None; a pipe or a device may never end."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return "there is no such file"
    if stat.S_ISREG(mode):
        return None
    return f"it is a {next((name for is_kind, name in KINDS if is_kind(mode)), 'device')}"


def require_file(path: Path) -> Path:
    """The path, or a ValueError if it is no ordinary file."""
    if fault := find_file_fault(path):
        raise ValueError(f"{path}: must be a file, but {fault}")
    return path


def why_not_read(error: Exception) -> str:
    """The useful part of the long message of ``torch.load`` or safetensors, worded to follow the file's name."""
    if refused := REFUSED_CLASS.search(str(error)):
        return f"names {refused[1]}, which is not loaded"
    told = WHY_REFUSED.search(str(error)) or WHY_UNREADABLE.search(str(error))
    return f"cannot be read ({told[1] if told else 'it ends too early'})"
