"""Translation from Python with small random models: one result for each input, and no option without effect."""

import copy
import io
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.generation import ngram
from bnb_fairseq.hub import interface
from bnb_fairseq.hub.interface import BnbHubInterface

from ...facts import names
from .conftest import LIMIT, SENTENCES, Load

Batches = Callable[[BnbHubInterface], list[list[int]]]
TOO_LONG = "cell " * (LIMIT - 1)  # one token too many, with [CLS] and [SEP]
ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.9\t</s>
-0.2\tdie
-1.3\tzelle

\\2-grams:
-0.4\t<s> zelle

\\end\\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    pytest.importorskip("kenlm")
    path = tmp_path / "lm.arpa"
    path.write_text(ARPA, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["ctc", "refining", "autoregressive"])
def test_one_result_for_each_input_in_order(name: str, load: Load) -> None:
    hub = load(name).double()
    alone = [hub.translate(sentence) for sentence in SENTENCES]
    assert all(isinstance(text, str) for text in alone)
    assert len(set(alone)) > 2
    for some in (SENTENCES, tuple(SENTENCES), iter(SENTENCES)):
        assert hub.translate(some, batch_size=2) == alone
    assert hub.translate([]) == hub.generate([]) == hub.sample([]) == []
    found = hub.generate([hub.encode(sentence) for sentence in SENTENCES])
    assert [hub.decode(hypotheses[0]["tokens"]) for hypotheses in found] == alone
    assert hub.decode(hub.generate(hub.encode(SENTENCES[2]))[0]["tokens"]) == alone[2]
    assert hub.translate(["", " \n", SENTENCES[0]]) == ["", "", alone[0]]


def test_limits_of_a_batch(ctc: BnbHubInterface, batches: Batches) -> None:
    found = batches(ctc)  # lengths with [CLS] and [SEP]: 7, 3, 5, 4, 8
    ctc.translate(SENTENCES)
    ctc.translate(SENTENCES, batch_size=2)
    ctc.translate(SENTENCES, max_tokens=8)
    ctc.translate(SENTENCES, max_tokens=3)  # no shorter than the longest sentence
    assert found == [[1, 3, 2, 0, 4], [1, 3], [2, 0], [4], *[[1, 3], [2], [0], [4]] * 2]
    for name in ("batch_size", "max_tokens"):
        with pytest.raises(ValueError, match=names(name, "1", "0")):
            ctc.translate(SENTENCES, **{name: 0})  # type: ignore[arg-type]


def test_limits_for_all_calls(load: Load, batches: Batches) -> None:
    hub = load("ctc", batch_size=3)
    found = batches(hub)
    hub.translate(SENTENCES)
    assert found == [[1, 3, 2], [0, 4]]


def test_n_best_lists(ctc: BnbHubInterface, autoregressive: BnbHubInterface, load: Load) -> None:
    found = ctc.translate(SENTENCES, nbest=3)
    assert [len(texts) for texts in found] == [3] * len(SENTENCES)
    assert found == [ctc.translate(sentence, nbest=3) for sentence in SENTENCES]
    assert ctc.translate(SENTENCES, nbest=1) == ctc.translate(SENTENCES)
    assert load("ctc", nbest=3).translate(SENTENCES) == found
    assert [texts[0] for texts in found] == ctc.translate(SENTENCES, ctc_beam=3)
    some = autoregressive.translate(SENTENCES, beam=4, nbest=2)
    assert [len(texts) for texts in some] == [2] * len(SENTENCES)
    tokens = [autoregressive.encode(sentence) for sentence in SENTENCES]
    assert [len(hypotheses) for hypotheses in autoregressive.generate(tokens, beam=4)] == [4] * len(SENTENCES)
    assert [len(hypotheses) for hypotheses in autoregressive.generate(tokens, beam=4, nbest=3)] == [3] * len(SENTENCES)
    with pytest.raises(ValueError, match=names("--nbest", "1", "--beam", "4", "5")):
        autoregressive.translate(SENTENCES, beam=4, nbest=5)


