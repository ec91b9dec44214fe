"""The queue against what it may put into a batch."""

import asyncio
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bnb_fairseq.serving.batching import Asked, Batcher
from bnb_fairseq.serving.limits import RequestError

ONE, TWO = Asked(), Asked(nbest=2)


class Seen:
    """Notes batches, and how long the queue was."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.sizes: list[tuple[int, int]] = []
        self.queue: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def translate(self, texts: Sequence[str], asked: Asked) -> list[str]:
        assert self.go.wait(10)
        self.batches.append(list(texts))
        if "wrong" in texts:
            raise ValueError("it does not fit")
        return [f"{text}{asked.nbest}" for text in texts]

    def waiting(self, texts: int) -> None:
        self.queue.append(texts)

    def translated(self, texts: int, tokens: int, seconds: float) -> None:
        self.sizes.append((texts, tokens))


def run(seen: Seen, work: Any, tokens: int = 10, queue: int = 100, wait: float = 0.05) -> Any:
    """Run a function of a queue whose batches have at most ``tokens``; a text has as many tokens as letters."""

    async def main() -> Any:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(seen.translate, len, executor, tokens, queue, wait, seen)
            task = asyncio.create_task(batcher.run())
            try:
                return await work(batcher)
            finally:
                seen.go.set()
                task.cancel()

    return asyncio.run(main())


def found(answers: Any) -> list[list[str]]:
    return [[answer.found for answer in one] for one in answers]


def test_requests_share_a_batch() -> None:
    """Each gets its own texts; options keep them apart; the oldest text begins."""
    seen = Seen()

    async def work(batcher: Batcher) -> Any:
        return await asyncio.gather(
            batcher.translate(["aa", "bb"], ONE), batcher.translate(["cc"], TWO), batcher.translate(["dd", "ee"], ONE)
        )

    assert found(run(seen, work, tokens=20)) == [["aa1", "bb1"], ["cc2"], ["dd1", "ee1"]]
    assert seen.batches == [["aa", "bb", "dd", "ee"], ["cc"]]
    assert seen.sizes == [(4, 8), (1, 2)]
    assert seen.queue[-1] == 0


def test_tokens_of_a_batch() -> None:
    """Are at most so many, padding included, or one text."""
    seen = Seen()

    async def work(batcher: Batcher) -> Any:
        return await batcher.translate(["a" * 50, *["b" * 9] * 3, "c" * 8, "d" * 9, "e" * 8], ONE)

    run(seen, work, tokens=40)
    assert seen.batches == [["a" * 50], [*["b" * 9] * 3, "d" * 9], ["c" * 8, "e" * 8]]


def test_texts_of_a_batch_are_of_about_the_same_length() -> None:
    """The oldest begins; others join as long as tokens / (tokens with padding + 40 / 8) grows."""
    seen = Seen()

    async def work(batcher: Batcher) -> Any:
        return await batcher.translate(["cc", "b" * 8, "ee", "f" * 8, "d" * 7], ONE)

    assert [answer.found for answer in run(seen, work, tokens=40)] == [
        "cc1",
        "b" * 8 + "1",
        "ee1",
        "f" * 8 + "1",
        "d" * 7 + "1",
    ]
    assert seen.batches == [["cc", "ee"], ["b" * 8, "f" * 8, "d" * 7]]


def test_a_text_waits_a_moment_only() -> None:
    seen = Seen()

    async def work(batcher: Batcher) -> float:
        begun = time.monotonic()
        await batcher.translate(["a"], ONE)
        alone = time.monotonic() - begun
        begun = time.monotonic()
        await batcher.translate(["a" * 10], ONE)  # a whole batch waits for nothing
        return alone if time.monotonic() - begun < 0.2 else 0.0

    assert 0.2 <= run(seen, work, wait=0.2) < 5


def test_a_full_queue() -> None:
    seen = Seen()
    seen.go.clear()

    async def work(batcher: Batcher) -> Any:
        running = asyncio.create_task(batcher.translate(["a" * 10], ONE))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(batcher.translate(["b", "c"], ONE))
        await asyncio.sleep(0)
        with pytest.raises(RequestError) as refused:
            await batcher.translate(["d", "e"], ONE)
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
        one = asyncio.create_task(batcher.translate(["f"], ONE))
        await asyncio.sleep(0)
        seen.go.set()
        return await asyncio.gather(running, waiting, one)

    assert found(run(seen, work, queue=3)) == [["a" * 10 + "1"], ["b1", "c1"], ["f1"]]


def test_a_request_that_ends_early() -> None:
    """Its texts leave the queue, one in a running batch is translated for nobody, and others do not notice."""
    seen = Seen()
    seen.go.clear()

    async def work(batcher: Batcher) -> Any:
        running = asyncio.create_task(batcher.translate(["a" * 10, "b"], ONE))
        await asyncio.sleep(0.1)
        other = asyncio.create_task(batcher.translate(["c"], ONE))
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.sleep(0.01)
        assert seen.queue[-1] == 1
        seen.go.set()
        return await other

    assert [answer.found for answer in run(seen, work)] == ["c1"]
    assert seen.batches == [["a" * 10], ["c"]]


def test_an_error_is_the_batch_es_own() -> None:
    seen = Seen()

    async def work(batcher: Batcher) -> Any:
        both = [batcher.translate(["wrong"], TWO), batcher.translate(["a"], ONE)]
        return await asyncio.gather(*both, return_exceptions=True)

    error, good = run(seen, work)
    assert (type(error), str(error), good[0].found) == (ValueError, "it does not fit", "a1")
