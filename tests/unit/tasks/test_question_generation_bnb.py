"""Question generation: the task's data, its two segments in the model, and what it refuses."""

import shutil
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from fairseq.data import indexed_dataset
from fairseq.dataclass.configs import GenerationConfig
from torch import Tensor

from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.network import bert_encoder
from bnb_fairseq.tasks.question_generation_bnb import QuestionGenerationBnbTask
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from .conftest import NON_AUTOREGRESSIVE, configure

LINES = ["house\tthe house runs .", "a b\tc the houses , a b c running .", "the house\trun , the house runs"]
SWAPPED = ["\t".join(reversed(line.split("\t"))) for line in LINES]
QUESTIONS = ["a house", "c", "the"]
Config = Callable[..., Any]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory, write_bert: Callable[..., Path]) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"), "BertModel")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    """A data-bin folder as fairseq-preprocess makes it of the lines."""
    data = tmp_path_factory.mktemp("bin")
    for side, lines in (("answer", LINES), ("question", QUESTIONS)):
        dictionary = QuestionGenerationBnbTask.load_dictionary(str(bert))
        dictionary.save(str(data / f"dict.{side}.txt"))
        for part in ("train", "valid", "test"):
            prefix = data / f"{part}.answer-question.{side}"
            builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size=len(dictionary))
            for line in lines:
                builder.add_item(dictionary.encode_line(line))
            builder.finalize(f"{prefix}.idx")
    return data


@pytest.fixture
def setup(folder: Path, bert: Path) -> Callable[..., tuple[Any, Any]]:
    """Task and model, the model first, as in fairseq's commands."""

    def make(*arguments: str) -> tuple[Any, Any]:
        chosen = ["--task", "question_generation_bnb", "--arch", "bnb_transformer", "--criterion", "bnb_loss"]
        chosen += ["--ctc-upsample", "1"]  # the BERT has 24 positions
        cfg = deepcopy(configure(folder, *chosen, "--bert-encoder", str(bert), *arguments))
        task = QuestionGenerationBnbTask.setup_task(cfg.task)
        return task, task.build_model(cfg.model).eval()

    return make


def typed_batch(task: Any, lines: Sequence[str]) -> dict[str, Any]:
    """What fairseq-interactive makes of lines."""
    dataset = task.build_dataset_for_inference(*task.get_interactive_tokens_and_lengths(lines, lambda line: line))
    batch: dict[str, Any] = dataset.collater([dataset[i] for i in range(len(lines))])
    return batch


@torch.no_grad()
def states(model: Any, batch: dict[str, Any]) -> Tensor:
    """B x S x D."""
    net_input = batch["net_input"]
    encoded: Tensor = model.encoder(net_input["src_tokens"], net_input["src_lengths"])["encoder_out"][0]
    return encoded.transpose(0, 1)


def test_loaded_and_typed_sources_are_the_same(setup: Callable[..., Any]) -> None:
    task, _ = setup()
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    loaded = dataset.collater([dataset[i] for i in range(3)])["net_input"]
    typed = typed_batch(task, LINES)["net_input"]
    assert torch.equal(loaded["src_tokens"], typed["src_tokens"])
    cls, sep = task.src_dict.bos(), task.src_dict.eos()
    house = task.src_dict.index("house")
    assert loaded["src_tokens"][0].tolist()[:4] == [cls, house, sep, task.src_dict.index("the")]
    assert (loaded["src_tokens"] == sep).sum(dim=1).tolist() == [2, 2, 2]


@torch.no_grad()
def test_parity_with_huggingface_on_pairs(setup: Callable[..., Any], bert: Path) -> None:
    """Tokens, token types and states of a batch are those of transformers for pairs of texts."""
    task, model = setup()
    batch = typed_batch(task, LINES)
    tokenizer = transformers.BertTokenizerFast(str(bert / "vocab.txt"), do_lower_case=True)
    pairs = [tuple(line.split("\t")) for line in LINES]
    theirs = tokenizer(pairs, padding=True, return_tensors="pt")
    assert torch.equal(batch["net_input"]["src_tokens"], theirs["input_ids"])
    kept = theirs["attention_mask"].bool()
    types = bert_encoder.segment_types(theirs["input_ids"], task.src_dict.eos(), ~kept)
    assert torch.equal(types, theirs["token_type_ids"])
    assert types.sum() > 10
    reference = transformers.BertModel.from_pretrained(bert).eval()
    expected = reference(**theirs).last_hidden_state
    assert (states(model, batch) - expected)[kept].abs().max() <= 1e-5
    untyped = reference(**{**theirs, "token_type_ids": torch.zeros_like(types)}).last_hidden_state
    assert (untyped - expected)[kept].abs().max() > 0.01


@torch.no_grad()
def logits(task: Any, model: Any, lines: Sequence[str]) -> Tensor:
    """What the model says of the first canvas position of each line, B x V."""
    batch = typed_batch(task, lines)["net_input"]
    found: Tensor = model(batch["src_tokens"], batch["src_lengths"]).logits  # A x B x V
    return found[0]


