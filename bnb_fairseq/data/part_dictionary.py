"""The dictionary of a part: its digest lies beside the part, as ``train.en-de.en.dict.json``.

A part can be read once it has its index, which ``fairseq-preprocess`` writes last. Before a run changes anything, it
removes the indices of the parts that it will write. A killed run therefore leaves no part with ids of another
dictionary.
"""

import json
import os
from collections.abc import Callable, Iterable
from glob import escape
from pathlib import Path

from .digest import DIFFERENCES, DictionaryDigest

SUFFIX = ".dict.json"  # appended to the path of a part
INDEX = ".idx"
DICTIONARY = "dict"  # of a data-bin folder: dict.txt, or dict.LANG.txt
NOT_KNOWN = DictionaryDigest(0, "")


def begin_parts(
    dictionary: Path, parts: Iterable[Path], digest: DictionaryDigest, read_digest: Callable[[Path], DictionaryDigest]
) -> None:
    """Prepare a data-bin folder for a new dictionary and parts with its ids.

    Args:
        dictionary: path of the dictionary; an older one may exist.
        parts: paths of the new parts, without suffix.
        digest: of the new dictionary.
        read_digest: reads the older dictionary; raises a ValueError if it is damaged.
    """
    for part in parts:
        _with(part, INDEX).unlink(missing_ok=True)
        for unfinished in part.parent.glob(f"{escape(part.name)}.pt[0-9]*"):  # left by the workers of a killed run
            unfinished.unlink()
    unmarked = [part for part in _parts(dictionary) if not _with(part, SUFFIX).is_file()]
    if unmarked and dictionary.is_file():
        try:
            older = read_digest(dictionary)
        except ValueError:
            older = NOT_KNOWN
        for part in unmarked:
            _write(part, older)
    for part in parts:
        _write(part, digest)


def check_part(part: str, read_digest: Callable[[], DictionaryDigest]) -> None:
    """Compare the dictionary of a part (path without suffix) with its folder's; parts of older versions pass.

    Raises a ValueError if the part's ids belong to another one.
    """
    note = Path(f"{part}{SUFFIX}")
    if not note.is_file():
        return
    try:
        noted = DictionaryDigest.of_state(json.loads(note.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{note} must hold the digest of a dictionary, but is damaged ({error})") from error
    found = read_digest()
    if reasons := [DIFFERENCES[name] for name in found.differences(noted) if name != "spaces"]:
        raise ValueError(
            f"{part}: its ids are of the dictionary {noted}, but its folder now has {found}: {' and '.join(reasons)}; "
            f"preprocess it again"
        )


def _parts(dictionary: Path) -> list[Path]:
    """Parts in a dictionary's folder that have its ids."""
    language = dictionary.name.removeprefix(DICTIONARY).removesuffix(".txt")
    found = [path.with_suffix("") for path in sorted(dictionary.parent.glob(f"*{escape(language)}{INDEX}"))]
    return [part for part in found if language or "." not in part.name]


def _with(part: Path, suffix: str) -> Path:
    return part.with_name(part.name + suffix)


def _write(part: Path, digest: DictionaryDigest) -> None:
    note = _with(part, SUFFIX)
    unfinished = note.with_name(f"{note.name}.tmp")
    unfinished.write_text(json.dumps(digest.state()), encoding="utf-8")
    os.replace(unfinished, note)
