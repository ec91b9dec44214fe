"""The clock of the benchmarks and of bnb-speed."""

import time
from collections.abc import Callable

import pytest
import torch

from bnb_fairseq.evaluation import clock
from bnb_fairseq.evaluation.clock import Job, Timing, time_in_turns


def test_systems_are_timed_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    now = [0.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def job(name: str, sentences: int, *seconds: float) -> Job:
        def call() -> str:
            now[0] += seconds[order.count(name) % len(seconds)]
            order.append(name)
            return f"{name} {order.count(name)}"

        return Job(sentences, call)

    lines: list[str] = []
    jobs = [job("short", 2, 0.25, 9.0, 0.5, 0.125, 0.25), job("long", 3, 2.0, 3.0, 1.0)]
    timings = time_in_turns(jobs, "cpu", 2, lines.append)
    turn = [*["short"] * 4, "long"]  # short calls are repeated, after one that does not count
    assert order == ["short", "long", *turn, *turn]
    assert timings == [Timing(2, [0.25, 0.5], "short 1"), Timing(3, [3.0, 1.0], "long 1")]
    assert len(lines) == 2


def test_median_spread_and_speed() -> None:
    timing = Timing(4, [1.0, 3.0, 2.0, 2.0, 1.5], None)
    assert (timing.median(), timing.spread(), timing.speed()) == (2.0, 0.5, 2.0)


def test_a_gpu_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: events.append("wait"))

    def timed(device: str, call: Callable[[], object]) -> list[str]:
        events.clear()
        assert clock.timed(call, device)[1] is None
        return list(events)

    assert timed("cuda", lambda: events.append("call")) == ["wait", "call", "wait"]
    assert timed("cpu", lambda: events.append("call")) == ["call"]
