"""Commands run in the tests' process."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from bnb_fairseq.cli import average as command


@pytest.fixture
def average() -> Callable[..., dict[str, Any]]:
    """Average checkpoints; what the command wrote."""

    def run(*arguments: object) -> dict[str, Any]:
        command.run(command.parse_arguments([str(argument) for argument in arguments]))
        return dict(torch.load(str(arguments[-1])))

    return run