def test_the_beam_of_an_autoregressive_model(autoregressive: BnbHubInterface, load: Load) -> None:
    beams = {beam: autoregressive.translate(SENTENCES, beam) for beam in (1, 2, 5)}
    assert beams[1] != beams[5]
    assert autoregressive.translate(SENTENCES) == beams[5]
    assert autoregressive.sample(SENTENCES) == beams[1]
    assert load("autoregressive", max_len_b=8, beam=2).translate(SENTENCES) == beams[2]
    with pytest.raises(ValueError, match=names("--beam", "1", "0")):
        autoregressive.translate(SENTENCES, 0)
    details = {"sampling_topk": 3, "sampling_topp": 0.5, "diverse_beam_strength": 0.2}
    for name, value in details.items():
        with pytest.raises(ValueError, match=rf"--{name.replace('_', '-')} (must stand beside|needs) .*but is {value}"):
            autoregressive.translate(SENTENCES, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["translate", "sample", "generate"])
def test_options_that_do_not_exist_or_have_no_effect(
    method: str, ctc: BnbHubInterface, autoregressive: BnbHubInterface
) -> None:
    for options, facts in (
        ({"ctc_beem": 5}, ["ctc_beem", "ctc_beam"]),
        ({"batch": 5}, ["batch", "batch_size"]),
        ({"truncate_source": True}, ["truncate_source", "from_pretrained"]),
        ({"beam": 5}, ["beam=5"]),
        ({"temperature": 0.5}, ["temperature=0.5"]),
        ({"ctc_beam": "5"}, ["ctc_beam", "integer", "5"]),
        ({"ctc_beam_symbols": 3}, ["--ctc-beam-symbols", "--ctc-beam", "3"]),
    ):
        with pytest.raises(ValueError, match=names(*facts)):
            getattr(ctc, method)([], **options)
    with pytest.raises(ValueError, match=names("ctc_beam=5")):
        getattr(autoregressive, method)([], ctc_beam=5)


def test_options_that_show_in_hypotheses_alone(load: Load) -> None:
    hub = load("refining", iter_decode_max_iter=2)
    with pytest.raises(ValueError, match=names("retain_iter_history")):
        hub.translate(SENTENCES, retain_iter_history=True)
    assert len(hub.generate(hub.encode("the cell"), retain_iter_history=True)[0]["history"]) > 1


def test_options_for_all_calls(load: Load, ctc: BnbHubInterface) -> None:
    hub = load("ctc", ctc_beam=4, ctc_token_bonus=3.0)
    expected = ctc.translate(SENTENCES, ctc_beam=4, ctc_token_bonus=3.0)
    assert hub.translate(SENTENCES) == expected != ctc.translate(SENTENCES)
    assert hub.translate(SENTENCES, ctc_beam=0, ctc_token_bonus=0) == ctc.translate(SENTENCES)
    for options, facts in (
        ({"truncate_sorce": True}, ["truncate_sorce", "truncate_source"]),
        ({"fp16": True}, ["fp16"]),
        ({"beam": 4}, ["beam=4"]),
        ({"truncate_source": "yes"}, ["truncate_source", "True", "False", "yes"]),
        ({"batch_size": 0}, ["batch_size", "1", "0"]),
    ):
        with pytest.raises(ValueError, match=names(*facts)):
            load("ctc", **options)


def test_what_the_training_was_told_about_decoding_does_not_stick(load: Load, ctc: BnbHubInterface) -> None:
    """The options are ``fairseq-interactive``'s: those of its own command line."""
    hub = load("sticky")
    assert hub.translate(SENTENCES) == ctc.translate(SENTENCES)  # the same parameters
    with pytest.raises(ValueError, match=names("sentences[0]", LIMIT + 1, LIMIT)):
        hub.translate(TOO_LONG)
    cut = load("sticky", truncate_source=True, max_source_positions=5).translate(SENTENCES[4])
    assert cut == ctc.translate("cell opens opens")


