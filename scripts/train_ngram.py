"""Train an n-gram model of the target language, with which a CTC beam search can judge its texts.

DATA is a folder made by fairseq-preprocess, whose target side is read as the symbols of its dictionary, or a text file
of symbols separated by spaces. The model has modified Kneser-Ney smoothing and is written as an ARPA file, which KenLM
reads; with KenLM's own build_binary it can be turned into a file that loads at once.
"""

import argparse
import math
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from fairseq.data import data_utils
from kneser_ney import BEGIN_ID, END_ID, SPECIAL_WORDS, UNKNOWN_ID, Ints, count, smooth, write_arpa

from bnb_fairseq.cli.errors import one_line_errors
from bnb_fairseq.data.dictionary import load_data_bin
from bnb_fairseq.generation.ngram import UNKNOWN, load_ngram_model, ngram_words

LONGEST_ORDER = 6  # that KenLM reads, unless it was built for more


class Corpus(NamedTuple):
    """Sentences of an n-gram model.

    Attributes:
        words: the word of every id, ``SPECIAL_WORDS`` first.
        sentences: ids, without <s> and </s>.
    """

    words: list[str]
    sentences: list[Ints]


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA", help="folder made by fairseq-preprocess, or text file of symbols")
    add("--output", type=Path, required=True, help="ARPA file to write")
    add("--order", type=int, default=5, help="longest n-gram, in symbols (default: 5)")
    add(
        "--min-count",
        type=int,
        default=1,
        help="leave out n-grams of three symbols and more that are seen less often: a smaller file (default: 1, none)",
    )
    add("--subset", default="train", help="part of a folder to train on (default: train)")
    add("--target-lang", help="target language of a folder (default: what its files say)")
    add("--valid", help="part of the folder, or text file, on which to report the perplexity; needs KenLM")
    return parser.parse_args(argv)


def check(arguments: argparse.Namespace) -> None:
    """See that the arguments make sense, before anything is loaded.

    Args:
        arguments: the command line.

    Raises:
        ValueError: naming every option that does not, its constraint and its value.
    """
    problems = []
    data, valid = arguments.data, arguments.valid
    if not 1 <= arguments.order <= LONGEST_ORDER:
        problems.append(f"--order must be from 1 to {LONGEST_ORDER}, but is {arguments.order}")
    if arguments.min_count < 1:
        problems.append(f"--min-count must be at least 1, but is {arguments.min_count}")
    if data.is_dir():
        parts = sorted({path.name.split(".")[0] for path in data.glob("*.idx")})
        for name, part in (("--subset", arguments.subset), ("--valid", valid)):
            if part is not None and part not in parts:
                problems.append(f"{name} must be a part of {data} ({', '.join(parts) or 'it has none'}), but is {part}")
    elif not data.is_file():
        problems.append(f"DATA must be a folder made by fairseq-preprocess or a text file, but there is no {data}")
    elif valid is not None and not Path(valid).is_file():
        problems.append(f"--valid must be a text file as DATA is, but there is no file {valid}")
    if arguments.output.is_dir() or not arguments.output.parent.is_dir():
        problems.append(f"--output must be a file in a folder that exists, but is {arguments.output}")
    elif data.is_file() and arguments.output.exists() and arguments.output.samefile(data):
        problems.append(f"--output must not be DATA, but both are {data}")
    if valid is not None:
        try:
            import kenlm  # noqa: F401  # rather missed now than after the training
        except ImportError:
            problems.append("--valid needs KenLM (pip install kenlm), but it is not installed")
    if problems:
        raise ValueError("; ".join(problems))


def read_data_bin(folder: Path, subset: str, target_lang: str | None) -> Corpus:
    """Read the target side of a data-bin folder.

    Args:
        folder: the folder.
        subset: name of the part.
        target_lang: the target language; None: what the folder's files say.

    Returns:
        The sentences; the words are all symbols of the dictionary, seen or not.

    Raises:
        ValueError: if the folder has no such language.
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
    """Read a text file of symbols separated by spaces.

    Args:
        path: the file.
        words: the words that are known; None: those of the file.

    Returns:
        The sentences.

    Raises:
        ValueError: if the text contains <s> or </s>, or is no text.
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
    """Measure a model on a text, by KenLM.

    Args:
        model: the ARPA file.
        corpus: the text.

    Returns:
        The perplexity of a symbol, ends of sentences counted, and how many were unknown.
    """
    ngrams = load_ngram_model(str(model))
    found: Counter[bool] = Counter()
    total = 0.0
    for sentence in corpus.sentences:
        for score, _, unknown in ngrams.full_scores(" ".join(corpus.words[i] for i in sentence.tolist())):
            total += score
            found[unknown] += 1
    value = math.exp(-math.log(10) * total / max(1, found.total()))
    return f"perplexity {value:.2f} over {found.total():,} symbols, {found[True]:,} of them unknown"


def run(arguments: argparse.Namespace) -> None:
    """Train a model and report.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    check(arguments)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {line}", flush=True)

    is_folder = arguments.data.is_dir()
    if is_folder:
        corpus = read_data_bin(arguments.data, arguments.subset, arguments.target_lang)
    else:
        corpus = read_text(arguments.data)
    symbols = sum(map(len, corpus.sentences))
    if not symbols:
        raise ValueError(f"DATA must contain symbols, but {arguments.data} has none")
    say(f"read: {len(corpus.sentences):,} sentences, {symbols:,} symbols, {len(corpus.words):,} different ones")
    counted = []
    for counts in count(corpus.sentences, arguments.order, len(corpus.words)):
        counted.append(counts)
        say(f"counted: {len(counts.words):,} n-grams of order {len(counted)}")
    orders = smooth(counted, arguments.min_count)
    for n, order in enumerate(orders, start=1):
        remark = " (fixed: the text is too small to estimate them)" if order.fell_back else ""
        say(f"order {n}: discounts {', '.join(f'{discount:.3f}' for discount in order.discounts)}{remark}")
    write_arpa(orders, corpus.words, arguments.output, say)
    say(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:,.1f} MB")
    if arguments.valid is not None:
        held_out = (
            read_data_bin(arguments.data, arguments.valid, arguments.target_lang)
            if is_folder
            else read_text(Path(arguments.valid), corpus.words)
        )
        say(f"{arguments.valid}: {perplexity(arguments.output, held_out)}")


def main() -> None:
    """Run; an error is one line."""
    with one_line_errors("train_ngram", ValueError, OSError, ImportError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
