"""``bnb-serve`` on a Ray cluster, which starts and ends copies of the server as requests come and go.

Ray's own command runs it::

    serve run bnb_fairseq.cli.serve_on_ray:app command="/shared/models/en-de --max-rate 60" replicas=8
"""

import os
import shlex
from argparse import Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics to its makers

from ray import serve
from ray.serve import Application

from .command import refuse
from .serve import COMMAND, load_app

if TYPE_CHECKING:
    from ..serving.gate import Gate

RUNNING = 32  # requests of a copy that another one is started for; a batch has about as many
REPLICAS = 4
BY_RAY = ("host", "port")


def _parse(command: str) -> Namespace:
    arguments, defaults = COMMAND.parse(shlex.split(command)), COMMAND.parse(["FOLDER"])
    faults = [
        f"--{name} must be left to serve run, but is {getattr(arguments, name)}"
        for name in BY_RAY
        if getattr(arguments, name) != getattr(defaults, name)
    ]
    refuse(faults + COMMAND.find_faults(arguments))
    return arguments


def app(given: Mapping[str, str]) -> Application:
    """Build the application, for ``serve run`` and ``serve build``.

    Args:
        given: ``command``, the arguments of ``bnb-serve`` without its address; ``replicas``, the largest number of
            copies; and ``least``, the smallest one, which 0 makes wait for a copy after a lull.

    Returns:
        The application. A copy takes ``--threads`` processors, by default 1, or with ``--device cuda`` a GPU.

    Raises:
        ValueError: if an argument does not fit.
    """
    if unknown := sorted(given.keys() - {"command", "replicas", "least"}):
        raise ValueError(f"arguments must be command, replicas and least, but one is {unknown[0]}")
    if "command" not in given:
        raise ValueError(
            "command must be the arguments of bnb-serve, as command='FOLDER --max-rate 60', but is missing"
        )
    least, most = int(given.get("least", 1)), int(given.get("replicas", REPLICAS))
    if not 0 <= least <= most or most < 1:
        raise ValueError(f"replicas must be at least 1, and least from 0 to replicas, but are {most} and {least}")
    arguments = _parse(given["command"])
    arguments.threads, arguments.batches = arguments.threads or 1, arguments.batches or 1

    def build() -> "Gate":
        return load_app(arguments)

    deployment = serve.deployment(
        serve.ingress(build)(),
        name="bnb-serve",
        max_ongoing_requests=arguments.max_requests,
        autoscaling_config={"min_replicas": least, "max_replicas": most, "target_ongoing_requests": RUNNING},
        ray_actor_options={"num_gpus": 1} if arguments.device == "cuda" else {"num_cpus": arguments.threads},
        graceful_shutdown_timeout_s=arguments.timeout,
        logging_config={"enable_access_log": arguments.log_requests},
    )
    return deployment.bind()
