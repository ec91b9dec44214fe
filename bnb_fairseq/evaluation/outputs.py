"""Raw texts, and what fairseq-generate prints: translations and speed."""

import re
from pathlib import Path

SPEED = re.compile(r"Translated ([\d,]+) sentences .* in ([\d.]+)s \(([\d.,]+) sentences/s")


def read_lines(path: Path) -> list[str]:
    """Read raw text; a newline at its end begins no further line."""
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def read_translations(output: Path, sentences: int) -> list[str]:
    """Collect the detokenised translations in the order of the data.

    Args:
        output: what fairseq-generate printed.
        sentences: how many there must be.

    Returns:
        Translations.

    Raises:
        ValueError: if a sentence has no translation, or a translation no sentence.
    """
    found: dict[int, str] = {}
    for line in output.read_text(encoding="utf-8").split("\n"):
        if line.startswith("D-"):
            number, _, text = line[2:].split("\t")
            found.setdefault(int(number), text)
    wanted = set(range(sentences))
    faults = {"missing": wanted - set(found), "in excess": set(found) - wanted}
    if shown := [f"first {name}: {sorted(numbers)[:5]}" for name, numbers in faults.items() if numbers]:
        raise ValueError(f"{output} holds {len(found):,} translations, not {sentences:,}; {', '.join(shown)}")
    return [found[i] for i in range(sentences)]


def find_speed(output: Path) -> float | None:
    """Find the sentences per second that fairseq-generate reports (generation only, tokenizing not counted)."""
    found = SPEED.search(output.read_text(encoding="utf-8"))
    return float(found[3].replace(",", "")) if found else None
