"""Batches of sentence pairs, worked out by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq.data import FairseqDataset, indexed_dataset
from torch import Tensor

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset, keep_fitting, load_pair

from ...facts import names

MakeDataset = Callable[..., SentencePairDataset]
SOURCE_BOS, SOURCE_PAD, SOURCE_EOS = 0, 1, 2
TARGET_PAD, TARGET_BOS, TARGET_EOS = 2, 1, 3
SOURCES, TARGETS = [3, 1, 0, 3, 1], [2, 4, 1, 1, 4]  # words in each sentence


def sentences(words: Sequence[int], eos: int) -> list[Tensor]:
    """Sentence i holds the words 10i, 10i + 1, ... from 10 on."""
    starts = range(10, 10 * len(words) + 10, 10)
    return [
        torch.tensor([*range(start, start + n), eos], dtype=torch.int32) for start, n in zip(starts, words, strict=True)
    ]


@pytest.fixture(scope="module")
def dictionaries(tmp_path_factory: pytest.TempPathFactory) -> tuple[BnbDictionary, BnbDictionary]:
    """A plain source dictionary, and a target dictionary whose special symbols have other ids."""
    folder = tmp_path_factory.mktemp("target")
    (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n[PAD]\n[SEP]\n[MASK]\na\n")
    source = BnbDictionary()
    source.add_mask()
    return source, load_dictionary(str(folder))


@pytest.fixture
def make(dictionaries: tuple[BnbDictionary, BnbDictionary]) -> MakeDataset:
    def build(
        sources: Sequence[int] = SOURCES,
        targets: Sequence[int] | None = TARGETS,
        target_bos: bool = True,
        shuffle: bool = False,
        longest_source: int | None = None,
    ) -> SentencePairDataset:
        target = None if targets is None else sentences(targets, TARGET_EOS)
        source = sentences(sources, SOURCE_EOS)
        return SentencePairDataset(
            source, dictionaries[0], target, dictionaries[1], target_bos, shuffle, longest_source
        )

    return build


def test_batch_of_a_non_autoregressive_model(make: MakeDataset) -> None:
    dataset = make()
    batch = dataset.collater([dataset[1], dataset[0]])
    assert sorted(batch) == ["id", "net_input", "nsentences", "ntokens", "target"]
    assert batch["id"].tolist() == [1, 0]
    assert batch["nsentences"] == 2
    assert batch["ntokens"] == 5 + 3
    assert sorted(batch["net_input"]) == ["src_lengths", "src_tokens"]
    assert batch["net_input"]["src_tokens"].tolist() == [[0, 20, 2, 1, 1], [0, 10, 11, 12, 2]]
    assert batch["net_input"]["src_lengths"].tolist() == [3, 5]
    assert batch["target"].tolist() == [[20, 21, 22, 23, 3], [10, 11, 3, 2, 2]], "[CLS] is no part of what is scored"
    tensors = (batch["id"], batch["target"], *batch["net_input"].values())
    assert {tensor.dtype for tensor in tensors} == {torch.int64}


def test_batch_of_an_autoregressive_model(make: MakeDataset) -> None:
    dataset = make(target_bos=False)
    batch = dataset.collater([dataset[1], dataset[0]])
    assert batch["target"].tolist() == [[20, 21, 22, 23, 3], [10, 11, 3, 2, 2]]
    assert batch["net_input"]["prev_output_tokens"].tolist() == [[1, 20, 21, 22, 23], [1, 10, 11, 2, 2]]
    assert batch["ntokens"] == 5 + 3
    assert [dataset.size(i) for i in range(5)] == [(5, 3), (3, 5), (2, 2), (5, 2), (3, 5)]


def test_batch_without_targets(make: MakeDataset) -> None:
    dataset = make(targets=None)
    batch = dataset.collater([dataset[0], dataset[2]])
    assert batch["target"] is None
    assert batch["net_input"]["src_tokens"].tolist() == [[0, 10, 11, 12, 2], [0, 2, 1, 1, 1]]
    assert batch["ntokens"] == 7
    assert sorted(batch["net_input"]) == ["src_lengths", "src_tokens"]
    assert dataset.collater([]) == {}


def test_sizes(make: MakeDataset) -> None:
    """The canvas of a target holds [CLS], too."""
    dataset = make()
    assert len(dataset) == 5
    assert [dataset.size(i) for i in range(5)] == [(5, 4), (3, 6), (2, 3), (5, 3), (3, 6)]
    for i in range(5):
        assert dataset.size(i) == (len(dataset[i]["source"]), 1 + len(dataset[i]["target"]))
        assert dataset.num_tokens(i) == max(dataset.size(i))
    assert dataset.num_tokens_vec(np.array([0, 1, 2])).tolist() == [5, 6, 3]
    alone = make(targets=None)
    assert alone.size(0) == (5, 0)
    assert alone.num_tokens_vec(np.array([0, 1, 2])).tolist() == [5, 3, 2]


def test_order_is_by_source_then_target_length(make: MakeDataset) -> None:
    """Sources 5 3 2 5 3, targets 4 6 3 3 6: sentences 1 and 4 tie, and stay in order."""
    assert make().ordered_indices().tolist() == [2, 1, 4, 3, 0]
    assert make(targets=None).ordered_indices().tolist() == [2, 1, 4, 0, 3]


def test_only_ties_are_shuffled(make: MakeDataset) -> None:
    dataset = make(shuffle=True)
    orders = set()
    for seed in range(20):
        np.random.seed(seed)
        orders.add(tuple(dataset.ordered_indices().tolist()))
    assert orders == {(2, 1, 4, 3, 0), (2, 4, 1, 3, 0)}


@pytest.mark.parametrize(("max_tokens", "max_sentences"), [(None, 8), (None, 10), (60, None), (100, 12), (None, 64)])
def test_no_sentence_is_lost_in_batches(max_tokens: int | None, max_sentences: int | None, make: MakeDataset) -> None:
    lost_by_fairseq = 0
    for count in range(1, 70):
        words = [1 + i % 7 for i in range(count)]
        dataset = make(words, words)
        order = dataset.ordered_indices()
        batches = dataset.batch_by_size(order, max_tokens, max_sentences, required_batch_size_multiple=8)
        assert np.concatenate(batches).tolist() == order.tolist()
        for batch in batches:
            assert 0 < len(batch) <= (max_sentences or count)
            assert len(batch) * max(dataset.num_tokens(i) for i in batch) <= (max_tokens or 10_000)
        theirs = FairseqDataset.batch_by_size(dataset, order, max_tokens, max_sentences, 8)
        lost_by_fairseq += count - sum(map(len, theirs))
    if (max_tokens, max_sentences) == (None, 10):
        assert lost_by_fairseq > 0, "fairseq no longer drops sentences: batch_by_size need not be overridden"


def test_filter_by_size(make: MakeDataset) -> None:
    """Sizes are (5, 4), (3, 6), (2, 3), (5, 3), (3, 6)."""
    kept, ignored = make().filter_indices_by_size(np.arange(5), (4, 6))
    assert (kept.tolist(), ignored) == ([1, 2, 4], [0, 3])
    kept, ignored = make().filter_indices_by_size(np.array([4, 2, 0]), (5, 5))
    assert (kept.tolist(), ignored) == ([2, 0], [4])
    kept, ignored = make(targets=None).filter_indices_by_size(np.arange(5), (3, 1))
    assert (kept.tolist(), ignored) == ([1, 2, 4], [0, 3])


def test_what_does_not_fit_is_refused(make: MakeDataset) -> None:
    dataset = make()
    everything = np.arange(5)
    assert keep_fitting(dataset, everything, (5, 6), skip=False).tolist() == [0, 1, 2, 3, 4]
    facts = (
        "2",
        "5",
        "1",
        "5",
        "<unk>",
        "3",
        "6",
        "--max-source-positions",
        "--max-target-positions",
        "5",
        "5",
        "--truncate-source",
        "--skip-invalid-size-inputs-valid-test",
    )
    with pytest.raises(ValueError, match=names(*facts)):
        keep_fitting(dataset, np.array([4, 3, 2, 1, 0]), (5, 5), skip=False)


def test_what_does_not_fit_is_left_out_with_a_warning(make: MakeDataset, caplog: pytest.LogCaptureFixture) -> None:
    kept = keep_fitting(make(), np.array([4, 3, 2, 1, 0]), (4, 6), skip=True)
    assert kept.tolist() == [4, 2, 1]
    expected = (
        "2 of 5 sentences are too long; sentence 0 of 5, '<unk> <unk> <unk>', has source and target lengths (5, 4)"
    )
    assert expected in caplog.text
    assert caplog.text.rstrip().endswith("they are left out")


@pytest.mark.parametrize(("words", "shown"), [(10, "<unk> " * 9 + "<unk>"), (11, "<unk> " * 10 + "...")])
def test_beginning_of_what_does_not_fit(words: int, shown: str, make: MakeDataset) -> None:
    """Ten times ``<unk>`` are 59 characters, of which 60 are shown."""
    with pytest.raises(ValueError, match=names("0", "1", shown)):
        keep_fitting(make([words], None), np.arange(1), (5, 5), skip=False)


@pytest.mark.parametrize("longest", [3, 4, 5, 6])
def test_truncated_source(longest: int, make: MakeDataset) -> None:
    """[CLS] and [SEP] count and stay; recorded lengths are those of the items."""
    dataset = make(longest_source=longest)
    expected = [[0, *range(10, 10 + min(3, longest - 2)), 2], [0, 20, 2], [0, 2]]
    assert [dataset[i]["source"].tolist() for i in range(3)] == expected
    assert dataset.source_sizes.tolist() == [len(dataset[i]["source"]) for i in range(5)]
    assert [len(dataset[i]["target"]) for i in range(5)] == [3, 5, 2, 2, 5]


@pytest.mark.parametrize(("longest", "cut"), [(2, 4), (3, 2), (4, 2), (5, 0), (6, 0)])
def test_cut_sources_are_counted(longest: int, cut: int, make: MakeDataset) -> None:
    """Sources of 5, 3, 2, 5 and 3 tokens."""
    dataset = make(longest_source=longest)
    assert dataset.cut_sources == cut == sum(size > longest for size in (5, 3, 2, 5, 3))
    assert dataset.describe_cut() == f"{cut} of 5 sources ({20 * cut}.0%) cut to {longest} tokens"


def test_count_of_many_and_of_none(make: MakeDataset) -> None:
    many = make(sources=[3] * 1234 + [1] * 26469, targets=None, longest_source=4)
    assert many.describe_cut() == "1,234 of 27,703 sources (4.5%) cut to 4 tokens"
    assert make().cut_sources == 0
    assert make(sources=[], targets=None, longest_source=4).describe_cut() == "0 of 0 sources (0.0%) cut to 4 tokens"


def write_side(path: Path, items: list[Tensor], implementation: str = "mmap") -> None:
    builder = indexed_dataset.make_builder(f"{path}.bin", implementation, vocab_size=100)
    for item in items:
        builder.add_item(item)
    builder.finalize(f"{path}.idx")


@pytest.mark.parametrize("pair", ["en-de", "de-en"])
@pytest.mark.parametrize("implementation", ["mmap", "cached"])
def test_load_pair(
    pair: str, implementation: str, tmp_path: Path, dictionaries: tuple[BnbDictionary, BnbDictionary]
) -> None:
    """The folder may have been made for the opposite direction."""
    sides = {"en": sentences([3, 1], SOURCE_EOS), "de": sentences([1, 4], TARGET_EOS)}
    for language, items in sides.items():
        write_side(tmp_path / f"valid.{pair}.{language}", items, implementation)
    loaded = load_pair(tmp_path, "valid", ("en", "de"), dictionaries)
    dataset = SentencePairDataset(loaded.source, dictionaries[0], loaded.target, dictionaries[1], longest_source=4)
    if dataset.supports_prefetch:
        dataset.prefetch([0, 1])
    assert dataset.supports_prefetch == (implementation == "cached")
    assert [dataset[i]["source"].tolist() for i in (0, 1)] == [[0, 10, 11, 2], [0, 20, 2]]
    assert [dataset[i]["target"].tolist() for i in (0, 1)] == [[10, 3], [20, 21, 22, 23, 3]]
    assert [dataset.size(i) for i in (0, 1)] == [(4, 3), (3, 6)]


def test_load_pair_without_a_target(tmp_path: Path, dictionaries: tuple[BnbDictionary, BnbDictionary]) -> None:
    write_side(tmp_path / "test.en-de.en", sentences([3, 1], SOURCE_EOS))
    pair = load_pair(tmp_path, "test", ("en", "de"), dictionaries)
    assert pair.target is None
    assert [item.tolist() for item in pair.source] == [[10, 11, 12, 2], [20, 2]]


def test_unequal_counts(tmp_path: Path, dictionaries: tuple[BnbDictionary, BnbDictionary]) -> None:
    write_side(tmp_path / "valid.en-de.en", sentences([1] * 1200, SOURCE_EOS))
    write_side(tmp_path / "valid.en-de.de", sentences([1, 4], TARGET_EOS))
    facts = (f"{tmp_path}/valid.en-de.en", "1,200", f"{tmp_path}/valid.en-de.de", "2")
    with pytest.raises(ValueError, match=names(*facts)):
        load_pair(tmp_path, "valid", ("en", "de"), dictionaries)


def test_missing_part(tmp_path: Path, dictionaries: tuple[BnbDictionary, BnbDictionary]) -> None:
    write_side(tmp_path / "valid.en-de.en", sentences([1], SOURCE_EOS))
    with pytest.raises(FileNotFoundError, match=names("dev.en-de.en", tmp_path)):
        load_pair(tmp_path, "dev", ("en", "de"), dictionaries)
