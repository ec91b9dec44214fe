"""Pairs of source and target sentences, each side with its own special symbols."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq.data import data_utils
from numpy.typing import NDArray
from torch import Tensor

from .dictionary import BnbDictionary
from .raw_texts import load_references
from .storage import open_items
from .whole_batches import WholeBatches

logger = logging.getLogger(__name__)

Sample = dict[str, Any]
SPECIAL_SYMBOLS = 2  # [CLS] and [SEP] around every sentence


class TruncatedSentences(Sequence[Tensor]):
    """Sentences cut to a length, their last symbol kept.

    Args:
        sentences: items ending in [SEP].
        longest: longest item, including [SEP].

    Attributes:
        sizes: lengths after the cut.
        cut: number of sentences that were longer.
    """

    def __init__(self, sentences: Sequence[Tensor], longest: int) -> None:
        self._sentences = sentences
        self._longest = longest
        whole = sizes_of(sentences)
        self.sizes = np.minimum(whole, longest)
        self.cut = int((whole > longest).sum())

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, index: Any) -> Any:
        sentence = self._sentences[index]
        cut = len(sentence) > self._longest
        return torch.cat([sentence[: self._longest - 1], sentence[-1:]]) if cut else sentence

    @property
    def supports_prefetch(self) -> bool:
        """Whether the sentences can be read ahead."""
        return bool(getattr(self._sentences, "supports_prefetch", False))

    def prefetch(self, indices: Sequence[int]) -> None:
        """Read sentences ahead."""
        self._sentences.prefetch(indices)  # type: ignore[attr-defined]


class SentencePairDataset(WholeBatches):
    """Sentence pairs as [CLS] ... [SEP], padded on the right.

    Unlike fairseq's ``LanguagePairDataset``, it allows two dictionaries with different ids for padding and the other
    special symbols, as two BERTs have.

    Args:
        source: source sentences, items ending in [SEP].
        source_dictionary: their dictionary.
        target: target sentences in the same order, or None.
        target_dictionary: their dictionary.
        target_bos: True: the model writes [CLS], too, which counts in lengths, and there is no ``prev_output_tokens``
            (non-autoregressive); False: ``prev_output_tokens`` is the target shifted right behind [CLS]. The target of
            items and batches never has [CLS], since ``fairseq-generate`` scores it as it is.
        shuffle: shuffle sentences of equal length.
        longest_source: cut sources to this many tokens, including [CLS] and [SEP], at least 2; None: no cut.
        target_texts: raw text of the targets; None: unknown.

    Attributes:
        cut_sources: number of sources that were cut.
    """

    def __init__(
        self,
        source: Sequence[Tensor],
        source_dictionary: BnbDictionary,
        target: Sequence[Tensor] | None,
        target_dictionary: BnbDictionary,
        target_bos: bool = True,
        shuffle: bool = True,
        longest_source: int | None = None,
        target_texts: Sequence[str] | None = None,
    ) -> None:
        self.source, self.cut_sources = source, 0
        if longest_source is not None:
            self.source = shortened = TruncatedSentences(source, longest_source - 1)
            self.cut_sources = shortened.cut
        self.longest_source = longest_source
        self.target, self.target_texts = target, target_texts
        self.source_dictionary, self.target_dictionary = source_dictionary, target_dictionary
        self.target_bos = target_bos
        self.shuffle = shuffle
        self.source_sizes = sizes_of(self.source) + 1
        self.target_sizes = None if target is None else sizes_of(target) + int(target_bos)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        item: Sample = {"id": index, "source": prepend(self.source_dictionary.bos(), self.source[index])}
        if self.target is not None:
            item["target"] = self.target[index].long()
        return item

    def collater(self, samples: list[Sample]) -> Sample:
        """A batch in fairseq's form; empty for no items.

        It has ``id`` B, ``net_input`` with ``src_tokens`` B x S and ``src_lengths`` B, ``target`` B x T or None,
        ``ntokens`` and ``nsentences``; ``target_texts``, B, if known.
        """
        if not samples:
            return {}
        sources = [item["source"] for item in samples]
        net_input = {
            "src_tokens": data_utils.collate_tokens(sources, self.source_dictionary.pad()),
            "src_lengths": torch.tensor([len(source) for source in sources]),
        }
        batch: Sample = {
            "id": torch.tensor([item["id"] for item in samples]),
            "nsentences": len(samples),
            "ntokens": sum(map(len, sources)),
            "net_input": net_input,
            "target": None,
        }
        if self.target is not None:
            targets = [item["target"] for item in samples]
            batch["target"] = data_utils.collate_tokens(targets, self.target_dictionary.pad())
            batch["ntokens"] = sum(map(len, targets))
            if self.target_texts is not None:
                batch["target_texts"] = [self.target_texts[item["id"]] for item in samples]
            if not self.target_bos:
                shifted = [prepend(self.target_dictionary.bos(), target[:-1]) for target in targets]
                net_input["prev_output_tokens"] = data_utils.collate_tokens(shifted, self.target_dictionary.pad())
        return batch

    def describe_cut(self) -> str:
        """Number and share of the sources that were cut, and their length after it."""
        share = self.cut_sources / max(len(self), 1)
        return f"{self.cut_sources:,} of {len(self):,} sources ({share:.1%}) cut to {self.longest_source} tokens"

    def num_tokens(self, index: int) -> int:
        """The longer side's length, by which ``--max-tokens`` limits a batch."""
        return int(self.num_tokens_vec(np.asarray([index]))[0])

    def num_tokens_vec(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """``num_tokens`` of many items."""
        sizes = self.source_sizes[indices]
        return sizes if self.target_sizes is None else np.maximum(sizes, self.target_sizes[indices])

    def size(self, index: int) -> tuple[int, int]:
        """Lengths of source and target (0 without one)."""
        return int(self.source_sizes[index]), 0 if self.target_sizes is None else int(self.target_sizes[index])

    def ordered_indices(self) -> NDArray[np.int64]:
        """Items sorted by source, then target length, ties in random or original order."""
        indices = np.random.permutation(len(self)) if self.shuffle else np.arange(len(self))
        if self.target_sizes is not None:
            indices = indices[np.argsort(self.target_sizes[indices], kind="stable")]
        return indices[np.argsort(self.source_sizes[indices], kind="stable")]

    def filter_indices_by_size(
        self, indices: NDArray[np.int64], max_sizes: tuple[int, int]
    ) -> tuple[NDArray[np.int64], list[int]]:
        """Items within the largest source and target length, and the others."""
        kept, ignored = data_utils.filter_paired_dataset_indices_by_size(
            self.source_sizes, self.target_sizes, indices, max_sizes
        )
        return kept, list(ignored)

    @property
    def supports_prefetch(self) -> bool:
        """Whether the underlying data can be read ahead."""
        sides = [self.source] if self.target is None else [self.source, self.target]
        return all(getattr(side, "supports_prefetch", False) for side in sides)

    def prefetch(self, indices: Sequence[int]) -> None:
        """Read items ahead."""
        for side in (self.source, self.target):
            if side is not None:
                side.prefetch(indices)  # type: ignore[attr-defined]


def sizes_of(items: Sequence[Tensor]) -> NDArray[np.int64]:
    """Lengths of N items, which fairseq's data sets know without reading them."""
    sizes = getattr(items, "sizes", None)
    return np.asarray([len(item) for item in items] if sizes is None else sizes, dtype=np.int64)


def prepend(symbol: int, tokens: Tensor) -> Tensor:
    """A symbol and N ids: N + 1 ids, int64."""
    return torch.cat([torch.tensor([symbol]), tokens.long()])


class SentencePairs(NamedTuple):
    """Binarized sentences of a data-bin folder, each ending in [SEP]; None for a side that the folder lacks.

    ``target_texts`` are the targets as raw text.
    """

    source: Sequence[Tensor]
    target: Sequence[Tensor] | None
    target_texts: Sequence[str] | None = None


def load_pair(
    folder: Path,
    split: str,
    languages: tuple[str, str],
    dictionaries: tuple[BnbDictionary, BnbDictionary],
    dataset_impl: str | None = None,
) -> SentencePairs:
    """Open the part ``split`` of a data-bin folder, with source and target language and dictionary.

    Args:
        folder: the folder.
        split: name of the part.
        languages: source and target language.
        dictionaries: source and target dictionary.
        dataset_impl: fairseq's storage format; None: inferred from the files.

    Returns:
        The sentences.

    Raises:
        FileNotFoundError: if the part does not exist.
        ValueError: if source and target differ in number, or the format is not supported.
    """
    source_lang, target_lang = languages
    for pair in (f"{source_lang}-{target_lang}", f"{target_lang}-{source_lang}"):
        prefix = str(folder / f"{split}.{pair}.")
        source = open_items(prefix + source_lang, dictionaries[0], dataset_impl)
        if source is not None:
            break
    else:
        raise FileNotFoundError(f"no {split}.{source_lang}-{target_lang}.{source_lang} in {folder}")
    target = open_items(prefix + target_lang, dictionaries[1], dataset_impl)
    if target is not None and len(source) != len(target):
        raise ValueError(
            f"{prefix}{source_lang} has {len(source):,} sentences, {prefix}{target_lang} {len(target):,}; source and "
            f"target need the same number, so preprocess them again"
        )
    logger.info("%s%s: %d sentences", prefix, source_lang, len(source))
    texts = None if target is None else load_references(Path(prefix + target_lang), len(target))
    return SentencePairs(source, target, texts)


def keep_fitting(
    dataset: SentencePairDataset, indices: NDArray[np.int64], longest: tuple[int, int], skip: bool
) -> NDArray[np.int64]:
    """Items whose source and target have at most ``longest`` tokens.

    Others are left out with a warning if ``skip``; else a ValueError names the first, its lengths and the limits.
    """
    kept, ignored = dataset.filter_indices_by_size(indices, longest)
    if ignored:
        first = min(ignored)
        source = dataset.source_dictionary.text(dataset.source[first], str(dataset.source_dictionary.unk_word))
        shown = source if len(source) <= 60 else f"{source[:60]}..."  # fairseq-interactive restarts its numbers
        message = (
            f"{len(ignored):,} of {len(indices):,} sentences are too long; sentence {first} of {len(dataset):,}, "
            f"{shown!r}, has source and target lengths {dataset.size(first)}, but --max-source-positions, "
            f"--max-target-positions and the model's positions allow {tuple(longest)} tokens"
        )
        if not skip:
            raise ValueError(
                f"{message}; --truncate-source cuts sources, --skip-invalid-size-inputs-valid-test leaves them out"
            )
        logger.warning("%s; they are left out", message)
    return kept
