"""An n-gram language model in KenLM, which scores the texts of a beam search."""

import bz2
import gzip
import logging
import lzma
import math
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from ..data.subword import Specials

Array = NDArray[Any]

logger = logging.getLogger(__name__)

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
BINARY = b"mmap lm http://kheafield.com/code"  # start of KenLM's own files
COMPRESSED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
LARGEST_COMPRESSION = 2000  # bytes of text in a byte of a compressed file
HEADER_BYTES = 4096
SHORTEST_LINE = 4  # bytes of an n-gram: a number, a tab, a letter, a line end
CACHED_PAIRS = 1 << 16  # a text's state and a token; about 200 bytes each. 16 times as many save no time


class FileVersion(NamedTuple):
    """A file at one moment; a change makes another version."""

    path: str
    modified: int
    size: int
    inode: int


def file_version(path: str) -> FileVersion | None:
    """Version of a file; None if there is none."""
    file = Path(path)
    if not file.is_file():
        return None
    state = file.stat()
    return FileVersion(str(file.resolve()), state.st_mtime_ns, state.st_size, state.st_ino)


class NgramModel:
    """A model in memory.

    Args:
        kenlm: KenLM's model.
    """

    def __init__(self, kenlm: Any) -> None:
        self.kenlm = kenlm


# Shared by scorers. A model is freed with the last scorer that uses it.
_in_memory: WeakValueDictionary[FileVersion, NgramModel] = WeakValueDictionary()
_reading = threading.Lock()


class Spelled(Protocol):
    """A vocabulary whose symbols are known as text.

    Attributes:
        symbols: the symbol of every id.
    """

    symbols: list[str]

    def specials(self) -> Specials:
        """The special symbols."""


def ngram_words(dictionary: Spelled) -> list[str]:
    """Word of every id in an n-gram model: its symbol, or ``<unk>``.

    Special symbols, which no text contains, and symbols with a meaning in n-gram models or ARPA files are ``<unk>``.
    """
    special = {*dictionary.specials(), BEGIN, END, ""}
    separators = set("\0\t\n\r ")  # an ARPA file's
    return [
        UNKNOWN if symbol in special or separators.intersection(symbol) else symbol for symbol in dictionary.symbols
    ]