@pytest.mark.parametrize("flip", [lambda types: 1 - types, torch.zeros_like])
def test_token_types_reach_the_encoder(
    flip: Callable[[Tensor], Tensor], setup: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other types for the same ids change every state, and what is written."""
    task, model = setup()
    batch = typed_batch(task, LINES)
    kept = batch["net_input"]["src_tokens"] != task.src_dict.pad()
    before, written = states(model, batch), logits(task, model, LINES)
    types_of = bert_encoder.segment_types
    monkeypatch.setattr(bert_encoder, "segment_types", lambda *arguments: flip(types_of(*arguments)))
    after = states(model, batch)
    assert (after - before).abs().amax(dim=2)[kept].min() > 1e-4
    assert (logits(task, model, LINES) - written).abs().amax(dim=1).min() > 1e-4


def test_swapped_segments(setup: Callable[..., Any]) -> None:
    """The same words, the context in the answer's place."""
    task, model = setup()
    one, other = (typed_batch(task, lines)["net_input"]["src_tokens"] for lines in (LINES, SWAPPED))
    assert one.sort(dim=1).values.tolist() == other.sort(dim=1).values.tolist()
    assert (logits(task, model, LINES) - logits(task, model, SWAPPED)).abs().amax(dim=1).min() > 1e-4


def test_only_the_context_is_cut(setup: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="bnb_fairseq")
    task, _ = setup("--truncate-source", "--max-source-positions", "7")
    task.load_dataset("test")
    dataset = task.dataset("test")
    symbols = [[task.src_dict[i] for i in dataset[item]["source"]] for item in range(3)]
    assert symbols[1] == ["[CLS]", "a", "b", "[SEP]", "c", "the", "[SEP]"]
    assert symbols[0] == ["[CLS]", "house", "[SEP]", "the", "house", "run", "[SEP]"]
    assert "test: 3 of 3 sources (100.0%) cut to 7 tokens" in caplog.messages
    task, _ = setup("--truncate-source", "--max-source-positions", "5")
    with pytest.raises(ValueError, match=names("test", "2", "3", "1", "2", "5", "1")):
        task.load_dataset("test")
    with pytest.raises(ValueError, match=names("input", "1", "1", "0", "2")):
        typed_batch(task, LINES[1:2])
    assert typed_batch(task, LINES[:1])["net_input"]["src_tokens"].shape == (1, 5)


def test_numbered_parts_are_checked_one_by_one(setup: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    task, _ = setup("--truncate-source", "--max-source-positions", "7")
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    task.cfg.data = str(tmp_path)

    def add_part(*lines: str) -> None:
        for side, texts in (("answer", lines), ("question", lines)):
            prefix = tmp_path / f"valid1.answer-question.{side}"
            builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size=100)
            for text in texts:
                builder.add_item(task.src_dict.encode_line(text))
            builder.finalize(f"{prefix}.idx")

    add_part("house\trun")
    task.load_dataset("valid", combine=True)
    assert len(task.dataset("valid")) == 4
    add_part("house\trun", "a b c a b\tthe house runs")
    with pytest.raises(ValueError, match=names("valid1", "1", "2", "1", "5")):
        task.load_dataset("valid", combine=True)
    add_part("house run")
    with pytest.raises(ValueError, match=names("valid1", "answer", "context")):
        task.load_dataset("valid", combine=True)


def test_typed_lines_that_are_refused(setup: Callable[..., Any]) -> None:
    task, _ = setup()
    with pytest.raises(ValueError, match=names("--input", "2", "tab")):
        typed_batch(task, [LINES[0], "the house runs"])
    with pytest.raises(ValueError, match=names("--input", "1", "UTF-8")):
        typed_batch(task, ["a\t\udcff"])


def test_the_history_of_a_refinement(setup: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    """fairseq-interactive shows the source without its special symbols."""
    task, model = setup("--canvas-tokens")
    generation = GenerationConfig(iter_decode_max_iter=1, retain_iter_history=True)
    batch = typed_batch(task, LINES[:1])
    task.inference_step(task.build_generator([model], generation), [model], {"net_input": batch["net_input"]})
    assert "E-S\thouse the house runs." in capsys.readouterr().out.splitlines()


def test_dictionaries_read_segments_in_this_task_alone(bert: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a house\tthe house runs\n")
    for task, expected in ((QuestionGenerationBnbTask, True), (TranslationBnbTask, False)):
        assert task.load_dictionary(str(bert)).reads_segments == expected
        counted = task.build_dictionary([str(tmp_path / "text")])
        assert counted.reads_segments == expected
        assert {"a", "house", "the", "runs"} < set(counted.symbols)
        name = f"{'question_generation' if expected else 'translation'}_bnb"
        cfg = deepcopy(configure(folder, "--task", name, *NON_AUTOREGRESSIVE))
        assert task.setup_task(cfg.task).src_dict.reads_segments == expected
    assert not load_dictionary(str(folder / "dict.answer.txt")).reads_segments


def test_data_of_another_task(data_bin: Path) -> None:
    cfg = deepcopy(configure(data_bin, "--task", "question_generation_bnb", *NON_AUTOREGRESSIVE))
    task = QuestionGenerationBnbTask.setup_task(cfg.task)
    with pytest.raises(ValueError, match=names("valid", "answer", "context")):
        task.load_dataset("valid")