def test_too_long(ctc: BnbHubInterface, batches: Batches) -> None:
    ends = ctc.translate([SENTENCES[0], SENTENCES[1]])
    three, tokens = [SENTENCES[0], TOO_LONG, SENTENCES[1]], len(ctc.encode(TOO_LONG))
    assert tokens == LIMIT  # without [CLS]
    found = batches(ctc)
    facts = ("1", "3", "sentences[1]", LIMIT + 1, LIMIT, "skip_invalid_size_inputs")
    for call in (ctc.translate, lambda texts: ctc.generate([ctc.encode(text) for text in texts])):
        with pytest.raises(ValueError, match=names(*facts)):
            call(three)
    assert found == []  # nothing was translated in vain
    assert ctc.translate(three, skip_invalid_size_inputs=True) == [ends[0], None, ends[1]]
    assert ctc.translate(TOO_LONG, skip_invalid_size_inputs=True) is None
    assert ctc.translate([TOO_LONG] * 2, skip_invalid_size_inputs=True, nbest=2) == [None, None]
    assert ctc.generate(ctc.encode(TOO_LONG), skip_invalid_size_inputs=True) == []
    assert ctc.translate(("cell " * (LIMIT - 2)).strip())


def test_what_is_no_text(ctc: BnbHubInterface) -> None:
    with pytest.raises(TypeError, match=names("sentences[1]", "int")):
        ctc.translate(["cell", 3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=names("sentence", "list")):
        ctc.encode(["cell"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=names("sentences[0]", "4")):
        ctc.encode("cell\ncell")
    with pytest.raises(ValueError, match=names("tokenized_sentences[0]")):
        ctc.generate(["cell"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=names("score")):
        ctc.score(["cell"])


def test_a_fault_that_the_task_finds(ctc: BnbHubInterface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctc.task, "find_fault", lambda line: "must be short" if len(line) > 4 else None)
    with pytest.raises(ValueError, match=names("sentences[1]", "the cell")):
        ctc.translate(["cell", "the cell"])


def count_readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    read: list[str] = []
    load_model = ngram.load_ngram_model

    def load_and_note(path: str) -> Any:
        read.append(path)
        return load_model(path)

    monkeypatch.setattr(ngram, "load_ngram_model", load_and_note)
    return read


def test_an_ngram_model_is_read_once(load: Load, arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = count_readings(monkeypatch)
    hub = load("ctc", ctc_beam=3, ctc_lm_path=arpa)
    first = hub.translate(SENTENCES, ctc_lm_weight=2.0)
    assert hub.translate(SENTENCES, ctc_lm_weight=2.0) == first
    other = hub.translate(SENTENCES, ctc_lm_weight=-2.0)
    assert other != first
    assert read == [str(arpa)]
    arpa.write_text(ARPA.replace("-0.2", "-3.25"), encoding="utf-8")
    changed = hub.translate(SENTENCES, ctc_lm_weight=2.0)
    assert changed != first
    assert read == [str(arpa)] * 2
    assert load("ctc").translate(SENTENCES, ctc_beam=3, ctc_lm_path=str(arpa), ctc_lm_weight=2.0) == changed
    assert read == [str(arpa)] * 2  # another interface, the same model


def test_a_generator_is_built_once_for_the_same_options(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    hub, built = load("ctc"), []
    build = hub.task.build_generator

    def build_and_note(*arguments: Any, **more: Any) -> Any:
        built.append(arguments)
        return build(*arguments, **more)

    monkeypatch.setattr(hub.task, "build_generator", build_and_note)
    for beam in (0, 2, 0, 2):
        hub.translate(SENTENCES, ctc_beam=beam)
    assert len(built) == 2


@pytest.mark.parametrize("name", ["ctc", "refining", "autoregressive"])
def test_threads_may_share_a_model(name: str, load: Load, arpa: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngram, "CACHED_PAIRS", 3)  # each thread forgets all the time
    hub = load(name).double()
    options: dict[str, Any] = {"ctc_beam": 3, "ctc_lm_path": arpa, "ctc_lm_weight": 0.5} if name == "ctc" else {}
    expected, wrong = hub.translate(SENTENCES, **options), []

    def work(start: int) -> None:
        for _ in range(4):
            found = hub.translate(SENTENCES[start:], batch_size=2, **options)
            if found != expected[start:]:
                wrong.append((start, found))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_copy_of_another_type(dtype: torch.dtype, load: Load) -> None:
    for name in ("ctc", "refining", "autoregressive"):
        hub = load(name)
        expected = hub.translate(SENTENCES)
        twin = copy.deepcopy(hub).to(dtype)
        score = twin.generate(twin.encode("the cell"))[0]["score"]
        assert float(score) == pytest.approx(float(hub.generate(hub.encode("the cell"))[0]["score"]), abs=0.2)
        assert next(twin.models[0].parameters()).dtype == dtype
        assert next(hub.models[0].parameters()).dtype == torch.float32
        assert all(isinstance(text, str) for text in twin.translate(SENTENCES))
        assert hub.translate(SENTENCES) == expected


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "options", "shows"),
    [(Terminal, {}, True), (Terminal, {"progress": False}, False), (io.StringIO, {}, False)],
)
def test_progress(
    stream: type[io.StringIO],
    options: dict[str, bool],
    shows: bool,
    ctc: BnbHubInterface,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    ctc.translate(SENTENCES, **options)
    assert shown.getvalue() == ""  # done within a second
    monkeypatch.setattr(interface, "PROGRESS_DELAY", 0.0)
    ctc.translate([*SENTENCES, TOO_LONG], skip_invalid_size_inputs=True, **options)
    assert ("5/5" in shown.getvalue()) == shows
    assert bool(shown.getvalue()) == shows


def test_verbose(ctc: BnbHubInterface, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=interface.__name__):
        (text,) = ctc.translate(["the cell"], verbose=True)
    kinds = [record.getMessage().split("\t") for record in caplog.records if record.name == interface.__name__]
    assert [kind[0] for kind in kinds] == ["S", "H", "P"]
    assert kinds[0][1] == "the cell"  # by the source's dictionary
    assert kinds[1][2] == text


def test_pieces_of_a_plain_dictionary_are_joined(load: Load) -> None:
    hub = load("ctc", post_process="@@ ")
    dictionary = BnbDictionary()
    ids = [dictionary.add_symbol(symbol) for symbol in ("a@@", "b")]
    dictionary.add_mask()
    hub.tgt_dict = dictionary
    assert hub.string(torch.tensor(ids)) == "ab"


def test_several_parallel_models(trained: dict[str, Path], load: Load) -> None:
    from bnb_fairseq.models.bnb_transformer import BnbTransformer

    with pytest.raises(ValueError, match=names("checkpoint_file", "2")):
        BnbTransformer.from_pretrained(f"{trained['ctc']}:{trained['ctc']}")
    pair = BnbTransformer.from_pretrained(f"{trained['refining']}:{trained['autoregressive']}")
    found = pair.translate(SENTENCES, iter_decode_with_beam=3, iter_decode_with_external_reranker=True)
    assert len(found) == len(SENTENCES)
    with pytest.raises(ValueError, match=names("--iter-decode-with-external-reranker")):
        pair.translate(SENTENCES)
    two = BnbTransformer.from_pretrained(f"{trained['autoregressive']}:{trained['autoregressive']}", max_len_b=8)
    assert two.double().translate(SENTENCES) == load("autoregressive", max_len_b=8).double().translate(SENTENCES)
