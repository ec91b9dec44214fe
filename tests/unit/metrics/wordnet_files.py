"""A WordNet of a few words, in the files that NLTK reads."""

from collections.abc import Sequence
from pathlib import Path

LETTERS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
HEAD = "  1 WordNet 3.0 Copyright 2006 by Princeton University.\n"


def write_wordnet(data: Path, synsets: Sequence[Sequence[str]]) -> Path:
    """Write nouns, those of a synset being synonyms, below one of NLTK's data folders."""
    folder = data / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    (folder / "lexnames").write_text("00\tnoun.Tops\t1\n")
    for name in ("cntlist.rev", "index.sense"):
        (folder / name).write_text("")
    for part in LETTERS:
        for name in (f"data.{part}", f"index.{part}"):
            (folder / name).write_text(HEAD)
        (folder / f"{part}.exc").write_text("")
    nouns, index = HEAD, HEAD
    for words in synsets:
        offset = f"{len(nouns):08d}"
        listed = " ".join(f"{word} 0" for word in words)
        nouns += f"{offset} 00 n {len(words):02x} {listed} 000 | a meaning\n"
        index += "".join(f"{word} n 1 0 1 0 {offset}\n" for word in words)
    (folder / "data.noun").write_text(nouns)
    (folder / "index.noun").write_text(HEAD + "".join(sorted(index.removeprefix(HEAD).splitlines(keepends=True))))
    return data
