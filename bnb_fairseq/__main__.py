"""``python -m bnb_fairseq`` prints the folder of the package, for ``--user-dir "$(python -m bnb_fairseq)"``."""

from pathlib import Path

if __name__ == "__main__":
    print(Path(__file__).resolve().parent)
