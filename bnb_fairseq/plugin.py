"""Parts of this package for fairseq; importing the module registers them.

Tasks ``translation_bnb``, ``question_generation_bnb``, ``pretraining_bnb``, ``sentence_prediction_bnb``; architectures
``bnb_transformer``, ``bert2bert`` and ``bnb_classifier``, the ``bnb_loss`` criterion and the ``bnb_adam`` optimizer.
"""

# ruff: noqa: E402  (first of all: PyTorch and fairseq are there)
from .installation import require_host

require_host()

from . import __path__, classification, compat, criterions, models, optim, tasks
from .checkpoints import commands
from .processes import check_command_line

commands.check_command_line()
check_command_line()
compat.answer_to_short_name(__path__)

__all__ = ["classification", "criterions", "models", "optim", "tasks"]
