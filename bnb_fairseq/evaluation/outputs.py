"""Raw texts, and the translations and speed that fairseq-generate prints."""

import re
from pathlib import Path

PRINTED = re.compile(r"[STHDP]-\d+\t")  # begin of lines of fairseq-generate
SPEED = re.compile(r"Translated ([\d,]+) sentences .* in ([\d.]+)s \(([\d.,]+) sentences/s")


def read_lines(path: Path) -> list[str]:
    """Read raw text; a newline at its end begins no further line."""
    text = path.read_text(encoding="utf-8")
    return text.removesuffix("\n").split("\n") if text else []


def read_translations(output: Path, sentences: int) -> list[str]:
    """Return the translations in the output of fairseq-generate, in the order of the data, or the lines of a text.

    Raises a ValueError if there is not one for each of the ``sentences``.
    """
    found: dict[int, str] = {}
    lines = read_lines(output)
    if len(lines) == sentences and not any(map(PRINTED.match, lines)):
        return lines
    for line in lines:
        if line.startswith("D-") and PRINTED.match(line):
            number, _, text = line[2:].split("\t")
            found.setdefault(int(number), text)
    wanted = set(range(sentences))
    faults = {"missing": wanted - set(found), "in excess": set(found) - wanted}
    if shown := [f"first {name}: {sorted(numbers)[:5]}" for name, numbers in faults.items() if numbers]:
        raise ValueError(f"{output} holds {len(found):,} translations, not {sentences:,}; {', '.join(shown)}")
    return [found[i] for i in range(sentences)]


def find_speed(output: Path) -> float | None:
    """Return the sentences per second that fairseq-generate reports, without tokenization; None: it reports none."""
    found = SPEED.search(output.read_text(encoding="utf-8"))
    return float(found[3].replace(",", "")) if found else None
