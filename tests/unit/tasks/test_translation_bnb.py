"""The task: setting up, data, and what it hands to fairseq."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fairseq import options
from fairseq.data import indexed_dataset
from omegaconf import DictConfig, OmegaConf

from bnb_fairseq.data.detokenizer import Detokenizer
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.modules.inference import InferenceLinear
from bnb_fairseq.resuming.restored import LAST
from bnb_fairseq.start.row_matching import symbol_state
from bnb_fairseq.tasks.config import TranslationBnbConfig
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from .conftest import NON_AUTOREGRESSIVE, SOURCES, TARGETS, WORDS, write_data_bin

MakeTask = Callable[..., TranslationBnbTask]


@pytest.mark.parametrize("data", [None, "", "/no/such/folder", "/no/such/folder:/tmp", __file__])
def test_missing_folder(data: str | None) -> None:
    first = (data or "").split(":")[0]
    with pytest.raises(ValueError, match=names("data", first)):
        TranslationBnbTask.setup_task(TranslationBnbConfig(data=data))


def test_languages_are_inferred(data_bin: Path) -> None:
    task = TranslationBnbTask.setup_task(TranslationBnbConfig(data=str(data_bin)))
    assert (task.cfg.source_lang, task.cfg.target_lang) == ("en", "de")
    assert task.source_dictionary.symbols[4:] == ["the", "cell", "opens", "<mask>"]
    assert task.target_dictionary.symbols == WORDS
    swapped = TranslationBnbConfig(data=str(data_bin), source_lang="de", target_lang="en")
    assert TranslationBnbTask.setup_task(swapped).source_dictionary.symbols == WORDS


def test_languages_that_cannot_be_inferred(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=names("data", tmp_path, "dict.*.txt")):
        TranslationBnbTask.setup_task(TranslationBnbConfig(data=str(tmp_path)))
    (tmp_path / "dict.en.txt").touch()
    with pytest.raises(ValueError, match=names("--source-lang", "--target-lang", tmp_path)):
        TranslationBnbTask.setup_task(TranslationBnbConfig(data=str(tmp_path)))


def test_other_language_pair(data_bin: Path) -> None:
    config = TranslationBnbConfig(data=str(data_bin), source_lang="en", target_lang="fr")
    with pytest.raises(ValueError, match=names(f"{data_bin}/dict.fr.txt")):
        TranslationBnbTask.setup_task(config)


@pytest.mark.parametrize(
    ("task", "chosen", "passes"),
    [("translation_bnb", [], 0), ("translation_bnb", ["--iter-decode-max-iter", "3"], 3), ("translation", [], 10)],
)
def test_no_refinement_by_default(task: str, chosen: list[str], passes: int) -> None:
    parser = options.get_generation_parser()
    args = options.parse_args_and_arch(parser, input_args=["data", "--path", "x.pt", "--task", task, *chosen])
    assert args.iter_decode_max_iter == passes


def test_checkpoint_remembers_the_dictionaries(make_task: MakeTask) -> None:
    task = make_task()
    state = task.state_dict()
    assert state == {
        "dictionaries": {
            "source": task.src_dict.digest().state(),
            "target": task.tgt_dict.digest().state(),
        },
        "symbols": {"source": symbol_state(task.src_dict), "target": symbol_state(task.tgt_dict)},
    }
    task.load_state_dict(state)
    task.load_state_dict({})  # another task wrote the checkpoint


@pytest.mark.parametrize("side", ["source", "target"])
def test_data_with_another_dictionary(side: str, make_task: MakeTask, data_bin: Path) -> None:
    task = make_task()
    state = task.state_dict()
    state["dictionaries"][side]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match=names(side, data_bin, "sha256", "000000000000")):
        task.load_state_dict(state)


@pytest.mark.parametrize("difference", ["tokenizer", "spaces"])
def test_data_whose_text_is_split_or_joined_in_another_way(difference: str, make_task: MakeTask) -> None:
    task = make_task()
    state = task.state_dict()
    state["dictionaries"]["target"][difference] = "0" * 64
    with pytest.raises(ValueError, match=names("target", difference, "000000000000")):
        task.load_state_dict(state)
    del state["dictionaries"]["target"][difference]
    task.load_state_dict(state)  # an earlier version wrote the checkpoint


@pytest.mark.parametrize("option", ["save_dir", "restore_file", "finetune_from_model"])
def test_a_training_does_not_go_on_with_another_dictionary(
    option: str, make_task: MakeTask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """fairseq compares none in training."""
    checkpoint = tmp_path / "checkpoint_last.pt"
    task = make_task()
    task.cfg.save_dir, task.cfg.restore_file, task.cfg.finetune_from_model = str(tmp_path / "new"), LAST, None
    setattr(task.cfg, option, str(tmp_path if option == "save_dir" else checkpoint))
    state = task.state_dict()
    torch.save({"task_state": state}, checkpoint)
    task.check_restored()
    state["dictionaries"]["source"]["spaces"] = "0" * 64
    torch.save({"task_state": state}, checkpoint)
    task.check_restored()
    assert "spaces 000000000000" in caplog.text
    state["dictionaries"]["source"]["tokenizer"] = "0" * 64
    torch.save({"task_state": state}, checkpoint)
    with pytest.raises(ValueError, match=names(checkpoint, "source")):
        task.build_model(None)


def test_load_dataset(make_task: MakeTask) -> None:
    task = make_task()
    for part in ("valid", "test"):
        task.load_dataset(part)
        dataset = task.dataset(part)
        assert isinstance(dataset, SentencePairDataset)
        assert [dataset[i]["source"].tolist() for i in (0, 1)] == [[0, *source] for source in SOURCES]
        assert [dataset[i]["target"].tolist() for i in (0, 1)] == TARGETS
        assert [dataset.size(i)[1] for i in (0, 1)] == [1 + len(target) for target in TARGETS], "the canvas holds [CLS]"
        assert dataset.shuffle == (part != "test")
    with pytest.raises(FileNotFoundError, match=names("dev.en-de.en")):
        task.load_dataset("dev")


@pytest.mark.parametrize("named", [{"_name": "bnb_transformr"}, {"_name": None}, {"dropout": 0.1}])
def test_a_model_that_is_not_known(named: dict[str, Any], make_task: MakeTask) -> None:
    """As in a config of fairseq-hydra-train; the command line knows the names."""
    name = named.get("_name")
    with pytest.raises(ValueError, match=names("--arch", "bert2bert", "bnb_transformer", name)):
        make_task().build_model(OmegaConf.create(named))


def test_no_targets_to_train_on(tmp_path: Path) -> None:
    folder = write_data_bin(tmp_path)
    for suffix in (".bin", ".idx"):
        (folder / f"valid.en-de.de{suffix}").unlink()
    task = TranslationBnbTask.setup_task(TranslationBnbConfig(data=str(folder), dataset_impl=None))
    task.load_dataset("valid")
    assert task.dataset("valid").target is None
    batch = task.dataset("valid").collater([task.dataset("valid")[0]])
    with pytest.raises(ValueError, match=names("--valid-subset")):
        task.valid_step(batch, None, None)
    task.trains = True
    with pytest.raises(ValueError, match=names(f"{folder}/valid.en-de.de")):
        task.load_dataset("valid")


def test_training_goes_round_the_folders(data_bin: Path, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = write_data_bin(tmp_path / "second")
    for part in ("train", "valid"):
        (second / f"{part}.en-de.en.bin").write_bytes((second / f"{part}.en-de.en.bin").read_bytes()[::-1])
    config = TranslationBnbConfig(data=f"{data_bin}:{second}", train_subset="train", dataset_impl=None)
    task = TranslationBnbTask.setup_task(config)
    first = {}
    for part in ("train", "valid"):
        for epoch in (1, 2, 3):
            task.load_dataset(part, epoch=epoch)
            first[part, epoch] = task.dataset(part)[0]["source"].tolist() == [0, *SOURCES[0]]
    assert [first["train", epoch] for epoch in (1, 2, 3)] == [True, False, True]
    assert [first["valid", epoch] for epoch in (1, 2, 3)] == [True, True, True]
    task = TranslationBnbTask.setup_task(
        TranslationBnbConfig(data=f"{data_bin}:{tmp_path}", train_subset="train", dataset_impl=None)
    )
    with pytest.raises(ValueError, match=names(f"{tmp_path}/dict.de.txt")):
        task.load_dataset("train")
    task.load_dataset("valid")


def add_part(folder: Path, name: str, sides: dict[str, list[list[int]]], implementation: str) -> None:
    for language, items in sides.items():
        prefix = folder / f"{name}.en-de.{language}"
        builder = indexed_dataset.make_builder(f"{prefix}.bin", implementation, vocab_size=100)
        for item in items:
            builder.add_item(torch.tensor(item))
        builder.finalize(f"{prefix}.idx")


@pytest.mark.parametrize("implementation", ["mmap", "cached", "lazy", None])
def test_numbered_parts(implementation: str | None, tmp_path: Path) -> None:
    """``train``, ``train1`` and ``train2`` are one; there is no ``train3``, and without ``combine`` no other at all."""
    sources, targets = [*SOURCES, [6, 6, 2], [5, 2], [6, 2]], [*TARGETS, [8, 3], [5, 9, 3], [7, 8, 9, 3]]
    stored = "mmap" if implementation is None else implementation
    for name, part in (("train", [0, 1]), ("train1", [2]), ("train2", [3, 4]), ("train4", [0])):
        add_part(
            write_data_bin(tmp_path) if name == "train" else tmp_path,
            name,
            {"en": [sources[i] for i in part], "de": [targets[i] for i in part]},
            stored,
        )
    config = TranslationBnbConfig(data=str(tmp_path), train_subset="train", dataset_impl=implementation)
    task = TranslationBnbTask.setup_task(config)
    task.is_parallel = False  # an autoregressive model's targets have no [CLS]
    for combine, length in ((False, 2), (True, 5)):
        task.load_dataset("train", combine=combine)
        dataset = task.dataset("train")
        assert len(dataset) == length
        if dataset.supports_prefetch:
            dataset.prefetch(range(length))
        assert dataset.supports_prefetch == (implementation == "cached")
        items = [dataset[i] for i in range(length)]
        assert [item["id"] for item in items] == list(range(length))
        assert [item["source"].tolist() for item in items] == [[0, *source] for source in sources[:length]]
        assert [item["target"].tolist() for item in items] == targets[:length]
        assert dataset.source_sizes.tolist() == [len(source) + 1 for source in sources[:length]]
        assert dataset.target_sizes.tolist() == [len(target) for target in targets[:length]]
    assert dataset.ordered_indices().tolist() == [1, 3, 4, 2, 0]
    assert dataset.collater(items[3:1:-1])["net_input"]["src_tokens"].tolist() == [[0, 5, 2, 1], [0, 6, 6, 2]]


def test_numbered_parts_that_do_not_fit(make_task: MakeTask, tmp_path: Path) -> None:
    write_data_bin(tmp_path)
    add_part(tmp_path, "valid1", {"en": [[4, 2]], "de": [[5, 3], [6, 3]]}, "mmap")
    task = TranslationBnbTask.setup_task(TranslationBnbConfig(data=str(tmp_path), dataset_impl=None))
    task.load_dataset("valid")
    with pytest.raises(ValueError, match=names(f"{tmp_path}/valid1.en-de.en", "1", f"{tmp_path}/valid1.en-de.de", "2")):
        task.load_dataset("valid", combine=True)
    for file in tmp_path.glob("valid1.*.de.*"):
        file.unlink()
    with pytest.raises(ValueError, match=names("valid1", "valid1")):
        task.load_dataset("valid", combine=True)


def test_truncate_source(make_task: MakeTask) -> None:
    task = make_task("--truncate-source", "--max-source-positions", "4")
    task.load_dataset("valid")
    assert task.dataset("valid")[0]["source"].tolist() == [0, 4, 5, 2]
    interactive = task.build_dataset_for_inference([torch.tensor(item) for item in SOURCES], [4, 2])
    assert [interactive[i]["source"].tolist() for i in (0, 1)] == [[0, 4, 5, 2], [0, 4, 2]]
    whole = make_task().build_dataset_for_inference([torch.tensor(SOURCES[0])], [4])
    assert whole[0]["source"].tolist() == [0, *SOURCES[0]]


def test_interactive_lines(make_task: MakeTask) -> None:
    task = make_task()
    tokens, lengths = task.get_interactive_tokens_and_lengths(["the cell", "", "opens"], lambda line: line)
    assert [line.tolist() for line in tokens] == [[4, 5, 2], [2], [6, 2]]
    assert lengths == [3, 1, 2]
    with pytest.raises(ValueError, match=names("--input", "5", "UTF-8")):
        task.get_interactive_tokens_and_lengths(["the", "\udcff"], lambda line: line)
    dataset = task.build_dataset_for_inference(tokens, lengths)
    assert dataset.ordered_indices().tolist() == [1, 2, 0]
    assert not dataset.shuffle
    batch = dataset.collater([dataset[0], dataset[1]])
    assert batch["net_input"]["src_tokens"].tolist() == [[0, 4, 5, 2], [0, 2, 1, 1]]
    with pytest.raises(ValueError, match=names("--constraints", "--task", "translation_bnb")):
        task.build_dataset_for_inference(tokens, lengths, constraints=["x"])


def test_too_long_sentences(make_task: MakeTask) -> None:
    task = make_task()
    task.load_dataset("valid")
    dataset, both = task.dataset("valid"), np.arange(2)
    assert task.filter_indices_by_size(both, dataset).tolist() == [0, 1]
    assert task.filter_indices_by_size(both, dataset, (5, 6)).tolist() == [0, 1]
    with pytest.raises(ValueError, match=names("1", "2", "0", "5", "6")):
        task.filter_indices_by_size(both, dataset, (4, 6))
    assert task.filter_indices_by_size(both, dataset, (4, 6), ignore_invalid_inputs=True).tolist() == [1]


def test_build_dictionary(tmp_path: Path) -> None:
    (tmp_path / "train.en").write_text("b a b\nb a c\n")
    dictionary = TranslationBnbTask.build_dictionary([str(tmp_path / "train.en")], padding_factor=1)
    assert isinstance(dictionary, BnbDictionary)
    assert dictionary.symbols == ["<s>", "<pad>", "</s>", "<unk>", "b", "a", "c", "<mask>"]
    assert dictionary.count[4:] == [3, 2, 1, 0]
    assert dictionary.mask() == 7


def test_detokenizer_takes_the_place_of_bpe(make_task: MakeTask) -> None:
    bpe = make_task().build_bpe(Namespace(bpe=None))
    assert isinstance(bpe, Detokenizer)
    assert bpe.decode("die zelle ##n .") == "die zellen."
    assert isinstance(make_task().build_bpe(None), Detokenizer)  # what fairseq's commands say without the option
    assert make_task().build_tokenizer(None) is None


@pytest.mark.parametrize("chosen", [Namespace(bpe="characters"), OmegaConf.create({"_name": "characters"})])
def test_bpe_of_plain_dictionaries(chosen: Any, make_task: MakeTask) -> None:
    """fairseq's own; the tokenizer, too."""
    task = make_task()
    task.tgt_dict = task.src_dict
    bpe = task.build_bpe(chosen)
    assert (bpe.encode("the cell"), bpe.decode("t h e ▁ c e l l")) == ("t h e ▁ c e l l", "the cell")
    assert task.build_tokenizer(OmegaConf.create({"_name": "space"})).encode("the \t cell") == "the cell"
    assert isinstance(task.build_bpe(OmegaConf.create({"_name": None})), Detokenizer)
    assert task.build_bpe(None).decode("▁die ##n .") == "▁die ##n ."


