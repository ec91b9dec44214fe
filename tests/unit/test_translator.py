"""Texts in, translations out: odd texts, options, threads, errors; small random models."""

import gzip
import io
import json
import math
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.folder.manifest import SEARCH
from bnb_fairseq.generation.confidence import Platt
from bnb_fairseq.splitting import join, split
from bnb_fairseq.translator import Translation, Translator

from .export.conftest import LIMIT, SENTENCES, Translations, by_fairseq, trained  # noqa: F401  # fixtures
from .folder.conftest import exported, folder, reseal  # noqa: F401  # fixtures

Reseal = Callable[..., Path]
KINDS = ["ctc", "autoregressive"]
ODD = [
    *SENTENCES,
    "",
    " ",
    "\t",
    "\n",
    "the\tcell\nopens\rthe",
    "the\x00cell",
    "cell " * 200,
    "zzz",
    "[SEP] </s> <pad>",
]
ARPA = """\\data\\
ngram 1=4
ngram 2=1

\\1-grams:
-1\t<s>\t0
-1\t</s>
-0.5\tdie\t0
-2\t<unk>

\\2-grams:
-0.1\tdie </s>

\\end\\
"""


@pytest.fixture(scope="module")
def translators(exported: dict[str, Path]) -> dict[str, Translator]:  # noqa: F811
    return {name: Translator.load(path) for name, path in exported.items()}


@pytest.mark.parametrize("name", KINDS)
def test_as_fairseq_translates(
    name: str,
    translators: dict[str, Translator],
    by_fairseq: Translations,  # noqa: F811
) -> None:
    translator = translators[name]
    assert translator.longest == LIMIT if name == "ctc" else translator.longest > LIMIT
    options = {} if name == "ctc" else {"max_len_b": 8}
    found = translator.translate(SENTENCES)
    assert [[one.text] for one in found] == by_fairseq(name, SENTENCES, **options)
    assert len({one.text for one in found}) > 1
    listed = translator.translate(SENTENCES, nbest=3)
    expected = by_fairseq(name, SENTENCES, nbest=3, **options)
    assert [[one.text, *(each.text for each in one.alternatives)] for one in listed] == expected
    for one in (each for translation in listed for each in (translation, *translation.alternatives)):
        assert one.error is None
        assert len(one.tokens) == len(one.confidence)
        assert all(0 <= value <= 1 for value in one.confidence)
    for translation in listed:
        scores = [translation.score, *(each.score for each in translation.alternatives)]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("name", KINDS)
def test_odd_texts(name: str, translators: dict[str, Translator]) -> None:
    """Each is translated as it is alone; only white space is an empty text; what cannot be has a reason."""
    translator = translators[name]
    assert translator.translate([]) == []
    together = translator.translate([*ODD, "\ud800 the", "the\udfff"])
    for text, one in zip(ODD, together, strict=False):
        (alone,) = translator.translate([text])
        assert (alone.text, alone.error, alone.tokens) == (one.text, one.error, one.tokens), repr(text)
        assert alone.score == pytest.approx(one.score, abs=1e-5)
        assert "\n" not in one.text
        if not text.strip():
            assert one == Translation("")
    assert together[ODD.index("cell " * 200)].error == (
        f"the text has 202 tokens, but the model reads at most {translator.longest}"
    )
    assert [one.error for one in together[-2:]] == [
        f"the text must be Unicode, but its character {n} is half of a pair of surrogates" for n in (1, 4)
    ]
    assert (
        translator.translate(["the\tcell\nopens\rthe"])[0].text == translator.translate(["the cell opens the"])[0].text
    )


def test_sentences_of_a_long_text(translators: dict[str, Translator]) -> None:
    translator = translators["ctc"]
    sentences = ["The cell opens the cell opens.", "Opens cell the.", "The the the cell cell opens."]
    text = " ".join(sentences)
    (one,) = translator.translate([text], nbest=2)
    pieces = split(text, translator.count_tokens, translator.longest)
    assert len(pieces) > 1
    parts = translator.translate([piece.text for piece in pieces], nbest=2)
    assert one.text == join(pieces, [part.text for part in parts])
    assert one.tokens == [token for part in parts for token in part.tokens]
    assert one.confidence == pytest.approx([value for part in parts for value in part.confidence])
    weights = [max(len(part.tokens), 1) for part in parts]
    total = sum(part.score * weight for part, weight in zip(parts, weights, strict=True))
    assert one.score == pytest.approx(total / sum(weights))
    assert one.alternatives == []


