"""A server whose models write in capitals."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from bnb_fairseq.serving.app import Settings, create_app
from bnb_fairseq.serving.models import Model, Models
from bnb_fairseq.translator import Translation
from bnb_fairseq.written import Pass, Slot, Written

FOLDER = Path("/srv/models/en-de")


class Capitals:
    """Writes texts in capitals; notes its batches; waits for ``go`` before each."""

    longest = 20
    batch_tokens = 64

    def __init__(self) -> None:
        self.search: dict[str, Any] = {"ctc_beam": 3, "ctc_lm_weight": 0.4, "iter_decode_max_iter": 0, "max_len_b": 9}
        self.batches: list[tuple[list[str], dict[str, Any]]] = []
        self.go = threading.Event()
        self.go.set()

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2

    def check(self, nbest: int = 1, search: str = "auto", **options: Any) -> None:
        if options.get("ctc_lm_weight") == 7:
            raise ValueError(f"--ctc-lm-path must stand beside --ctc-beam, but is {FOLDER}/lm.arpa.gz")
        if options.get("iter_decode_max_iter"):
            raise ValueError("--iter-decode-max-iter must be 0, but is more")

    def translate(
        self, texts: Sequence[str], nbest: int = 1, glossary: Mapping[str, str] | None = None, **options: Any
    ) -> list[Translation]:
        assert self.go.wait(10)
        self.batches.append((list(texts), {"nbest": nbest, "glossary": glossary, **options}))
        if "boom" in texts:
            raise RuntimeError("boom: a secret text")
        if glossary and "" in glossary:
            raise ValueError("a term must not be empty")
        return [self._one(text, nbest) for text in texts]

    def _one(self, text: str, nbest: int) -> Translation:
        if len(text.split()) > self.longest:
            return Translation("", error="the text is too long")
        words = text.upper().split()
        others = [Translation(f"{text.upper()} {i}", -float(i)) for i in range(1, nbest)]
        numbers = list(range(len(words)))
        return Translation(text.upper(), -0.5, words, [0.25] * len(words), [[i] for i in numbers], numbers, others)

    def canvases(self, texts: Sequence[str], search: str = "auto", **options: Any) -> list[list[Written]]:
        slot = Slot(None, 0.5, False, False)
        return [[Written(text, [Pass(text.upper(), [slot])])] for text in texts]


@pytest.fixture
def capitals() -> Capitals:
    return Capitals()


@contextmanager
def serving(*translators: Capitals, languages: Sequence[str] = ("en-de",), **settings: Any) -> Iterator[TestClient]:
    models = [
        Model(pair[:2], pair[3:], translator, FOLDER)  # type: ignore[arg-type]
        for pair, translator in zip(languages, translators, strict=True)
    ]
    with TestClient(create_app(Models(models), Settings(**settings)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(capitals: Capitals) -> Iterator[TestClient]:
    with serving(capitals) as found:
        yield found
