"""The speed benchmark's systems in which several texts compete: that they do what their names say."""

import importlib
import math
import sys
from argparse import Namespace
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from bnb_fairseq.evaluation.clock import Timing
from bnb_fairseq.generation.ctc_beam import ctc_beam_search
from bnb_fairseq.generation.ngram import NgramScorer
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.modules.canvas import Canvas
from bnb_fairseq.network.encoded import Encoded

SIZES = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 24, "attention_heads": 2, "positions": 40}
LoadScript = Callable[..., ModuleType]
Part = Callable[[str], Any]


@pytest.fixture(scope="module")
def benchmark(load_script: LoadScript) -> ModuleType:
    return load_script("speed", "scripts/benchmarks")


@pytest.fixture(scope="module")
def part(benchmark: ModuleType) -> Part:
    return lambda name: importlib.import_module(f"timing.{name}")


@pytest.fixture
def workload(part: Part) -> Any:
    return part("workload").Workload("tiny", SIZES, None, 60, 10, 9, "cpu", "float32", 1)


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The canvas lengths of every pass of the decoder that is made from here on."""
    lengths: list[list[int]] = []
    decode = BnbTransformer.decode

    def noted(self: BnbTransformer, encoded: Encoded, canvas: Canvas, canvas_tokens: Tensor | None = None) -> Tensor:
        lengths.append(canvas.lengths.tolist())
        return decode(self, encoded, canvas, canvas_tokens)

    monkeypatch.setattr(BnbTransformer, "decode", noted)
    return lengths


def take(part: Part, workload: Any, family: str, name: str) -> Any:
    for system in part("families").FAMILIES[family](workload):
        if system.name == name:
            return system
    raise AssertionError(f"{family} has no {name}")


def translate(part: Part, system: Any) -> Any:
    return system.translate(part("workload").make_sample(system.dictionary, 2, 10))


@pytest.mark.parametrize(
    ("family", "name", "passes", "lengths"),
    [
        ("bnb-ctc-search", "bnb ctc, 4 refinements", 5, [20]),
        ("bnb-ctc-search", "bnb ctc, 5 canvases", 1, [16, 18, 20, 22, 24]),
        ("bnb-ctc-search", "bnb ctc, beam 10", 1, [20]),
        ("bnb-ctc-search", "bnb ctc, beam 10, 5-gram", 1, [20]),
        ("bnb-lengths", "bnb length, 5 lengths", 1, [7, 8, 9, 10, 11]),
    ],
)
def test_passes_and_canvases(
    family: str, name: str, passes: int, lengths: list[int], part: Part, workload: Any, canvases: list[list[int]]
) -> None:
    if "gram" in name:
        pytest.importorskip("kenlm")
    system = take(part, workload, family, name)
    canvases.clear()
    outcome = translate(part, system)
    assert outcome.passes == passes == len(canvases)
    for made in canvases:
        assert sorted(made) == sorted(2 * lengths)


def test_beams(part: Part, workload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten texts, ten symbols of each position; the last one asks a 5-gram model too."""
    pytest.importorskip("kenlm")
    asked = []

    def noted(symbols: Any, lengths: Any, beam: int, pad: int, scorer: Any = None) -> Any:
        asked.append((symbols.tokens.shape[2], beam, scorer))
        return ctc_beam_search(symbols, lengths, beam, pad, scorer)

    monkeypatch.setattr("bnb_fairseq.generation.generator.ctc_beam_search", noted)
    for system in part("families").FAMILIES["bnb-ctc-search"](workload):
        translate(part, system)
    (plain, with_ngrams) = asked
    assert plain == (10, 10, None)
    assert with_ngrams[:2] == (10, 10)
    assert with_ngrams[2]._model.order == 5


def test_every_batch_looks_all_ngrams_up(part: Part, workload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("kenlm")
    system = take(part, workload, "bnb-ctc-search", "bnb ctc, beam 10, 5-gram")
    pairs: list[int] = []
    look_up = NgramScorer._look_up

    def noted(self: NgramScorer, asked: list[int]) -> list[tuple[float, int]]:
        pairs.extend(pair for pair in asked if pair not in self._known.pairs)
        return look_up(self, asked)

    monkeypatch.setattr(NgramScorer, "_look_up", noted)
    first = translate(part, system)
    once = list(pairs)
    assert len(once) == len(set(once)) > 20
    assert translate(part, system) == first
    assert pairs == once * 2


def test_beams_write_about_as_much_as_is_wanted(part: Part) -> None:
    """Without its bonus, the n-gram model leaves nothing of a text."""
    pytest.importorskip("kenlm")
    workload = part("workload").Workload("tiny", SIZES, None, 2000, 10, 9, "cpu", "float32", 1)
    for system in part("families").FAMILIES["bnb-ctc-search"](workload):
        tokens = translate(part, system).tokens
        assert ("refinements" in system.name) or 5 <= tokens <= 18, (system.name, tokens)


def test_random_ngrams(part: Part) -> None:
    """A random word, behind nothing, gets and loses about the same; what the text never has loses more."""
    pytest.importorskip("kenlm")
    searches = part("searches")
    dictionary = part("workload").plain_dictionary(300)
    scorer = searches.random_ngrams(dictionary, 9)
    seen = np.arange(len(dictionary) // 10, len(dictionary) - 1)[None]
    special = np.array([[dictionary.unk(), dictionary.index("<mask>")]])
    start = np.array([[scorer.start()]])
    gains, states = scorer.extend(start, seen, np.ones((1, 1, seen.shape[1]), bool))
    assert float(gains.mean()) == pytest.approx(0, abs=0.2)
    assert np.unique(states).size == seen.shape[1]
    never, _ = scorer.extend(start, special, np.ones((1, 1, 2), bool))
    assert float(never.max()) < float(gains.min())
    words = searches.random_ngrams(dictionary, 9)._words
    assert scorer._token_bonus == pytest.approx(0.3 * math.log(len({*words, "<s>", "</s>"})))


def test_what_needs_kenlm_is_left_out_without_it(
    benchmark: ModuleType, workload: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    built = [system.name for _, system in benchmark.build(workload, ["bnb-ctc-search", "bnb-lengths"])]
    expected = ["bnb ctc, 4 refinements", "bnb ctc, 5 canvases", "bnb ctc, beam 10", "bnb length, 5 lengths"]
    assert built == expected
    assert "left out: what of bnb-ctc-search needs kenlm; pip install kenlm" in capsys.readouterr().err


def test_another_missing_module_is_an_error(
    benchmark: ModuleType, workload: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(workload: Any) -> Any:
        raise ModuleNotFoundError("no module", name="numpy")

    monkeypatch.setitem(benchmark.FAMILIES, "nat", broken)
    with pytest.raises(ModuleNotFoundError):
        list(benchmark.build(workload, ["nat"]))


@pytest.mark.parametrize(("family", "noted"), [("bnb-ctc-search", True), ("nat", False)])
def test_the_report_tells_what_a_search_measures(
    family: str, noted: bool, benchmark: ModuleType, part: Part, tmp_path: Any
) -> None:
    timing = Timing(1, [0.5], part("systems").Outcome(9.0, 1.0))
    result = part("report").Result("tiny", "float32", [part("report").Row("x", {"1": timing}, None)])
    options = benchmark.parse(["--device", "cpu", "--systems", family, "--output", str(tmp_path)])
    assert isinstance(options, Namespace)
    assert (part("report").SEARCHED in benchmark.report([result], options)) is noted
