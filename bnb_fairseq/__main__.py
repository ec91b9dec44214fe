"""``python -m bnb_fairseq`` prints the package's folder, which is what ``--user-dir`` wants."""

import sys
from pathlib import Path

from .installation import require_host

try:
    require_host()
except ImportError as error:
    sys.exit(str(error))
print(Path(__file__).parent)
