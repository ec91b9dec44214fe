"""Several data-bin folders read as one corpus."""

from functools import cache
from pathlib import Path

from .dictionary import load_dictionary


@cache
def require_same_dictionaries(folders: tuple[Path, ...]) -> None:
    """Check that every folder has the dictionaries of the first, which the model uses for all.

    Raises a ValueError, naming the first file that is missing or different.
    """
    first, *others = folders
    for path in sorted(first.glob("dict.*txt")) if others else ():
        expected = load_dictionary(str(path)).digest()
        for other in (folder / path.name for folder in others):
            if not other.is_file():
                raise ValueError(f"data: every folder must come from fairseq-preprocess, but there is no {other}")
            found = load_dictionary(str(other)).digest()
            if found.differences(expected) not in ([], ["spaces"]):  # the model reads ids, which spaces do not change
                raise ValueError(
                    f"data: every folder must have the dictionaries of the first, but {found} is not {expected}"
                )
