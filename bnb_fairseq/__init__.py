"""BERT-NAR-BERT for fairseq: load it with ``--user-dir bnb_fairseq``.

Importing the package registers the tasks ``translation_bnb``, ``question_generation_bnb``, ``pretraining_bnb`` and
``sentence_prediction_bnb``, the architectures ``bnb_transformer``, ``bert2bert`` and ``bnb_classifier``, the
``bnb_loss`` criterion and the ``bnb_adam`` optimizer.

Shape letters, used throughout: B batch, S source length, T target length, A canvas (alignment) length, D model
width, Z latent width, V vocabulary.
"""

# ruff: noqa: E402  (first of all: PyTorch and fairseq are there)
from .installation import require_host

require_host()

from . import classification, compat, criterions, models, optim, tasks
from .checkpoints import commands
from .processes import check_command_line

commands.check_command_line()
check_command_line()
compat.answer_to_short_name(__path__)

__version__ = "0.1.0"
__all__ = ["classification", "compat", "criterions", "models", "optim", "tasks"]
