"""The helper that other tests compare errors with."""

import pytest

from ..facts import check_faults, says


def test_parts_in_their_order() -> None:
    error = "--beam must be at least 1, but is 0"
    assert says(error, "--beam ... at least 1 ... 0")
    assert says(error, "... is 0")
    assert not says(error, "--beam ... 0 ... at least")
    assert not says(error, "--beam ... at least 2")
    assert not says("1", "1 ... 1"), "each part has a place of its own"


def test_every_fault_is_listed() -> None:
    check_faults("--a is 1; --b is 2", ["--a ... 1", "--b ... 2"])
    for wrong in (["--a ... 1"], ["--b ... 2", "--a ... 1"], ["--a ... 1", "--b ... 3"]):
        with pytest.raises(AssertionError):
            check_faults("--a is 1; --b is 2", wrong)
