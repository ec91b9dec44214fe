"""``python -m bnb_fairseq`` prints the package's folder, which is what ``--user-dir`` wants."""

from pathlib import Path

from .installation import require_host

require_host()
print(Path(__file__).parent)
