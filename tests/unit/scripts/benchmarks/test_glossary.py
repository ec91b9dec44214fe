"""The terms that the glossary's benchmark chooses, and how it counts them."""

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest

from bnb_fairseq.generation.glossary import Glossary, SpeltVocabulary

LoadScript = Callable[..., ModuleType]


@pytest.fixture(scope="module")
def benchmark(load_script: LoadScript) -> ModuleType:
    return load_script("glossary", "scripts/benchmarks")


def test_consistent_terms(benchmark: ModuleType) -> None:
    """Of 20 sentences "the file opens" 18 have Datei or Dateien; "open" has a verb, "disk" no rendering of its own."""
    choosing = importlib.import_module("quality.choosing")
    sources = ["the file opens"] * 20 + ["the disk"] * 19 + ["the window"] * 20
    targets = ["Öffnet die Datei"] * 16 + ["Öffnet die Dateien"] * 2 + ["Öffnet sie"] * 2
    targets += ["Die Platte"] * 19 + ["Das Fenster"] * 9 + ["Es"] * 11
    assert choosing.consistent_terms(sources, targets) == {"file": "Datei*"}
    sources, targets = [*sources, "the disk"], [*targets, "Die Platte"]
    terms = choosing.consistent_terms(sources, targets)
    assert list(terms.items()) == [("disk", "Platte*"), ("file", "Datei*")]
    assert choosing.terms_of(terms, ["A FILE", "a disk"], 1) == {"disk": "Platte*"}
    assert choosing.terms_of(terms, ["A FILE", "a door"], 2) == {"file": "Datei*"}


def test_rendered_terms(benchmark: ModuleType) -> None:
    letters = ["", "(", *"Dateins"]
    vocabulary = SpeltVocabulary(letters, [""], lambda symbol: (symbol, False))
    glossary = Glossary({"file": "Datei*", "disk": "s"}, lambda text: list(map(letters.index, text)), vocabulary)
    sources = ["file file disk", "file", "window"]
    texts = ["Dateien Dateien Dateien", "Eindatei", "Datei"]
    assert benchmark.rendered(glossary, sources, texts) == (2, 4)
    assert benchmark.rendered(glossary, ["disk", "disk"], ["s.", "sd"]) == (1, 2)
