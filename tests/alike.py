"""Comparison of what one model writes in batches of different shapes."""

from collections.abc import Mapping

SHARE = 0.02


def check_alike(found: Mapping[int, object], expected: Mapping[int, object]) -> None:
    """Demand equal outputs for all sentences but 2%, or one.

    The models of these tests were trained for a moment and choose about ten thousand words. The two best words of one
    of these choices are often as near to each other as float32 is exact, and then the order of additions, which depends
    on the machine and on the shape of the batch, decides. A model that reads padding changes most of its outputs.
    """
    assert found.keys() == expected.keys()
    other = [number for number in expected if found[number] != expected[number]]
    told = [f"{number}: {found[number]!r}, not {expected[number]!r}" for number in other[:3]]
    assert len(other) <= max(1, SHARE * len(expected)), "\n".join([f"{len(other)} outputs differ:", *told])