@pytest.mark.parametrize("batch_tokens", [1, 7, 20, 10_000])
def test_batches(batch_tokens: int, translators: dict[str, Translator], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold at most so many tokens, padding included, or one text; the result does not depend on them."""
    translator = translators["ctc"]
    sizes: list[tuple[int, int]] = []
    real = translator._engine.hypotheses

    def watched(sources: Any, *others: Any) -> Any:
        sizes.append((len(sources), max(map(len, sources))))
        return real(sources, *others)

    expected = translator.translate(SENTENCES * 3)
    monkeypatch.setattr(translator._engine, "hypotheses", watched)
    found = translator.translate(SENTENCES * 3, batch_tokens=batch_tokens)
    assert [one.text for one in found] == [one.text for one in expected]
    assert sum(count for count, _ in sizes) == 3 * len(SENTENCES)
    assert all(count == 1 or count * longest <= batch_tokens for count, longest in sizes)
    if batch_tokens == 10_000:
        assert len(sizes) == 1


def test_more_than_there_are(translators: dict[str, Translator]) -> None:
    """An n-best list ends with the texts that were found."""
    (one,) = translators["ctc"].translate(["cell"], nbest=1000, ctc_beam_symbols=2)
    texts = [one.text, *(each.text for each in one.alternatives)]
    assert 2 < len(texts) < 1000
    assert len({tuple(each.tokens) for each in (one, *one.alternatives)}) == len(texts)
    with pytest.raises(ValueError, match=r"^beam must be at least 6, but is 5$"):
        translators["autoregressive"].translate(["cell"], nbest=6)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ctc_beem": 5}, "translate: there is no option ctc_beem; did you mean ctc_beam?"),
        ({"batch_size": 5}, "translate: there is no option batch_size; did you mean batch_tokens?"),
        ({"lenpen": 1.0}, "translate: there is no option lenpen; there are alignment, batch_tokens, ctc_beam, "),
        ({"ctc_beam": "5"}, "translate: ctc_beam must be of type int, but is '5'"),
        ({"ctc_beam": -1}, "decoding: --ctc-beam must not be negative, but is -1"),
        ({"ctc_token_bonus": 1}, "decoding: --ctc-token-bonus must stand beside --ctc-beam, but is 1"),
        ({"ctc_token_bonus": math.inf, "ctc_beam": 2}, "translate: ctc_token_bonus must be finite, but is inf"),
        ({"ctc_beam": 2, "ctc_lm_weight": 0.1}, "ctc_lm_weight must be 0 for a model without a language model"),
        ({"iter_decode_max_iter": 1}, "--iter-decode-max-iter must be 0 for a model trained without --canvas-tokens"),
        ({"ctc_beam": 2, "iter_decode_max_iter": 1}, "decoding: --iter-decode-max-iter must be 0 beside --ctc-beam"),
        ({"search": "beam"}, "search must be auto or none, but is 'beam'"),
        ({"nbest": 0}, "nbest and batch_tokens must be at least 1, but are 0 and 2048"),
        ({"batch_tokens": 0}, "nbest and batch_tokens must be at least 1, but are 1 and 0"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], said: str, translators: dict[str, Translator]) -> None:
    """Whatever there is to translate."""
    for texts in (["the cell"], []):
        with pytest.raises(ValueError) as refusal:
            translators["ctc"].translate(texts, **options)
        assert str(refusal.value).startswith(said)


def test_texts_of_other_types(translators: dict[str, Translator]) -> None:
    for texts in ("the cell", [b"the cell"], [None], [["the"]]):
        with pytest.raises(TypeError, match=r"^texts(\[\d\])? must be a (list of strings|string), but is "):
            translators["ctc"].translate(texts)  # type: ignore[arg-type]
    assert translators["ctc"].translate(("the cell",)) == translators["ctc"].translate(["the cell"])


@pytest.fixture
def with_search(folder: Path, reseal: Reseal) -> Path:  # noqa: F811
    """A folder with a search, a language model and a calibration."""
    pytest.importorskip("kenlm")
    values = {
        "ctc_beam": 4,
        "ctc_lm_weight": 2.0,
        "ctc_token_bonus": 3.0,
        "calibration": {"slope": 0.5, "intercept": -1},
    }
    (folder / SEARCH).write_text(json.dumps(values))
    (folder / "lm.arpa.gz").write_bytes(gzip.compress(ARPA.encode()))
    return reseal(folder)


def test_search_of_the_folder(with_search: Path, translators: dict[str, Translator]) -> None:
    plain, searching = translators["ctc"], Translator.load(with_search)

    def texts(translator: Translator, **options: Any) -> list[str]:
        return [one.text for one in translator.translate(SENTENCES, **options)]

    own = texts(searching)
    assert own != texts(plain)
    assert own == texts(searching, ctc_beam=4, ctc_lm_weight=2.0, ctc_token_bonus=3)
    assert texts(searching, search="none") == texts(searching, ctc_beam=0) == texts(plain)
    assert texts(searching, search="none", ctc_beam=3) == texts(plain, ctc_beam=3)
    assert texts(searching, ctc_lm_weight=0.0) == texts(plain, ctc_beam=4, ctc_token_bonus=3.0)
    assert searching.search["ctc_beam"] == 4


def test_calibration(with_search: Path, translators: dict[str, Translator]) -> None:
    """Slope and offset on the logit scale."""
    own = Translator.load(with_search).translate(SENTENCES, search="none")
    plain = translators["ctc"].translate(SENTENCES)
    for one, other in zip(own, plain, strict=True):
        for found, given in zip(one.confidence, other.confidence, strict=True):
            logit = 0.5 * math.log(given / (1 - given)) - 1
            assert found == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-6)
    engine = translators["ctc"]._engine
    steep = Translator(engine, calibration=Platt(1e6, 0.0)).translate(SENTENCES)
    assert {value for one in steep for value in one.confidence} <= {0.0, 1.0}


def test_refinement_leaves_the_search_out(exported: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    translator = Translator.load(exported["refining"])
    one, two = (translator.translate(SENTENCES, iter_decode_max_iter=passes) for passes in (0, 2))
    assert [each.text for each in one] != [each.text for each in two]


def test_threads(with_search: Path, translators: dict[str, Translator]) -> None:
    """Eight at once, each with options of its own, get what each gets alone."""
    searching = Translator.load(with_search)
    jobs: list[tuple[Translator, dict[str, Any]]] = [
        (searching, {}),
        (searching, {"search": "none"}),
        (searching, {"ctc_beam": 2}),
        (searching, {"ctc_lm_weight": 0.5, "nbest": 3}),
        (searching, {"search": "none", "nbest": 2}),
        (searching, {"ctc_token_bonus": 0.0}),
        (translators["autoregressive"], {"beam": 1}),
        (translators["autoregressive"], {"nbest": 2}),
    ]
    alone = [translator.translate(SENTENCES, **options) for translator, options in jobs]
    assert len({str(one) for one in alone}) == len(jobs)
    found: list[list[Any]] = [[] for _ in jobs]
    begin = threading.Barrier(len(jobs))

    def work(i: int) -> None:
        translator, options = jobs[i]
        begin.wait()
        found[i] = [translator.translate(SENTENCES, **options) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[one] * 5 for one in alone]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "tpu"}, "engine must be auto or torch or onnx, but is 'tpu'"),
        ({"device": "cuda:7"}, "device must be cpu or cuda, but is 'cuda:7'"),
        ({"dtype": "float64"}, "dtype must be float32 or bfloat16 or float16, but is 'float64'"),
        ({"dtype": "float16", "engine": "onnx"}, "dtype must be float32 for engine onnx, but is 'float16'"),
        ({"ctc_beem": 5}, "search: there is no option ctc_beem; did you mean ctc_beam?"),
        ({"ctc_beam": -1}, "decoding: --ctc-beam must not be negative, but is -1"),
        ({"precision": "low"}, "precision must be highest or high or medium, but is 'low'"),
        ({"threads": 0}, "threads must be at least 1, but is 0"),
    ],
)
def test_loading_options(options: dict[str, Any], said: str, exported: dict[str, Path]) -> None:  # noqa: F811
    with pytest.raises(ValueError) as refusal:
        Translator.load(exported["ctc"], **options)
    assert str(refusal.value).startswith(said)


def test_a_gpu_that_is_not_there(exported: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^device must be cpu where PyTorch finds no GPU, but is 'cuda'$"):
        Translator.load(exported["ctc"], device="cuda")


def test_what_is_no_model(trained: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    for model, data, said in (
        (tmp_path / "nothing", None, r"^there is no model folder or checkpoint '/"),
        (trained["ctc"], None, r"ctc.pt must be a model folder, or a checkpoint with data=DATA_BIN; bnb-export makes"),
        (tmp_path, None, r"config.json: must be a file of a model folder, but there is no such file; bnb-export"),
        (tmp_path / "nothing", trained["ctc"].parent, "nothing"),
        (trained["ctc"].parent / "dict.en.txt", trained["ctc"].parent, "dict.en.txt"),
        (trained["ctc"], tmp_path, r"^data must be a folder made by fairseq-preprocess, but /.* has no dict.\*.txt$"),
        (trained["ctc"].parent, trained["ctc"].parent, r"a single other \*.pt, but has .*ctc.pt, .*; name one$"),
    ):
        with pytest.raises(ValueError, match=said):
            Translator.load(model, data=data)


def test_the_only_checkpoint_of_a_folder(trained: dict[str, Path], tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "averaged.pt").symlink_to(trained["ctc"])
    data = trained["ctc"].parent
    mine, expected = (Translator.load(path, data=data).translate(SENTENCES) for path in (tmp_path, trained["ctc"]))
    assert mine == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "progress", "shows"), [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)]
)
def test_progress(
    stream: type[io.StringIO],
    progress: bool,
    shows: bool,
    translators: dict[str, Translator],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    translators["ctc"].translate(SENTENCES, progress=progress)
    assert ("5/5" in shown.getvalue()) == shows
    assert bool(shown.getvalue()) == shows


def test_a_hub_that_has_no_such_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(name: str, **options: Any) -> str:
        raise OSError("no network\nat all")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ValueError, match=r"^there is no folder 'me/mine', and the hub gives .*: no network at all$"):
        Translator.load("me/mine")
    for name in ("../mine", "/me/mine", "mine", "a/b/c"):
        with pytest.raises(ValueError, match=r"^there is no model folder or checkpoint '"):
            Translator.load(name)


def test_any_iterable_of_texts_has_as_many_translations(translators: dict[str, Translator]) -> None:
    """One that can be read once only, too."""
    translator = translators["ctc"]
    expected = translator.translate(SENTENCES)
    assert len(expected) == len(SENTENCES)
    assert translator.translate(iter(SENTENCES)) == translator.translate(tuple(SENTENCES)) == expected
    assert translator.translate(text for text in SENTENCES) == expected
    with pytest.raises(TypeError, match=r"^texts\[1\] must be a string, but is int$"):
        translator.translate(iter(["the", 5]))  # type: ignore[arg-type]


def test_a_glossary_without_its_search_is_refused(translators: dict[str, Translator]) -> None:
    glossary = {"cell": "Zelle"}
    with pytest.raises(ValueError, match=r"^ctc_beam must be at least 1 with a glossary, .* but is 0$"):
        translators["ctc"].translate(SENTENCES, glossary=glossary, ctc_beam=0)
    for name in ("refining", "autoregressive"):
        with pytest.raises(ValueError, match=r"^a glossary needs a "):
            translators[name].translate(SENTENCES, glossary=glossary)


def test_how_texts_are_written(translators: dict[str, Translator], exported: dict[str, Path]) -> None:  # noqa: F811
    """Sentence by sentence, a text alone as among others; the last pass of a refinement has the translation."""
    long = "The cell opens the cell opens. Opens cell the. The the the cell cell opens."
    texts = [*SENTENCES, "", long, "cell " * 200, "\ud800"]
    translator = translators["ctc"]
    found = translator.canvases(texts)
    assert [len(written) for written in found] == [1] * len(SENTENCES) + [0, 3, 0, 0]
    assert [one.source for one in found[-3]] == [piece.text for piece in split(long, translator.count_tokens, LIMIT)]
    translations = translator.translate(texts)
    for text, written, translation in zip(texts, found, translations, strict=True):
        assert " ".join(one.passes[-1].text for one in written).split() == translation.text.split()
        assert [[made.text for made in one.passes] for one in translator.canvases([text])[0]] == [
            [made.text for made in one.passes] for one in written
        ]
    refining = Translator.load(exported["refining"])
    passes = [one.passes for (one,) in refining.canvases(SENTENCES, iter_decode_max_iter=3)]
    assert [made[-1].text for made in passes] == [
        one.text for one in refining.translate(SENTENCES, iter_decode_max_iter=3)
    ]
    assert any(slot.again for made in passes for slot in made[1].slots)
    assert translators["autoregressive"].canvases(SENTENCES) == [[]] * len(SENTENCES)
    assert [translators[name].has_canvas for name in KINDS] == [True, False]
    with pytest.raises(ValueError, match="iter-decode-max-iter must be 0"):
        translator.canvases(SENTENCES, iter_decode_max_iter=1)


@pytest.mark.parametrize("name", KINDS)
def test_words_of_tokens(name: str, translators: dict[str, Translator]) -> None:
    """Every word has its tokens, in order; of a text of several sentences, too. Special symbols lie in any word."""
    long = "The cell opens the cell opens. Opens cell the. The the the cell cell opens."
    for one in translators[name].translate([*SENTENCES, long], alignment=True):
        assert len(one.words) == len(one.tokens)
        assert one.words == sorted(one.words)
        assert set(one.words) == set(range(len(one.text.split())))
        for word, text in enumerate(one.text.split()):
            tokens = [
                token for token, of in zip(one.tokens, one.words, strict=True) if of == word and token != "[MASK]"
            ]
            assert "".join(tokens).replace("##", "") == text
    assert translators[name].translate(SENTENCES)[0].words == []


def test_a_text_that_fits_is_split_into_tokens_once(
    translators: dict[str, Translator], monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = translators["ctc"]
    vocabulary, seen = translator._engine.source, list[str]()
    encode = vocabulary.encode

    def noted(text: str, has_segments: bool = False) -> list[int]:
        seen.append(text)
        return encode(text, has_segments)

    monkeypatch.setattr(vocabulary, "encode", noted)
    translator.translate(SENTENCES)
    assert seen == SENTENCES
