"""Translating all lines of an input, window by window."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from . import forms
from .forms import Translated
from .lines import Decoder, Source, on_one_line, windows

ERROR, COPY, EMPTY = "error", "copy", "empty"  # --too-long
STANDS_FOR = {ERROR: "an empty line", COPY: "the source text", EMPTY: "an empty line"}
WINDOW = 4000  # lines


class Translates(Protocol):
    """Something that translates, as ``bnb_fairseq.translator.Translator`` does."""

    def translate(self, texts: Sequence[str], nbest: int = 1, **options: Any) -> Sequence[Translated]:
        """Return a translation for each text, in order."""


class Sink(Protocol):
    """Where lines go."""

    def write(self, lines: Sequence[str]) -> None:
        """Write lines, which have no line end."""


@dataclass(frozen=True)
class Settings:
    """How lines are translated and written.

    Attributes:
        form: ``PLAIN``, ``NBEST`` or ``JSONL`` of ``forms``.
        nbest: translations of each line.
        too_long: what to do with a line that has no translation: ``ERROR``, ``COPY`` or ``EMPTY``.
        window: largest number of lines translated at once.
        options: other options of ``Translates.translate``.
    """

    form: str = forms.PLAIN
    nbest: int = 1
    too_long: str = ERROR
    window: int = WINDOW
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Counts:
    """Numbers of lines.

    Attributes:
        lines: read and written; an n-best list counts as one.
        untranslated: those that have no translation.
        first: of these the first, with its number and the reason.
        decoder: has the numbers of lines that are not UTF-8.
    """

    lines: int = 0
    untranslated: int = 0
    first: str = ""
    decoder: Decoder = field(default_factory=Decoder)

    def remarks(self, too_long: str) -> list[str]:
        """Return what is worth saying at the end.

        Args:
            too_long: see ``Settings``.

        Returns:
            Sentences without a full stop.
        """
        said, broken = [], self.decoder
        if broken.broken:
            of_lines = f"{broken.broken_lines:,} of {self.lines:,} lines"
            said.append(f"{of_lines} had bytes that are not UTF-8; U+FFFD in their place: {broken.broken:,}")
        if self.untranslated:
            of_lines = f"{self.untranslated:,} of {self.lines:,} lines could not be translated"
            reason = "" if too_long == ERROR else f"; the first: {self.first}"
            said.append(f"{of_lines}; {STANDS_FOR[too_long]} stands for each{reason}")
        return said


def translate_lines(
    translator: Translates,
    source: Source,
    sink: Sink,
    settings: Settings,
    say: Callable[[str], object],
    advance: Callable[[int], object],
) -> Counts:
    """Translate all lines of a source.

    Args:
        translator: what translates.
        source: where lines come from.
        sink: where translations go, after each window.
        settings: how.
        say: receives an error of a single line.
        advance: receives the number of lines of each window, once they are written.

    Returns:
        The numbers of lines.

    Raises:
        OSError: if the sink cannot be written.
        ValueError: if the source cannot be read, or the translator does not take an option.
    """
    counts = Counts()
    for window in windows(source, settings.window):
        texts = [counts.decoder.decode(line) for line in window]
        written: list[str] = []
        translations = translator.translate(texts, nbest=settings.nbest, **settings.options)
        for text, translation in zip(texts, translations, strict=True):
            shown = translation.text
            if translation.error is not None:
                shown = text if settings.too_long == COPY else ""
                _count(translation.error, counts, say if settings.too_long == ERROR else None)
            written += forms.lines(settings.form, counts.lines, translation, shown, settings.nbest)
            counts.lines += 1
        sink.write(written)
        advance(len(window))
    return counts


def _count(error: str, counts: Counts, say: Callable[[str], object] | None) -> None:
    """Count a line that has no translation, and say why."""
    reason = on_one_line(f"line {counts.lines + 1}: {error}")
    counts.untranslated += 1
    counts.first = counts.first or reason
    if say is not None:
        say(reason)
