"""Vocabularies for a seed checkpoint, which holds none itself."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from ..data.dictionary import BnbDictionary, SubwordDictionary, load_dictionary
from ..data.subword import BERT_SPECIALS
from ..data.wordpiece import WordPiece
from .seed_config import SIDES, SpecialIds, special_ids

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
OPTIONS = {"encoder": "--source-vocab", "decoder": "--target-vocab"}

logger = logging.getLogger(__name__)


def numbered_dictionary(size: int, ids: SpecialIds) -> BnbDictionary:
    """Make a dictionary of numbers: symbol i is the word "w" followed by i, so that "w76 w57" has the ids 76 and 57.

    Args:
        size: number of symbols.
        ids: ids of [PAD], [CLS] and [SEP]; [UNK] takes the lowest of the others, [MASK] the highest. If the checkpoint
            used these as words, a text can still name them like any other.

    Returns:
        A WordPiece dictionary.

    Raises:
        ValueError: if the special symbols do not fit.
    """
    free = sorted(set(range(size)) - set(ids))
    if len(set(ids)) < len(ids) or max(ids) >= size or len(free) < 2:
        raise ValueError(
            f"a vocabulary of {size} symbols cannot have [PAD], [CLS] and [SEP] at {', '.join(map(str, ids))}"
        )
    names = [BERT_SPECIALS.pad, BERT_SPECIALS.bos, BERT_SPECIALS.eos, BERT_SPECIALS.unk, BERT_SPECIALS.mask]
    specials = dict(zip((*ids, free[0], free[-1]), names, strict=True))
    symbols = {specials.get(i, f"w{i}"): i for i in range(size)}
    tokenizer = Tokenizer(models.WordPiece(symbols, unk_token=BERT_SPECIALS.unk))
    chosen = {i: symbol for i, symbol in specials.items() if i not in ids}
    words = [normalizers.Replace(Regex(rf"(?<!\S)w{i}(?!\S)"), symbol) for i, symbol in chosen.items()]
    tokenizer.normalizer = normalizers.Sequence(words)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return SubwordDictionary(WordPiece(tokenizer, "numbered vocabulary"))


def choose_dictionaries(
    config: Mapping[str, Any], directory: Path, source: str | None, target: str | None
) -> list[BnbDictionary]:
    """Load the source and target vocabulary of a seed checkpoint.

    Args:
        config: the checkpoint's configuration.
        directory: the checkpoint's folder, whose tokenizer, if any, is the default.
        source: as for ``load_dictionary``, or None.
        target: the same.

    Returns:
        Source and target dictionary; with a warning numbered ones if there is no tokenizer.

    Raises:
        ValueError: listing every way in which they do not fit the checkpoint.
    """
    own = str(directory) if any((directory / name).is_file() for name in TOKENIZER_FILES) else None
    dictionaries, problems = [], []
    for side, named in zip(SIDES, (source, target), strict=True):
        origin = named or own
        size = int(config[side]["vocab_size"])
        if origin is None:
            logger.warning(
                "%s has no tokenizer and %s is not given: symbol i is the word w<i>", directory, OPTIONS[side]
            )
            dictionaries.append(numbered_dictionary(size, special_ids(config)))
            continue
        dictionary = _load(origin, OPTIONS[side])
        dictionaries.append(dictionary)
        problems += _misfits(dictionary, OPTIONS[side], origin, size, special_ids(config), side == "decoder")
    if problems:
        raise ValueError("; ".join(problems))
    return dictionaries


def _load(origin: str, option: str) -> BnbDictionary:
    try:
        return load_dictionary(origin)
    except ValueError as error:
        raise ValueError(
            f"{option} must name a BERT vocabulary, but is {origin}: {error.__cause__ or error}"
        ) from error


def _misfits(
    dictionary: BnbDictionary, option: str, origin: str, size: int, ids: SpecialIds, is_target: bool
) -> list[str]:
    """Differences of a vocabulary from the configuration, which has [CLS] and [SEP] of the target only."""
    problems = []
    if len(dictionary) != size:
        problems.append(f"{option} must have the checkpoint's {size:,} symbols, but {origin} has {len(dictionary):,}")
    found = {BERT_SPECIALS.pad: (dictionary.pad(), ids.pad)}
    if is_target:
        found |= {BERT_SPECIALS.bos: (dictionary.bos(), ids.bos), BERT_SPECIALS.eos: (dictionary.eos(), ids.eos)}
    for symbol, (has, wanted) in found.items():
        if has != wanted:
            problems.append(f"{option} must have {symbol} at id {wanted}, but {origin} has it at {has}")
    return problems
