"""Storage formats of a data-bin folder: each that works reads what was written, and the rest are refused by name."""

from pathlib import Path

import pytest
import torch
from fairseq.data import indexed_dataset

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.data.parts import joined
from bnb_fairseq.data.storage import FORMATS, NoItems, check_format, open_items

from ...facts import names

ITEMS = [[4, 5, 2], [2], [6, 2]]


def store(prefix: Path, items: list[list[int]], name: str) -> str:
    builder = indexed_dataset.make_builder(f"{prefix}.bin", name, vocab_size=100)
    for item in items:
        builder.add_item(torch.tensor(item))
    builder.finalize(f"{prefix}.idx")
    return str(prefix)


@pytest.mark.parametrize("stored", FORMATS)
@pytest.mark.parametrize("items", [ITEMS, []])
def test_what_was_written_is_read(stored: str, items: list[list[int]], tmp_path: Path) -> None:
    """Without anything having been read ahead: fairseq's trainer reads the first batch as it is."""
    prefix = store(tmp_path / "x", items, stored)
    for name in (stored, None):
        opened = open_items(prefix, BnbDictionary(), name)
        assert opened is not None
        assert [opened[i].tolist() for i in range(len(opened))] == items
        assert opened.sizes.tolist() == [len(item) for item in items]  # type: ignore[attr-defined]


def test_another_format_than_the_stored_one(tmp_path: Path) -> None:
    mapped, indexed = store(tmp_path / "m", ITEMS, "mmap"), store(tmp_path / "i", ITEMS, "lazy")
    for prefix, stored, wrong in ((mapped, "mmap", "cached"), (mapped, "mmap", "lazy"), (indexed, "cached", "mmap")):
        with pytest.raises(ValueError, match=names("--dataset-impl", stored, prefix, wrong)):
            open_items(prefix, BnbDictionary(), wrong)
    assert open_items(str(tmp_path / "nothing"), BnbDictionary()) is None


@pytest.mark.parametrize("stored", ["mmap", "cached"])
def test_a_part_that_is_cut_anywhere(stored: str, tmp_path: Path) -> None:
    prefix = store(tmp_path / "x", ITEMS, stored)
    for suffix in (".idx", ".bin"):
        path = Path(prefix + suffix)
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(ValueError, match=names(f"x{suffix}", "preprocess")):
                open_items(prefix, BnbDictionary())
        path.unlink()
        with pytest.raises(
            ValueError, match=names("x", ".bin", ".idx", f"x{'.bin' if suffix == '.idx' else '.idx'}", "preprocess")
        ):
            open_items(prefix, BnbDictionary())
        path.write_bytes(whole)
    assert open_items(prefix, BnbDictionary()) is not None


@pytest.mark.parametrize("name", ["raw", "fasta", "huffman"])
def test_formats_that_do_not_work(name: str, tmp_path: Path) -> None:
    facts = ("--dataset-impl", "mmap", "cached", "lazy", name)
    with pytest.raises(ValueError, match=names(*facts)):
        check_format(name)
    with pytest.raises(ValueError, match=names(*facts)):
        open_items(str(tmp_path), BnbDictionary(), name)


def test_an_empty_part_beside_others(tmp_path: Path) -> None:
    opened = open_items(store(tmp_path / "x", ITEMS, "cached"), BnbDictionary())
    assert opened is not None
    both = joined([NoItems(), opened, NoItems()])
    dataset = SentencePairDataset(both, BnbDictionary(), both, BnbDictionary())
    assert dataset.supports_prefetch
    dataset.prefetch(range(3))
    assert [dataset[i]["target"].tolist() for i in range(3)] == ITEMS
    assert SentencePairDataset(NoItems(), BnbDictionary(), NoItems(), BnbDictionary()).ordered_indices().tolist() == []
    with pytest.raises(IndexError, match=names("0")):
        NoItems()[0]