@pytest.mark.parametrize(("option", "value"), [("bpe", "characters"), ("tokenizer", "moses")])
@pytest.mark.parametrize("sides", ["source", "target", "source and target"])
def test_no_bpe_beside_a_subword_dictionary(option: str, value: str, sides: str, make_task: MakeTask) -> None:
    task = make_task()
    plain, subword = task.src_dict, task.tgt_dict
    task.src_dict, task.tgt_dict = (subword if side in sides else plain for side in ("source", "target"))
    facts = (f"--{option}", sides, value)
    for chosen in Namespace(**{option: value}), OmegaConf.create({"_name": value}):
        with pytest.raises(ValueError, match=names(*facts)):
            getattr(task, f"build_{option}")(chosen)


class Listener:
    """A generator that notes in which precision it is called."""

    def generate(self, models: object, sample: object, **options: object) -> list[object]:
        self.heard = torch.get_float32_matmul_precision()
        return []


@pytest.mark.parametrize("precision", ["medium", "high", "highest"])
def test_the_precision_is_the_models_not_the_process_s(precision: str, config: Callable[..., DictConfig]) -> None:
    before = torch.get_float32_matmul_precision()
    other = "high" if precision != "high" else "medium"
    torch.set_float32_matmul_precision(other)
    try:
        cfg = config(*NON_AUTOREGRESSIVE, f"--float32-matmul-precision={precision}")
        task = TranslationBnbTask.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        model.prepare_for_inference_(cfg)
        exact = {layer.exact for layer in model.modules() if isinstance(layer, InferenceLinear)}
        assert True in exact, "the length head and the like"
        assert (False in exact) == (precision == "medium")
        task.inference_step(listener := Listener(), [model], {"id": [], "net_input": {"src_lengths": torch.zeros(0)}})
        assert listener.heard == precision
        assert torch.get_float32_matmul_precision() == other
    finally:
        torch.set_float32_matmul_precision(before)
