"""BERT-NAR-BERT for fairseq: load it with ``--user-dir bnb_fairseq``.

Importing the package registers the tasks ``translation_bnb``, ``question_generation_bnb``, ``pretraining_bnb`` and
``sentence_prediction_bnb``, the architectures ``bnb_transformer``, ``bert2bert`` and ``bnb_classifier``, the
``bnb_loss`` criterion and the ``bnb_adam`` optimizer.

Shape letters, used throughout: B batch, S source length, T target length, A canvas (alignment) length, D model
width, Z latent width, V vocabulary.
"""

import sys
from pathlib import Path

_program = Path((sys.argv or [""])[0]).name
# Its own commands import the registration once they have read their options: `bnb-NAME --help` answers at once.
if not (_program.startswith("bnb-") and (Path(__file__).parent / "cli" / f"{_program[4:]}.py").is_file()):
    from .registration import classification, compat, criterions, models, optim, tasks

__version__ = "0.1.0"
__all__ = ["classification", "compat", "criterions", "models", "optim", "tasks"]
