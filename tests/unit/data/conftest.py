"""Vocabularies trained in a moment on the real sentences that the repository ships."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import sentencepiece
from tokenizers import BertWordPieceTokenizer

SmallData = Callable[[str, int], list[tuple[str, str]]]


class Sentences(NamedTuple):
    """English and German sentences of a part of the data."""

    english: list[str]
    german: list[str]


def read(small_data: SmallData, part: str, count: int) -> Sentences:
    rows = small_data(part, count)
    return Sentences([english for english, _ in rows], [german for _, german in rows])


@pytest.fixture(scope="session")
def training(small_data: SmallData) -> Sentences:
    return read(small_data, "train", 2000)


@pytest.fixture(scope="session")
def unseen(small_data: SmallData) -> Sentences:
    return read(small_data, "test", 400)


@pytest.fixture(scope="session")
def train_wordpiece() -> Callable[[Path, Sequence[str], bool], Path]:
    """Write a directory that holds nothing but a ``vocab.txt``."""

    def train(directory: Path, text: Sequence[str], cased: bool) -> Path:
        tokenizer = BertWordPieceTokenizer(lowercase=not cased)
        tokenizer.train_from_iterator(text, vocab_size=500, min_frequency=2, show_progress=False)
        directory.mkdir()
        tokenizer.save_model(str(directory))
        return directory

    return train


@pytest.fixture(scope="session")
def cased(
    tmp_path_factory: pytest.TempPathFactory,
    training: Sentences,
    train_wordpiece: Callable[[Path, Sequence[str], bool], Path],
) -> Path:
    return train_wordpiece(tmp_path_factory.mktemp("vocabulary") / "cased", training.german, True)


@pytest.fixture(scope="session")
def uncased(
    tmp_path_factory: pytest.TempPathFactory,
    training: Sentences,
    train_wordpiece: Callable[[Path, Sequence[str], bool], Path],
) -> Path:
    return train_wordpiece(tmp_path_factory.mktemp("vocabulary") / "uncased", training.english, False)


@pytest.fixture(scope="session")
def train_pieces(training: Sentences) -> Callable[..., Path]:
    """Train a SentencePiece model on the German side; returns the ``.model`` file."""

    def train(prefix: Path, **options: Any) -> Path:
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(training.german), model_prefix=str(prefix), vocab_size=400, minloglevel=2, **options
        )
        return prefix.with_name(f"{prefix.name}.model")

    return train


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory, train_pieces: Callable[..., Path]) -> Path:
    return train_pieces(tmp_path_factory.mktemp("pieces") / "de")
