r"""Serve translations over HTTP, with a page to look at them.

    bnb-serve FOLDER [FOLDER ...]

FOLDER is an exported model; several have different languages. POST /translate answers clients of LibreTranslate,
POST /v1/translate gives scores, confidence and alignments, / is the page, /docs describes the interface.
"""

from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..engines.batches import count_cores
from .command import Command, find_small

if TYPE_CHECKING:
    from ..serving.gate import Gate

PROG = "bnb-serve"
NEEDED = ("starlette", "uvicorn", "pydantic", "prometheus_client", "python_multipart")
PORTS = 65_535
BATCHES = 2  # of a model at the same time: one is in the network while the other one's texts are searched


def add_options(parser: ArgumentParser) -> None:
    """Add FOLDER and the options."""
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="folder of an exported model")
    add = parser.add_argument_group("address").add_argument
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: %(default)s)")
    add("--port", type=int, default=8000, metavar="N", help="port to listen on; 0: a free one (default: %(default)s)")
    text = "web site whose pages may ask, by scheme and host; * for all; may be repeated (default: none)"
    add("--allow-origin", action="append", default=[], metavar="ORIGIN", help=text)
    text = "write method, route, status and time of each request to standard error"
    add("--log-requests", action="store_true", help=text)
    _add_limits(parser)
    add = parser.add_argument_group("running").add_argument
    add("--device", choices=["cpu", "cuda"], default="cpu", help="where the models run (default: cpu)")
    add("--engine", choices=["auto", "torch", "onnx"], default="auto", help="what runs them (default: auto)")
    text = "threads of a batch on the CPU (default: the cores divided by --batches)"
    add("--threads", type=int, metavar="N", help=text)
    text = "most source tokens of a batch (default: 2048 with torch, 512 with ONNX Runtime)"
    add("--batch-tokens", type=int, metavar="N", help=text)
    text = "milliseconds that a text waits for others to share its batch (default: %(default)s)"
    add("--batch-wait", type=float, default=3.0, metavar="MS", help=text)
    text = "batches of a model that run at the same time (default: 2 on the CPU; 1 on a GPU, or on one core)"
    add("--batches", type=int, metavar="N", help=text)


def _add_limits(parser: ArgumentParser) -> None:
    add = parser.add_argument_group("limits").add_argument
    text = "file of API keys, one on a line, of which a request must have one (default: everybody may ask)"
    add("--api-keys", type=Path, metavar="FILE", help=text)
    text = "requests of a key in a minute, of an address without keys; 0: no limit (default: %(default)s)"
    add("--max-rate", type=int, default=0, metavar="N", help=text)
    add("--max-body", type=int, default=1 << 20, metavar="N", help="bytes of a request's body (default: %(default)s)")
    add("--max-texts", type=int, default=200, metavar="N", help="texts of a request (default: %(default)s)")
    text = "characters of a request, its glossary included (default: %(default)s)"
    add("--max-characters", type=int, default=20_000, metavar="N", help=text)
    text = "alternatives of a text (default: %(default)s)"
    add("--max-alternatives", type=int, default=10, metavar="N", help=text)
    text = "beams and passes that a request asks for, unless the folder has more (default: %(default)s)"
    add("--max-search", type=int, default=20, metavar="N", help=text)
    add("--max-queue", type=int, default=1000, metavar="N", help="texts that wait (default: %(default)s)")
    text = "requests that are read or answered at the same time (default: %(default)s)"
    add("--max-requests", type=int, default=1000, metavar="N", help=text)
    text = "seconds from a request's arrival to its answer (default: %(default)s)"
    add("--timeout", type=float, default=30.0, metavar="S", help=text)
    text = "seconds in which a request's head, and then its body, must arrive (default: %(default)s)"
    add("--body-timeout", type=float, default=10.0, metavar="S", help=text)


def find_faults(arguments: Namespace) -> list[str]:
    """Check options and folders before anything is loaded."""
    faults = [
        f"FOLDER must be a folder of an exported model, but there is none at {folder}"
        for folder in arguments.folders
        if not folder.is_dir()
    ]
    least = {"threads": 1, "batch_tokens": 1, "batch_wait": 0, "batches": 1, "max_rate": 0, "max_body": 1}
    least |= {
        "max_texts": 1,
        "max_characters": 1,
        "max_alternatives": 0,
        "max_search": 1,
        "max_queue": 1,
        "max_requests": 1,
        "port": 0,
    }
    faults += find_small(arguments, least)
    for name in ("timeout", "body_timeout"):
        value = getattr(arguments, name)
        if not value > 0:
            faults.append(f"--{name.replace('_', '-')} must be above 0, but is {value}")
    if arguments.port > PORTS:
        faults.append(f"--port must be at most {PORTS}, but is {arguments.port}")
    if arguments.max_texts > arguments.max_queue:
        faults.append(f"--max-texts must be at most --max-queue, {arguments.max_queue}, but is {arguments.max_texts}")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        faults.append(f"{PROG} needs pip install 'bnb_fairseq[serve]', but {', '.join(missing)} are missing")
    return faults


def share_cores(arguments: Namespace) -> tuple[int, int | None]:
    """Return the batches of a model that run at the same time, and the threads of each."""
    if arguments.device != "cpu":
        return arguments.batches or 1, arguments.threads
    cores = count_cores()
    batches = arguments.batches or min(BATCHES, max(cores // (arguments.threads or 1), 1))
    return batches, arguments.threads or max(cores // batches, 1)


def load_app(arguments: Namespace) -> "Gate":
    """Load the models.

    Args:
        arguments: the command line.

    Returns:
        The application.

    Raises:
        ImportError: if a package is missing, naming it.
        OSError: if the keys cannot be read.
        ValueError: if a folder or a key does not fit.
    """
    from ..serving.app import Settings, create_app
    from ..serving.keys import read_keys
    from ..serving.limits import Limits
    from ..serving.models import Model, Models

    keys = [] if arguments.api_keys is None else read_keys(arguments.api_keys)
    limits = Limits(
        arguments.max_body,
        arguments.max_texts,
        arguments.max_characters,
        arguments.max_alternatives,
        arguments.max_search,
        arguments.max_queue,
        arguments.max_requests,
        arguments.timeout,
        arguments.body_timeout,
        arguments.max_rate,
    )
    batches, threads = share_cores(arguments)
    settings = Settings(
        limits,
        keys,
        arguments.allow_origin,
        arguments.batch_wait / 1000,
        batches,
        arguments.log_requests,
    )
    loading = (arguments.engine, arguments.device, threads, arguments.batch_tokens)
    models = Models([Model.load(folder, *loading) for folder in arguments.folders])
    return create_app(models, settings)


def run(arguments: Namespace) -> None:
    """Load the models and serve them until a signal comes."""
    from ..serving.server import serve

    serve(load_app(arguments), arguments.host, arguments.port, arguments.body_timeout)


COMMAND = Command(PROG, __doc__, add_options, run, find_faults, needs_fairseq=False)
main = COMMAND.main

if __name__ == "__main__":
    raise SystemExit(main())
