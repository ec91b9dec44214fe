"""Sentences to count n-grams in, from data-bin folders and text files, and a model's perplexity on them."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fairseq.data import data_utils

from ..data.dictionary import load_data_bin
from .kneser_ney import BEGIN_ID, END_ID, SPECIAL_WORDS, UNKNOWN_ID, Ints
from .ngram import UNKNOWN, load_ngram_model, ngram_words


class Corpus(NamedTuple):
    """Sentences of an n-gram model.

    Attributes:
        words: the word of every id, ``SPECIAL_WORDS`` first.
        sentences: ids, without <s> and </s>.
    """

    words: list[str]
    sentences: list[Ints]


def read_data_bin(folder: Path, subset: str, target_lang: str | None) -> Corpus:
    """Target side of the part ``subset`` of a data-bin folder; the words are all symbols, seen or not.

    ``target_lang`` None: inferred from the folder's files. Raises a ValueError if the folder has no such language.
    """
    source, target = data_utils.infer_language_pair(str(folder))
    target = target_lang or target
    if source is None or target is None:
        raise ValueError(f"DATA must be a folder made by fairseq-preprocess, but {folder} tells no language pair")
    (dictionary,) = load_data_bin(folder, [target])
    files = sorted(folder.glob(f"{subset}.*.{target}.idx"))
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise ValueError(f"--target-lang must name one side of {subset} in {folder}, but {target} names {found}")
    data = data_utils.load_indexed_dataset(str(files[0].with_suffix("")), dictionary)
    spelt = ngram_words(dictionary)
    words = [*SPECIAL_WORDS, *sorted(set(spelt) - {UNKNOWN})]
    ids = {word: i for i, word in enumerate(words)}
    word_of = np.array([ids[word] for word in spelt], dtype=np.int64)
    symbols = (data[i].numpy() for i in range(len(data)))
    return Corpus(words, [word_of[each[each != dictionary.eos()]] for each in symbols])


def read_text(path: Path, words: Sequence[str] | None = None) -> Corpus:
    """Text file of symbols separated by spaces; ``words`` are the known words (None: those of the file).

    Raises a ValueError if the file is not UTF-8, or contains <s> or </s>.
    """
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            lines = [line.split() for line in file]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8, but is none: {error}") from error
    if words is None:
        words = [*SPECIAL_WORDS, *sorted({word for line in lines for word in line}.difference(SPECIAL_WORDS))]
    ids = {word: i for i, word in enumerate(words)}
    sentences = [np.array([ids.get(word, UNKNOWN_ID) for word in line], dtype=np.int64) for line in lines]
    for number, sentence in enumerate(sentences, start=1):
        if np.isin(sentence, (BEGIN_ID, END_ID)).any():
            raise ValueError(f"{path}, line {number}: must not contain <s> or </s>, which the model adds itself")
    return Corpus(list(words), sentences)


def perplexity(model: Path, corpus: Corpus) -> str:
    """KenLM's perplexity per symbol, including ends of sentences, and the number of unknown symbols, as a line."""
    ngrams = load_ngram_model(str(model))
    found: Counter[bool] = Counter()
    total = 0.0
    for sentence in corpus.sentences:
        for score, _, unknown in ngrams.full_scores(" ".join(corpus.words[i] for i in sentence.tolist())):
            total += score
            found[unknown] += 1
    value = math.exp(-math.log(10) * total / max(1, found.total()))
    return f"perplexity {value:.2f} over {found.total():,} symbols, {found[True]:,} of them unknown"