class NgramScorer:
    """Adds ``weight`` x log P(token | text) + ``token_bonus`` to a text for each token, natural logarithm.

    Texts with the same last words, as far as the model looks back, share a state; each pair of state and token is
    looked up once. Scorers of one file share the model; threads may share a scorer.

    Args:
        path: an ARPA file or KenLM's binary file, over the symbols of the target dictionary.
        words: the word of every token id, from ``ngram_words``.
        weight: weight of the model.
        token_bonus: gain of each token, since the model prefers short texts.
        score_end: add the probability of the text's end, too.

    Attributes:
        most: the most that a token can add: the bonus, since no probability is above 1.

    Raises:
        FileNotFoundError: if there is no such file.
        ImportError: if KenLM is not installed.
        ValueError: if the file is no n-gram model, or none of the dictionary's symbols, or a weight is not finite.
    """

    def __init__(
        self, path: str, words: Sequence[str], weight: float, token_bonus: float = 0.0, score_end: bool = True
    ) -> None:
        if not (math.isfinite(weight) and math.isfinite(token_bonus)):
            raise ValueError(f"--ctc-lm-weight and the token bonus must be finite, but are {weight} and {token_bonus}")
        self._shared = shared_ngram_model(path)
        self._model = self._shared.kenlm
        self._new_state = _kenlm().State
        self._words = list(words)
        known = sum(word in self._model for word in set(words) - {UNKNOWN})
        if not known:
            raise ValueError(
                f"--ctc-lm-path must be an n-gram model over the {len(words):,} symbols of the target dictionary, but "
                f"{path} knows none of them; train one on the data-bin folder with bnb-ngram"
            )
        logger.info("%s: order %d, knows %d of %d symbols", path, self._model.order, known, len(words))
        self._weight = weight * math.log(10)  # KenLM's logarithms are to the base 10
        self._token_bonus = token_bonus
        self.most = token_bonus if weight >= 0 else math.inf
        self._score_end = score_end
        self._known = _Known()

    def forget(self) -> None:
        """Clear this thread's cache."""
        self._known.forget()

    def start(self) -> int:
        """State of the empty text."""
        if len(self._known.pairs) > CACHED_PAIRS:
            self.forget()
        empty = self._new_state()
        self._model.BeginSentenceWrite(empty)
        return self._known.number(empty)

    def extend(self, states: Array, tokens: Array, wanted: Array) -> tuple[Array, Array]:
        """See ``PrefixScorer``; results are 0 where not wanted."""
        asked = (states[:, :, None] * len(self._words) + tokens[:, None, :])[wanted]
        pairs, places = np.unique(asked, return_inverse=True)
        found = self._look_up(pairs.tolist())
        scores, numbers = np.zeros(wanted.shape, np.float32), np.zeros(wanted.shape, np.int64)
        scores[wanted] = np.array([gain for gain, _ in found], np.float32)[places]
        numbers[wanted] = np.array([number for _, number in found], np.int64)[places]
        return scores, numbers

    def finish(self, states: Array) -> Array:
        """See ``PrefixScorer``."""
        if not self._score_end:
            return np.zeros(states.shape, np.float32)
        flat, known = states.ravel().tolist(), self._known
        for number in set(flat) - known.ends.keys():
            ended = self._model.BaseScore(known.states[number], END, self._new_state())
            known.ends[number] = self._weight * ended
        return np.array([known.ends[number] for number in flat], np.float32).reshape(states.shape)

    def _look_up(self, pairs: list[int]) -> list[tuple[float, int]]:
        """Gain of each token after its state, and the new state; the model is asked once for each pair."""
        known, words, score, new_state = self._known, self._words, self._model.BaseScore, self._new_state
        symbols, weight, bonus = len(words), self._weight, self._token_bonus
        answers, states, number = known.pairs, known.states, known.number
        for pair in pairs:
            if pair not in answers:
                behind = new_state()
                gain = weight * score(states[pair // symbols], words[pair % symbols], behind) + bonus
                answers[pair] = gain, number(behind)
        return [answers[pair] for pair in pairs]


class _Known(threading.local):
    """Cache of a thread's requests to a model.

    Attributes:
        states: KenLM's states by number, the empty text's first.
        pairs: gain of a token after a state, and the number of the next state.
        ends: gain of the text's end after a state.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Clear the cache."""
        self.states: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self.pairs: dict[int, tuple[float, int]] = {}
        self.ends: dict[int, float] = {}

    def number(self, state: Any) -> int:
        """Number of a state, a new one if the state is new."""
        new = len(self.states)
        number = self._numbers.setdefault(state, new)
        if number == new:
            self.states.append(state)
        return number


def _kenlm() -> Any:
    """Import KenLM, which nothing else needs."""
    try:
        import kenlm
    except ImportError as error:
        raise ImportError(
            "--ctc-lm-path needs KenLM: pip install kenlm (it is compiled, with a C++ compiler; pip brings CMake)"
        ) from error
    return kenlm


def check_arpa(path: Path) -> None:
    """Check the counts at the beginning of an ARPA file, perhaps compressed; KenLM checks binary files itself.

    KenLM allocates memory by these counts, without further checks. A ValueError gives the reason if they are missing or
    cannot be true.
    """
    with path.open("rb") as file:
        begin = file.read(len(BINARY))
    if begin == BINARY:
        return
    opener = next((opener for magic, opener in COMPRESSED.items() if begin.startswith(magic)), None)
    most = path.stat().st_size * (1 if opener is None else LARGEST_COMPRESSION)
    try:
        with path.open("rb") if opener is None else opener(path) as lines:
            begin = lines.read(HEADER_BYTES)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise ValueError(f"it cannot be read ({error})") from error
    header = begin.decode("utf-8", errors="replace").strip().split("\n\n")[0].splitlines()
    if not header or header[0].strip() != "\\data\\":
        raise ValueError("it does not begin with \\data\\")
    for line in header[1:]:
        count = re.fullmatch(r"ngram\s+\d+\s*=\s*(\S+)\s*", line)
        if count is None or not count[1].isascii() or not count[1].isdigit():
            raise ValueError(f"it must count n-grams with whole numbers from 0, but has {line[:80]!r}")
        if int(count[1]) * SHORTEST_LINE > most:
            raise ValueError(f"it has {most:,} bytes and cannot hold as many n-grams as {line[:80]!r} says")


def load_ngram_model(path: str) -> Any:
    """KenLM's model of an ARPA file or of KenLM's binary file, loaded without progress on standard error.

    Raises a FileNotFoundError for a missing file, an ImportError without KenLM, and a ValueError if it is no n-gram
    model.
    """
    kenlm = _kenlm()
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"--ctc-lm-path must be an ARPA file or KenLM's binary file, but there is no file {path!r}"
        )
    wanted = f"--ctc-lm-path must be an ARPA file or KenLM's binary file, but {path} is none"
    try:
        check_arpa(Path(path))
    except ValueError as error:
        raise ValueError(
            f"--ctc-lm-path must be an ARPA file or KenLM's binary file, but {path} is none: {error}"
        ) from error
    config = kenlm.Config()
    config.show_progress = False
    config.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(path, config)
    except (OSError, UnicodeDecodeError, MemoryError) as error:
        raise ValueError(f"{wanted}: {' '.join(str(error).split())}") from error


def shared_ngram_model(path: str) -> NgramModel:
    """The model of a file, loaded once; a changed file is another model. Raises as ``load_ngram_model``."""
    with _reading:
        version = file_version(path)
        model = None if version is None else _in_memory.get(version)
        if model is None:
            model = NgramModel(load_ngram_model(path))
            if version is not None:
                _in_memory[version] = model
        return model
