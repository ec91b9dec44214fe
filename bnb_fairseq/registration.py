"""Registers this package's tasks, models, criterion and optimizer with fairseq when it is imported."""

# ruff: noqa: E402  (first of all: PyTorch and fairseq are there)
from .installation import require_host

require_host()

from . import __path__, classification, compat, criterions, models, optim, tasks
from .checkpoints import commands
from .processes import check_command_line

commands.check_command_line()
check_command_line()
compat.answer_to_short_name(__path__)

__all__ = ["classification", "compat", "criterions", "models", "optim", "tasks"]
