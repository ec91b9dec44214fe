"""A translator that needs no model, and ``bnb-translate`` with it: ``python fake_translator.py FOLDER ...``.

It writes what it reads in capitals and reads five words at a time.
"""

import os
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
LONGEST = 5  # words


@dataclass(frozen=True)
class FakeTranslation:
    text: str = ""
    score: float = 0.0
    tokens: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    alignment: list[list[int]] = field(default_factory=list)
    alternatives: "list[FakeTranslation]" = field(default_factory=list)
    error: str | None = None


class FakeTranslator:
    remembers = True

    def __init__(self) -> None:
        self.windows: list[list[str]] = []
        self.options: dict[str, Any] = {}
        self.loaded: tuple[object, ...] = ()

    @classmethod
    def load(
        cls,
        folder: Path,
        engine: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        shortlist: bool = True,
    ) -> "FakeTranslator":
        if not (folder / "model").exists():
            raise ValueError(f"{folder} must have a model, but has none")
        made = cls()
        made.loaded = (folder, engine, device, threads, shortlist)
        return made

    def translate(self, texts: Sequence[str], nbest: int = 1, **options: Any) -> list[FakeTranslation]:
        if self.remembers:
            self.windows.append(list(texts))
        self.options = {"nbest": nbest, **options}
        return [self._translate(text, nbest) for text in texts]

    def _translate(self, text: str, nbest: int) -> FakeTranslation:
        from bnb_fairseq.splitting import TooLongError, join, split

        if text == "fail":
            raise RuntimeError("out of memory")
        try:
            pieces = split(text, lambda each: len(each.split()), LONGEST)
        except TooLongError as error:
            return FakeTranslation(error=str(error))
        best = join(pieces, [piece.text.upper() for piece in pieces])
        words = best.split()
        alignment = [[i] for i in range(len(words))]
        others = [FakeTranslation(f"{best}{i}", -float(i), words, [0.5] * len(words)) for i in range(1, nbest)]
        return FakeTranslation(best, -0.25, words, [1 / 3] * len(words), alignment, others)


def main() -> None:
    package = types.ModuleType("bnb_fairseq")  # spares the imports of the real one, which a subprocess would wait for
    package.__path__ = [str(ROOT / "bnb_fairseq")]
    translator = types.ModuleType("bnb_fairseq.translator")
    translator.Translator = FakeTranslator  # type: ignore[attr-defined]
    sys.modules |= {package.__name__: package, translator.__name__: translator}
    FakeTranslator.remembers = False
    from bnb_fairseq.cli import translate

    try:
        sys.exit(translate.main())
    finally:
        if peak := os.environ.get("PEAK_FILE"):
            status = Path("/proc/self/status").read_text(
                encoding="utf-8"
            )  # the usage of a child counts its parent's, too
            Path(peak).write_text(status.partition("VmHWM:")[2].split()[0], encoding="utf-8")


if __name__ == "__main__":
    main()
