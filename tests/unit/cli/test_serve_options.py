"""How ``bnb-serve`` shares the processor's cores among batches."""

import os

import pytest

from bnb_fairseq.cli.serve import COMMAND, share_cores


@pytest.mark.parametrize(
    ("cores", "words", "shared"),
    [
        (1, [], (1, 1)),
        (2, [], (2, 1)),
        (16, [], (2, 8)),
        (2, ["--threads", "2"], (1, 2)),
        (16, ["--threads", "2"], (2, 2)),
        (16, ["--batches", "4"], (4, 4)),
        (2, ["--batches", "4"], (4, 1)),
        (2, ["--batches", "3", "--threads", "5"], (3, 5)),
        (2, ["--device", "cuda"], (1, None)),
    ],
)
def test_cores_are_shared(
    cores: int, words: list[str], shared: tuple[int, int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert share_cores(COMMAND.parse(["FOLDER", *words])) == shared
