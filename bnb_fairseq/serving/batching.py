"""A queue that puts the texts of several requests into one batch."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from .limits import RequestError

RETRY_AFTER = 1  # seconds; a full queue is empty again after about so long
OVERHEAD = 1 / 8  # of the time of a full batch, that each batch takes beside that of its tokens


class Asked(NamedTuple):
    """Options of a translation; texts with equal ones may share a batch.

    Attributes:
        nbest: texts wanted for each.
        search: ``auto`` or ``none``, see ``Translator.translate``.
        alignment: whether alignments are wanted.
        canvas: whether the canvas after each pass is wanted.
        options: names and values of options of the search.
        glossary: terms and their translations.
    """

    nbest: int = 1
    search: str = "auto"
    alignment: bool = False
    canvas: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    glossary: tuple[tuple[str, str], ...] = ()


class Answer(NamedTuple):
    """The answer to a text.

    Attributes:
        found: what ``translate`` returned for it.
        at: when, by ``time.monotonic``.
    """

    found: Any
    at: float


class Watcher(Protocol):
    """Learns of the queue and its batches."""

    def waiting(self, texts: int) -> None:
        """Note how many texts wait."""

    def translated(self, texts: int, tokens: int, seconds: float) -> None:
        """Note a batch."""


@dataclass(eq=False)
class _Waiting:
    text: str
    tokens: int
    asked: Asked
    answer: "asyncio.Future[Answer]"
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Translates the texts that wait in batches, each in a thread of an executor.

    A batch begins with the text that has waited longest. Texts with the same options join it, those nearest in length
    first, as long as the time for each of its tokens falls; padding takes time, too.

    Args:
        translate: translates texts with equal options; its ValueError is the client's.
        count_tokens: the number of tokens of a text.
        executor: has the threads.
        batch_tokens: most tokens of a batch, padding included, unless a single text has more.
        queue: most texts that wait.
        wait: seconds that a text waits for others, where no batch runs.
        watcher: learns of the queue.
    """

    def __init__(
        self,
        translate: Callable[[Sequence[str], Asked], Sequence[Any]],
        count_tokens: Callable[[str], int],
        executor: Executor,
        batch_tokens: int,
        queue: int,
        wait: float,
        watcher: Watcher,
    ) -> None:
        self._translate, self._count_tokens, self._executor = translate, count_tokens, executor
        self._batch_tokens, self._queue, self._wait, self._watcher = batch_tokens, queue, wait, watcher
        self._waiting: deque[_Waiting] = deque()
        self._changed = asyncio.Event()

    async def translate(self, texts: Sequence[str], asked: Asked) -> list[Answer]:
        """Translate texts.

        Args:
            texts: the texts.
            asked: their options.

        Returns:
            An answer for each.

        Raises:
            RequestError: if the queue is full.
            ValueError: if the options do not fit the model.
        """
        if len(self._waiting) + len(texts) > self._queue:
            message = f"the queue must have at most {self._queue} texts, but {len(self._waiting)} wait; try again"
            raise RequestError(503, message, RETRY_AFTER)
        loop = asyncio.get_running_loop()
        mine = [_Waiting(text, self._count_tokens(text), asked, loop.create_future()) for text in texts]
        self._waiting.extend(mine)
        self._watch()
        try:
            return list(await asyncio.gather(*(one.answer for one in mine)))
        finally:
            if left := [one for one in mine if one in self._waiting]:  # the request ended early
                for one in left:
                    self._waiting.remove(one)
                self._watch()

    async def run(self) -> None:
        """Translate what comes, batch after batch, until it is cancelled."""
        while True:
            await self._wait_for_texts()
            if batch := self._take():
                await self._translate_batch(batch)

    def _watch(self) -> None:
        self._watcher.waiting(len(self._waiting))
        self._changed.set()

    async def _wait_for_texts(self) -> None:
        """Wait until there is a batch: enough tokens, or a text that has waited long enough."""
        while True:
            self._changed.clear()
            if not self._waiting:
                await self._changed.wait()
                continue
            left = self._waiting[0].since + self._wait - time.monotonic()
            if left <= 0 or sum(one.tokens for one in self._waiting) >= self._batch_tokens:
                return
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except asyncio.TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        """Take a batch out of the queue; it may have been emptied meanwhile."""
        if not self._waiting:
            return []
        first = self._waiting[0]
        same = [one for one in self._waiting if one.asked == first.asked]
        taken: list[_Waiting] = []
        total, longest, best = 0, 0, 0.0
        for one in sorted(same, key=lambda one: abs(one.tokens - first.tokens)):  # of equal ones the oldest first
            total, longest = total + one.tokens, max(longest, one.tokens)
            padded = longest * (len(taken) + 1)
            share = total / (padded + self._batch_tokens * OVERHEAD)
            if taken and (padded > self._batch_tokens or share < best):
                break
            best = share
            taken.append(one)
        chosen = set(taken)
        self._waiting = deque(one for one in self._waiting if one not in chosen)
        self._watch()
        return taken

    async def _translate_batch(self, batch: Sequence[_Waiting]) -> None:
        begun = time.monotonic()
        texts = [one.text for one in batch]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._executor, self._translate, texts, batch[0].asked)
        except Exception as error:
            for one in batch:
                if not one.answer.done():
                    one.answer.set_exception(error)
            return
        at = time.monotonic()
        self._watcher.translated(len(batch), sum(one.tokens for one in batch), at - begun)
        for one, of_text in zip(batch, found, strict=True):
            if not one.answer.done():  # its request may have ended
                one.answer.set_result(Answer(of_text, at))
