"""Translating all lines of an input, window by window."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

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
    """A sink of lines."""

    def write(self, lines: Sequence[str]) -> None:
        """Write lines, which have no line end."""


@dataclass(frozen=True)
class Settings:
    """Options of translating and writing lines.

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


class Window(NamedTuple):
    """Neighbouring lines of an input.

    Attributes:
        first: number of the first one, from 0.
        lines: at least one.
    """

    first: int
    lines: Sequence[bytes]


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

    def add(self, other: "Counts") -> None:
        """Add the numbers of the lines that follow."""
        self.lines += other.lines
        self.untranslated += other.untranslated
        self.first = self.first or other.first
        self.decoder.broken += other.decoder.broken
        self.decoder.broken_lines += other.decoder.broken_lines

    def remarks(self, too_long: str, each_said: bool = True) -> list[str]:
        """Return what is worth saying at the end.

        Args:
            too_long: see ``Settings``.
            each_said: whether the errors of single lines were said already.

        Returns:
            Sentences without a full stop.
        """
        said, broken = [], self.decoder
        if broken.broken:
            of_lines = f"{broken.broken_lines:,} of {self.lines:,} lines"
            said.append(f"{of_lines} had bytes that are not UTF-8; U+FFFD in their place: {broken.broken:,}")
        if self.untranslated:
            of_lines = f"{self.untranslated:,} of {self.lines:,} lines could not be translated"
            reason = "" if each_said and too_long == ERROR else f"; the first: {self.first}"
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
        written = translate_window(translator, Window(counts.lines, window), settings, counts, say)
        sink.write(written)
        advance(len(window))
    return counts


def translate_window(
    translator: Translates,
    window: Window,
    settings: Settings,
    counts: Counts,
    say: Callable[[str], object] | None = None,
) -> list[str]:
    """Translate lines together.

    Args:
        translator: what translates.
        window: the lines.
        settings: how.
        counts: the lines are added to them.
        say: receives an error of a single line, if it is one; None: nobody does.

    Returns:
        The lines to write, without line ends.

    Raises:
        ValueError: if the translator does not take an option.
    """
    texts = [counts.decoder.decode(line) for line in window.lines]
    translations = translator.translate(texts, nbest=settings.nbest, **settings.options)
    written: list[str] = []
    for number, (text, translation) in enumerate(zip(texts, translations, strict=True), window.first):
        shown = translation.text
        if translation.error is not None:
            shown = text if settings.too_long == COPY else ""
            reason = on_one_line(f"line {number + 1}: {translation.error}")
            counts.untranslated += 1
            counts.first = counts.first or reason
            if say is not None and settings.too_long == ERROR:
                say(reason)
        written += forms.lines(settings.form, number, translation, shown, settings.nbest)
    counts.lines += len(texts)
    return written
