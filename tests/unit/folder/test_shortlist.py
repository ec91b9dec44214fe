"""Shortlists of a folder: what a batch may need, and files that others have made."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bnb_fairseq.folder.shortlist import NAMES, Shortlist

from ...facts import names

GOOD = {"offsets": [0, 2, 2, 3], "symbols": [5, 8, 2], "common": [1]}


def of(values: Mapping[str, list[int]]) -> Shortlist:
    return Shortlist(*(np.array(values[name], np.int64) for name in NAMES))


def test_candidates_by_hand() -> None:
    """Token 0 has symbols 5 and 8, token 1 none, token 2 symbol 2."""
    shortlist = of(GOOD)
    assert shortlist.largest == 8
    assert shortlist.candidates([[0, 1]], 10, [9]).tolist() == [1, 5, 8, 9]
    assert shortlist.candidates([[1], [2, 2]], 10, [2, 4]).tolist() == [1, 2, 4]
    assert shortlist.candidates([], 10, []).tolist() == [1]


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "shortlist.npz"
    of(GOOD).save(path)
    found = Shortlist.load(path, 3, 9)
    assert {name: getattr(found, name).tolist() for name in NAMES} == GOOD


@pytest.mark.parametrize(
    ("changes", "sizes", "facts"),
    [
        ({"offsets": [0, 2, 1, 3]}, (3, 9), ["shortlist.npz", "offsets must rise"]),
        ({"offsets": [0, 2, 2, 4]}, (3, 9), ["offsets must rise"]),
        ({"offsets": []}, (3, 9), ["offsets must rise"]),
        ({"symbols": [5, -8, 2]}, (3, 9), ["ids must not be negative"]),
        ({"common": [-1]}, (3, 9), ["ids must not be negative"]),
        ({}, (4, 9), ["4 source tokens", "is for 3"]),
        ({}, (3, 8), ["8 symbols", "has symbol 8"]),
        ({"symbols": [[5, 8, 2]]}, (3, 9), ["must be int32, in one dimension"]),
    ],
)
def test_files_that_do_not_fit(
    changes: Mapping[str, list[int]], sizes: tuple[int, int], facts: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "shortlist.npz"
    arrays = {name: np.array(values, np.int32) for name, values in {**GOOD, **changes}.items()}
    np.savez(path, allow_pickle=False, **arrays)
    with pytest.raises(ValueError, match=names(*facts)):
        Shortlist.load(path, *sizes)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "shortlist.npz"
    for content in (b"", b"PK\x03\x04 no archive", b"text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=names(str(path), "cannot be read")):
            Shortlist.load(path, 3, 9)
    np.savez(path, allow_pickle=True, offsets=np.array([{}], object), symbols=[1], common=[1])
    with pytest.raises(ValueError, match=names(str(path), "cannot be read", "allow_pickle=False")):
        Shortlist.load(path, 3, 9)
    np.savez(path, allow_pickle=False, offsets=np.zeros(1, np.int32))
    with pytest.raises(ValueError, match=names(str(path), "cannot be read", "symbols")):
        Shortlist.load(path, 3, 9)


def test_any_damage(tmp_path: Path) -> None:
    """zipfile, zlib and numpy have errors of their own."""
    path = tmp_path / "shortlist.npz"
    of(GOOD).save(path)
    whole, refused = path.read_bytes(), 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            Shortlist.load(path, 3, 9)
        except ValueError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > len(whole) // 2


@pytest.mark.parametrize("size", [10**12, 10**30])
def test_absurd_sizes(size: int, tmp_path: Path) -> None:
    path = tmp_path / "shortlist.npz"
    header = f"{{'descr': '<i4', 'fortran_order': False, 'shape': ({size},)}}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name in NAMES:
            content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
            archive.writestr(f"{name}.npy", content)
    with pytest.raises(ValueError, match=names(str(path), "cannot be read")):
        Shortlist.load(path, 3, 9)


def test_an_array_alone(tmp_path: Path) -> None:
    path = tmp_path / "shortlist.npz"
    with path.open("wb") as file:
        np.save(file, np.zeros(3, np.int32))
    with pytest.raises(ValueError, match=names(str(path), "cannot be read")):
        Shortlist.load(path, 3, 9)
