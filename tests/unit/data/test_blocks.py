"""Blocks: every token of a corpus once, in order, and none of two documents in one block."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from bnb_fairseq.data.blocks import DocumentBlocks

from ...facts import names

SEP = 2


class Lines(list[Tensor]):
    """Lines of running numbers from 10, ended by [SEP]."""

    def __init__(self, lengths: Sequence[int]) -> None:
        first = 10
        for length in lengths:
            self.append(torch.tensor([*range(first, first + length), SEP], dtype=torch.int32))
            first += length
        self.sizes = np.array([length + 1 for length in lengths], dtype=np.int32)


def texts(blocks: DocumentBlocks) -> list[list[int]]:
    return [blocks[i].tolist() for i in range(len(blocks))]


def test_lines_as_documents() -> None:
    blocks = DocumentBlocks(Lines([3, 7, 1]), 3, by_line=True)
    assert texts(blocks) == [[10, 11, 12, 2], [13, 14, 15, 2], [16, 17, 2], [18, 19, 2], [20, 2]]
    assert blocks.sizes.tolist() == [4, 4, 3, 3, 2]
    assert blocks.first_lines.tolist() == [1, 2, 2, 2, 3]
    assert blocks[1].dtype == torch.int32


def test_empty_lines_end_documents() -> None:
    blocks = DocumentBlocks(Lines([2, 3, 0, 1, 0, 4, 1, 2]), 4, by_line=False)
    assert texts(blocks) == [[10, 11, 12, 2], [13, 14, 2], [15, 2], [16, 17, 18, 19, 2], [20, 21, 22, 2]]
    assert blocks.first_lines.tolist() == [1, 1, 4, 6, 6]


@pytest.mark.parametrize("lengths", [[5], [5, 0], [2, 3], [2, 3, 0]])
def test_a_whole_document_in_one_block(lengths: list[int]) -> None:
    assert texts(DocumentBlocks(Lines(lengths), 5, by_line=False)) == [[10, 11, 12, 13, 14, 2]]


def test_random_corpora_against_a_plain_loop() -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        lengths = [int(n) for n in random.integers(1, 9, size=random.integers(1, 12))]
        for position in sorted(random.permutation(len(lengths))[: len(lengths) // 3], reverse=True):
            if position:
                lengths.insert(int(position), 0)
        lines, longest = Lines(lengths), int(random.integers(1, 12))
        documents: list[list[int]] = [[]]
        for line in lines:
            if len(line) == 1:
                documents.append([])
            documents[-1] += line[:-1].tolist()
        expected = []
        for document in documents:
            pieces = -(-len(document) // longest)
            expected += [[*part.tolist(), SEP] for part in np.array_split(document, pieces)]
        blocks = DocumentBlocks(lines, longest, by_line=False)
        assert texts(blocks) == expected
        assert blocks.sizes.tolist() == [len(block) for block in expected]
        assert max(blocks.sizes) <= longest + 1


@pytest.mark.parametrize(("lengths", "line"), [([0, 3], 1), ([3, 0, 0, 2], 3), ([3, 0, 2, 0, 0], 5)])
def test_empty_documents(lengths: list[int], line: int) -> None:
    with pytest.raises(ValueError, match=names(f"line {line}", "document")):
        DocumentBlocks(Lines(lengths), 4, by_line=False)


def test_empty_lines_that_would_be_documents() -> None:
    with pytest.raises(ValueError, match=names("line 2", "--sample-break-mode", "eos")):
        DocumentBlocks(Lines([3, 0, 2, 0]), 4, by_line=True)
