"""Write a model folder: all that translating with a trained model needs, without fairseq.

    bnb-export --checkpoint checkpoint_best.pt --data data-bin --lm lm.arpa --search search.json --output model

The folder holds the weights, the vocabularies, the options of the search and a model card. It is written whole or not
at all. With `--onnx int8` it also holds a graph that runs without torch. `bnb-translate FOLDER` and
`Translator.load(FOLDER)` read the folder.
"""

import argparse
import json
from math import inf
from pathlib import Path
from typing import Any

from .command import Command

NAME = "bnb-export"
MOST_LOST = 0.3  # BLEU that a graph may lose


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, metavar="FILE", help="checkpoint of bnb_transformer or bert2bert")
    add("--data", type=Path, required=True, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--output", type=Path, required=True, metavar="FOLDER", help="folder to write, new or empty")
    add("--lm", type=Path, metavar="FILE", help="n-gram model of the search (default: none)")
    add(
        "--search",
        default="{}",
        metavar="FILE|JSON",
        help="options that translation uses unless told otherwise: the file that bnb-tune wrote, or JSON such as "
        "'{\"ctc_beam\": 10}' (default: one pass)",
    )
    add("--dtype", choices=["float32", "bfloat16", "float16"], default="float32", help="of the stored weights")
    add("--calibrate", metavar="PART", help="part of the data to which confidence is calibrated (default: none)")
    add(
        "--onnx",
        choices=["int8", "float32"],
        help="add a graph for ONNX Runtime, or two for a model that refines, and compare with torch on up to 1,000 "
        "validation sentences of DATA_BIN (default: none)",
    )
    add(
        "--shortlist",
        type=int,
        metavar="K",
        help="with --onnx: score only the K target symbols that go best with each source token, counted on DATA_BIN, "
        "and the 1,000 most frequent ones (default: all are scored)",
    )
    add("--no-torch-weights", action="store_true", help="with --onnx: leave model.safetensors out")
    add("--force", action="store_true", help=f"with --onnx: keep a graph that loses more than {MOST_LOST} BLEU")
    add("--name", default="", help="name of the model (default: the folder's)")
    add("--license", metavar="ID", help="licence of the model, such as mit (default: not stated)")
    add("--description", metavar="TEXT", help="what the model is and was trained on, for its card")


def read_options(text: str) -> dict[str, Any]:
    """Read ``--search``.

    Args:
        text: a JSON object, or the file that holds one.

    Returns:
        The options.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is no such object.
    """
    is_json = text.lstrip().startswith("{")
    if not is_json and not Path(text).is_file():
        raise ValueError(f"--search must be JSON or a file of it, but there is no file {text}")
    try:
        options = json.loads(text if is_json else Path(text).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"--search must be JSON or a file of it, but is {text!r}: {error}") from error
    if not isinstance(options, dict):
        raise ValueError(f"--search must be a JSON object, but is {text!r}")
    return options


def find_faults(arguments: argparse.Namespace) -> list[str]:
    """List what is wrong with the options."""
    faults = []
    if not any(arguments.data.glob("dict.*.txt")):
        faults.append(f"--data must be a folder made by fairseq-preprocess, but is {arguments.data}")
    if not arguments.checkpoint.is_file():
        faults.append(f"--checkpoint must be a file, but there is none at {arguments.checkpoint}")
    if arguments.lm is not None and not arguments.lm.is_file():
        faults.append(f"--lm must be a file, but there is none at {arguments.lm}")
    for name, text in (("--name", arguments.name), ("--license", arguments.license or "")):
        if len(text.splitlines()) > 1:
            faults.append(f"{name} must be one line, but is {text!r}")
    output = arguments.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        faults.append(f"--output must be a new or empty folder, but {output} is not")
    if arguments.shortlist is not None and arguments.shortlist < 1:
        faults.append(f"--shortlist must be at least 1, but is {arguments.shortlist}")
    beside = {"--no-torch-weights": arguments.no_torch_weights, "--force": arguments.force}
    for option, given in {**beside, "--shortlist": arguments.shortlist is not None}.items():
        if given and arguments.onnx is None:
            faults.append(f"{option} must stand beside --onnx")
    return faults


def run(arguments: argparse.Namespace) -> None:
    """Write the folder and print what is in it; a ValueError or OSError if anything does not fit."""
    search = read_options(arguments.search)

    from ..export.graph import Graph
    from ..export.model_folder import Described, export

    most = inf if arguments.force else MOST_LOST
    graph = (
        None
        if arguments.onnx is None
        else Graph(arguments.onnx, not arguments.no_torch_weights, most, arguments.shortlist)
    )
    described = Described(arguments.name, arguments.license, arguments.description)
    places = arguments.checkpoint, arguments.data, arguments.output
    export(*places, search, arguments.lm, arguments.dtype, described, part=arguments.calibrate, graph=graph)
    for path in sorted(path for path in arguments.output.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path}")


COMMAND = Command(NAME, __doc__, add_options, run, find_faults)


def main() -> int:
    """Run; an error is one line."""
    return COMMAND.main()


if __name__ == "__main__":
    raise SystemExit(main())
