"""Keys and rates."""

import hmac
from pathlib import Path

import pytest

from bnb_fairseq.serving import keys
from bnb_fairseq.serving.keys import Keys, Rate, given_key, read_keys
from bnb_fairseq.serving.limits import RequestError


def test_file_of_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# of a user\n one \n\ntwo\n", encoding="utf-8")
    assert read_keys(path) == ["one", "two"]
    for written in (b"", b"# none\n\n"):
        path.write_bytes(written)
        with pytest.raises(ValueError, match="must have a key on a line of its own, but has none"):
            read_keys(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match="must be UTF-8"):
        read_keys(path)


def test_every_key_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a comparison in constant time, whether one fits or not; keys of any length and any character."""
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append((len(a), len(b)))
        return bool(real(a, b))

    monkeypatch.setattr("hmac.compare_digest", watched)
    known = Keys(["one", "two", "three"])
    known.check("one")
    for wrong in ("x" * 10_000, "", "ö\ud800", "one "):
        with pytest.raises(RequestError) as refused:
            known.check(wrong)
        assert refused.value.status == 403
    assert compared == [(32, 32)] * 15
    Keys().check(None)


def test_where_a_key_stands() -> None:
    assert given_key({"authorization": "Bearer  a b "}) == "a b"
    assert given_key({"authorization": "Basic abc", "x-api-key": "k"}) == "k"
    assert given_key({"authorization": "Bearer "}) is None
    assert given_key({}) is None


def test_rate_is_a_bucket_that_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    rate = Rate(3, lambda: now[0])

    def refused(name: str) -> int | None:
        try:
            rate.count(name)
        except RequestError as error:
            assert error.status == 429
            return error.retry_after
        return None

    assert [refused("a") for _ in range(4)] == [None, None, None, 21]
    assert refused("b") is None
    now[0] = 19.0
    assert refused("a") == 2
    now[0] = 20.5
    assert refused("a") is None
    now[0] = 1000.0
    assert [refused("a") for _ in range(4)] == [None, None, None, 21]
    monkeypatch.setattr(keys, "MOST_COUNTED", 2)
    for name in "xyz":
        assert refused(name) is None
    assert len(rate._left) == 2
    for _ in range(100):
        Rate(0).count("a")
