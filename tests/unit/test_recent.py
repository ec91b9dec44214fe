"""Things that were made lately are not made again."""

import threading
import time

from bnb_fairseq.recent import Recent


def test_the_last_ones_are_kept() -> None:
    made: list[str] = []

    def get(key: str) -> str:
        return str(recent.get(key, lambda: made.append(key) or key.upper()))  # type: ignore[func-returns-value]

    recent = Recent(2)
    assert [get(key) for key in "abab"] == list("ABAB")
    assert made == ["a", "b"]
    assert [get(key) for key in "ca"] == ["C", "A"]  # c drives out a, which was used before b
    assert made == ["a", "b", "c", "a"]
    get("c")
    assert made == ["a", "b", "c", "a"]


def test_threads_make_a_thing_once() -> None:
    recent, made = Recent(2), []

    def make() -> int:
        time.sleep(0.05)
        made.append(1)
        return len(made)

    threads = [threading.Thread(target=lambda: recent.get("x", make)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
