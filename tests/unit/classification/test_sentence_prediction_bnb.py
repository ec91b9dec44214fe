"""The classification task: data, labels, lengths, model and criterion."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils, options
from fairseq.data import indexed_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import build_optimizer

from bnb_fairseq import torch_compat
from bnb_fairseq.classification.classifier_config import BnbClassifierConfig
from bnb_fairseq.classification.sentence_prediction_bnb import SentencePredictionBnbTask, unused_options
from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.network.bert_encoder import segment_types

from ..checkpoint_files import save_checkpoint

Write = Callable[[Path, Sequence[str]], Path]
MakeTask = Callable[..., SentencePredictionBnbTask]
# Ids: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4, words from 5.
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cell", "##s", "open", "."]
PAIRS = [("The cells.", "open"), ("cell", "Open the cell!"), ("", ".")]
IDS = [[2, 5, 6, 7, 9, 3, 8, 3], [2, 6, 3, 8, 5, 6, 1, 3], [2, 3, 9, 3]]
TYPES = [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0, 0]]
SIZES = ("layers=1", "embed-dim=8", "ffn-embed-dim=8", "attention-heads=2", "positions=20")
TINY = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in SIZES]
NO, YES = 4, 5


def write_items(prefix: Path, items: Sequence[Sequence[int]]) -> None:
    prefix.parent.mkdir(exist_ok=True)
    builder = indexed_dataset.make_builder(f"{prefix}.bin", "mmap", vocab_size=100)
    for item in items:
        builder.add_item(torch.tensor(item))
    builder.finalize(f"{prefix}.idx")


@pytest.fixture
def data_bin(tmp_path: Path, write: Write) -> Path:
    """Three pairs with the labels yes, no, yes in train and valid; one text without label in test."""
    dictionary = load_dictionary(str(write(tmp_path / "vocab.txt", WORDS)))
    for i in range(2):
        for part in ("train", "valid"):
            write_items(tmp_path / f"input{i}" / part, [dictionary.encode_line(pair[i]).tolist() for pair in PAIRS])
        write_items(tmp_path / f"input{i}" / "test", [dictionary.encode_line(PAIRS[1][i]).tolist()])
        dictionary.save(str(tmp_path / f"input{i}" / "dict.txt"))
    for part in ("train", "valid"):
        write_items(tmp_path / "label" / part, [[YES, 2], [NO, 2], [YES, 2]])
        write(tmp_path / "label" / f"{part}.label", ["0.5", "1", "4.75"])
    write(tmp_path / "label" / "dict.txt", ["no 1", "yes 2", "madeupword0000 0"])
    return tmp_path


def configure(folder: Path, *arguments: str) -> Any:
    """What fairseq-train makes of its arguments."""
    line = [str(folder), "--task", "sentence_prediction_bnb", "--criterion", "sentence_prediction"]
    line += ["--arch", "bnb_classifier", "--optimizer", "adam", *TINY, *arguments]
    return convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), input_args=line))


@pytest.fixture
def make_task(data_bin: Path) -> MakeTask:
    return lambda *arguments: SentencePredictionBnbTask.setup_task(configure(data_bin, *arguments).task)


@pytest.fixture(autouse=True)
def precision_put_back() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_ids_and_types_of_a_pair(make_task: MakeTask) -> None:
    task = make_task()
    dataset = task.load_dataset("train")
    batch = dataset.collater([dataset[i] for i in range(3)])
    tokens = batch["net_input"]["src_tokens"]
    assert tokens.tolist() == [ids + [0] * (8 - len(ids)) for ids in IDS]
    assert batch["net_input"]["src_lengths"].tolist() == [8, 8, 4]
    assert segment_types(tokens, task.source_dictionary.eos(), tokens.eq(0)).tolist() == TYPES
    assert batch["target"].tolist() == [1, 0, 1]
    assert (task.cfg.num_classes, task.labels) == (2, ["no", "yes"])


def test_one_text_and_no_labels(data_bin: Path, make_task: MakeTask) -> None:
    for file in (data_bin / "input1").iterdir():
        file.unlink()
    task = make_task()
    dataset = task.load_dataset("test")
    batch = task.dataset("test").collater([dataset[0]])
    assert batch["net_input"]["src_tokens"].tolist() == [[2, 6, 3]]
    assert "target" not in dataset[0]
    with pytest.raises(ValueError, match=r"^validation needs targets, but"):
        task.valid_step(batch, None, None)
    task.trains = True
    with pytest.raises(ValueError, match=rf"^training and validation need targets, .* no {data_bin}/label/test$"):
        task.load_dataset("test")


def test_numbers_of_a_regression(make_task: MakeTask) -> None:
    task = make_task("--regression-target")
    assert (task.cfg.num_classes, task.labels) == (1, [])
    dataset = task.load_dataset("valid")
    assert dataset.collater([dataset[2], dataset[0]])["target"].tolist() == [[4.75], [0.5]]


def test_only_training_data_are_shuffled(make_task: MakeTask) -> None:
    task = make_task()
    assert [task.load_dataset(part).shuffle for part in ("train", "valid", "test")] == [True, False, False]
    assert not make_task("--no-shuffle").load_dataset("train").shuffle


@pytest.mark.parametrize(
    ("option", "labels"), [([], [1, 0, 1, 0]), (["--regression-target"], [[0.5], [1], [4.75], [3]])]
)
def test_numbered_parts(
    option: list[str], labels: list[Any], data_bin: Path, make_task: MakeTask, write: Write
) -> None:
    """``valid`` and ``valid1`` are one with ``combine``, and shortened as ``valid`` is to be."""
    for side in ("input0", "input1"):
        write_items(data_bin / side / "valid1", [[8, 8, 8, 3]])
    task = make_task("--max-positions=7", "--shorten-method=truncate", "--shorten-data-split-list=valid", *option)
    with pytest.raises(ValueError, match=r"^valid, valid1 are read as one .* labels; missing in valid1$"):
        task.load_dataset("valid", combine=True)
    write_items(data_bin / "label" / "valid1", [[NO, 2]])
    write(data_bin / "label" / "valid1.label", ["3"])
    assert len(task.load_dataset("valid")) == 3
    dataset = task.load_dataset("valid", combine=True)
    items = [dataset[i] for i in range(4)]
    assert dataset.collater(items)["target"].tolist() == labels
    assert [len(item["source"]) for item in items] == dataset.sizes.tolist() == [7, 7, 4, 7]
    assert items[3]["source"].tolist() == [2, 8, 8, 3, 8, 8, 3]


def test_numbered_parts_that_do_not_fit(data_bin: Path, make_task: MakeTask, write: Write) -> None:
    for side in ("input0", "input1"):
        write_items(data_bin / side / "train1", [[8] * 20 + [3]])
    write(data_bin / "label" / "train1.label", ["3", "4"])
    with pytest.raises(ValueError, match=r"^train1: 1 of 1 items are too long: item 0 has 43 tokens"):
        make_task("--max-positions=20").load_dataset("train", combine=True)
    with pytest.raises(ValueError, match=r"^train1 has 1 texts in .*, but 2 labels$"):
        make_task("--regression-target").load_dataset("train", combine=True)


def test_shortening(make_task: MakeTask, caplog: pytest.LogCaptureFixture) -> None:
    task = make_task("--max-positions", "7", "--shorten-method", "truncate")
    with caplog.at_level(logging.INFO, logger="bnb_fairseq"):
        dataset = task.load_dataset("train")
    # Room for 4 tokens: 4 + 1 lose one, 1 + 4 lose one, 0 + 1 fit.
    assert [dataset[i]["source"].tolist() for i in range(3)] == [[2, 5, 6, 7, 3, 8, 3], [2, 6, 3, 8, 5, 6, 3], IDS[2]]
    assert "train: 2 of 3 items (66.7%) cut to 7 tokens" in caplog.text


def test_too_long_items_are_refused(make_task: MakeTask) -> None:
    message = r"^valid: 2 of 3 items .* item 0 has 8 tokens.*--max-positions .* 7; .*--shorten-method truncate$"
    with pytest.raises(ValueError, match=message):
        make_task("--max-positions", "7").load_dataset("valid")
    chosen = make_task("--max-positions=7", "--shorten-method=truncate", "--shorten-data-split-list=train")
    assert chosen.load_dataset("train").sizes.max() == 7
    with pytest.raises(ValueError, match="valid: 2 of 3 items are too long"):
        chosen.load_dataset("valid")


def test_the_models_positions_count_too(data_bin: Path) -> None:
    cfg = configure(data_bin, "--shorten-method", "truncate", "--encoder-positions", "6")
    task = SentencePredictionBnbTask.setup_task(cfg.task)
    task.build_model(cfg.model)
    assert task.load_dataset("valid").sizes.tolist() == [6, 6, 4]


def test_model_and_criterion(data_bin: Path) -> None:
    cfg = configure(data_bin, "--dropout=0", "--attention-dropout=0", "--pooler-dropout=0")
    task = SentencePredictionBnbTask.setup_task(cfg.task)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    dataset = task.load_dataset("train")
    sample = dataset.collater([dataset[i] for i in range(3)])
    loss, size, logs = task.train_step(
        sample, model, criterion, build_optimizer(cfg.optimizer, list(model.parameters())), 0
    )
    logits, _ = model(**sample["net_input"], classification_head_name="sentence_classification_head")
    assert logits.shape == (3, 2)
    expected = -logits.log_softmax(dim=1)[torch.arange(3), torch.tensor([1, 0, 1])].sum()
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert (size, int(logs["ncorrect"])) == (3, int((logits.argmax(1) == torch.tensor([1, 0, 1])).sum()))


@pytest.mark.skipif(not torch_compat._multiplies_bfloat16(), reason="this processor does not multiply bfloat16")
def test_medium_precision_multiplies_in_bfloat16(data_bin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_compat, "_gains_from_bfloat16", lambda: True)
    cfg = configure(data_bin, "--float32-matmul-precision", "medium")
    task = SentencePredictionBnbTask.setup_task(cfg.task)
    model, criterion = task.build_model(cfg.model), task.build_criterion(cfg.criterion)
    dataset, types = task.load_dataset("train"), []
    model.classification_heads["sentence_classification_head"].dense.register_forward_hook(
        lambda _module, _inputs, output: types.append(output.dtype)
    )
    optimizer = build_optimizer(cfg.optimizer, list(model.parameters()))
    task.train_step(dataset.collater([dataset[0]]), model, criterion, optimizer, 0)
    assert types == [torch.bfloat16]


def test_a_checkpoint_needs_no_bert(data_bin: Path, write_bert: Callable[..., Path], tmp_path: Path) -> None:
    bert = write_bert(tmp_path / "bert", words=WORDS)
    cfg = configure(data_bin, "--bert-encoder", str(bert))
    for side in ("encoder", "decoder"):
        for name in ("layers", "embed_dim", "ffn_embed_dim", "attention_heads", "positions"):
            cfg.model[f"{side}_{name}"] = None
    task = SentencePredictionBnbTask.setup_task(cfg.task)
    model = task.build_model(cfg.model).eval()
    save_checkpoint(tmp_path / "model.pt", cfg, task, model)
    bert.rename(tmp_path / "gone")
    models, _, loaded = checkpoint_utils.load_model_ensemble_and_task([str(tmp_path / "model.pt")])
    dataset = loaded.load_dataset("test")
    net_input = dataset.collater([dataset[0]])["net_input"]
    expected = model(**net_input, classification_head_name="sentence_classification_head")[0]
    found = models[0].eval()(**net_input, classification_head_name="sentence_classification_head")[0]
    assert torch.equal(found, expected)


def test_a_checkpoint_knows_its_dictionaries(data_bin: Path, make_task: MakeTask, write: Write) -> None:
    task = make_task()
    task.load_state_dict(task.state_dict())
    write(data_bin / "label" / "dict.txt", ["yes 2", "no 1"])
    with pytest.raises(
        ValueError, match=r"the label dictionary of .* is not the one that the checkpoint was trained with"
    ):
        make_task().load_state_dict(task.state_dict())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-classes", "3"], "--num-classes must be 2, as .*label/dict.txt has, but is 3"),
        (["--num-classes", "3", "--regression-target"], "--num-classes must be 1 with --regression-target, but is 3"),
        (["--init-token", "0"], "--init-token must be None"),
        (
            ["--separator-token", "2", "--add-prev-output-tokens"],
            "--separator-token must be.*--add-prev-output-tokens",
        ),
        (["--shorten-method", "random_crop"], "--shorten-method must be none or truncate, but is random_crop"),
    ],
)
def test_options_that_do_not_fit(arguments: list[str], message: str, make_task: MakeTask) -> None:
    with pytest.raises(ValueError, match=message):
        make_task(*arguments)


def test_number_of_classes_may_be_given(make_task: MakeTask) -> None:
    assert make_task("--num-classes", "2").cfg.num_classes == 2


@pytest.mark.parametrize(
    ("arguments", "labels", "message"),
    [
        (["--report-mcc"], ["no", "yes"], "--report-mcc needs integer labels.* no, yes"),
        (["--report-acc-and-f1"], ["1", "2"], "--report-acc-and-f1 needs the labels 0 and 1, but they are 1, 2"),
        (["--report-mcc", "--regression-target"], [], "--report-mcc .*--regression-target"),
        (["--report-acc-and-f1"], ["1", "0"], None),
        (["--report-mcc"], ["-1", "2", "7"], None),
        (["--report-pearson-and-spearman", "--regression-target"], [], None),
    ],
)
def test_metrics_that_do_not_fit_the_labels(
    arguments: list[str], labels: list[str], message: str | None, data_bin: Path, write: Write
) -> None:
    write(data_bin / "label" / "dict.txt", [f"{label} 1" for label in labels])
    cfg = configure(data_bin, *arguments)
    task = SentencePredictionBnbTask.setup_task(cfg.task)
    if message is None:
        task.build_criterion(cfg.criterion)
    else:
        with pytest.raises(ValueError, match=message):
            task.build_criterion(cfg.criterion)


def test_another_criterion_or_model(data_bin: Path, make_task: MakeTask) -> None:
    cfg = configure(data_bin)
    task = make_task()
    cfg.criterion._name = "cross_entropy"
    with pytest.raises(
        ValueError, match="--criterion must be sentence_prediction with this task, but is cross_entropy"
    ):
        task.build_criterion(cfg.criterion)
    line = [str(data_bin), "--task", "sentence_prediction_bnb", "--criterion", "sentence_prediction"]
    parsed = options.parse_args_and_arch(options.get_training_parser(), [*line, "--arch", "bnb_transformer_tiny"])
    with pytest.raises(ValueError, match=r"--arch must be a model with classification heads.*but is bnb_transformer"):
        make_task().build_model(convert_namespace_to_omegaconf(parsed).model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ctc-upsample", "3"], "--ctc-upsample 3.0 has no effect: it needs --classify-with decoder"),
        (["--num-shards", "2"], "--num-shards 2 and --shard-id 0 are for fairseq-generate"),
        (["--best-checkpoint-metric", "f1"], "one of accuracy, bsz, loss, nll_loss, num_updates, .* but is f1"),
        (["--best-checkpoint-metric", "f1", "--report-acc-and-f1"], None),
    ],
)
def test_options_of_a_training(arguments: list[str], message: str | None, data_bin: Path, write: Write) -> None:
    write(data_bin / "label" / "dict.txt", ["0 1", "1 1"])
    cfg = configure(data_bin, *arguments)
    task = SentencePredictionBnbTask.setup_task(cfg.task)

    def build() -> None:
        task.build_model(cfg.model)
        task.build_criterion(cfg.criterion)

    if message is None:
        build()
    else:
        with pytest.raises(ValueError, match=message):
            build()


def test_storage_format(make_task: MakeTask) -> None:
    with pytest.raises(ValueError, match=r"--dataset-impl must be mmap, the format of .*input0/train, .* but is lazy"):
        make_task("--dataset-impl", "lazy").load_dataset("train")


def test_missing_parts(data_bin: Path, make_task: MakeTask, write: Write) -> None:
    with pytest.raises(FileNotFoundError, match=r"no dev in .*input0"):
        make_task().load_dataset("dev")
    write(data_bin / "label" / "dict.txt", ["yes 2"])
    with pytest.raises(ValueError, match="must list at least 2 labels, but lists 1"):
        make_task()
    (data_bin / "label" / "dict.txt").unlink()
    with pytest.raises(ValueError, match=r"there is no file .*label/dict.txt"):
        make_task()
    (data_bin / "input0" / "dict.txt").unlink()
    with pytest.raises(ValueError, match=r"data must be a folder with input0.* but has no .*input0/dict.txt"):
        make_task()


def test_labels_of_another_number(data_bin: Path, make_task: MakeTask, write: Write) -> None:
    write_items(data_bin / "label" / "train", [[YES, 2], [NO, 2]])
    with pytest.raises(ValueError, match=r"train has 3 texts in .*, but 2 labels"):
        make_task().load_dataset("train")
    write(data_bin / "label" / "valid.label", ["1"])
    with pytest.raises(ValueError, match=r"valid has 3 texts in .*, but 1 labels"):
        make_task("--regression-target").load_dataset("valid")


def test_options_without_effect() -> None:
    cfg = BnbClassifierConfig(latent_size=8, length_control="length", canvas_tokens=True, untie_output=True)
    options = ["--length-control length", "--latent-size 8", "--canvas-tokens True", "--untie-output True"]
    assert unused_options(cfg) == {option: ["--classify-with decoder"] for option in options}
    cfg.classify_with = "decoder"
    assert unused_options(cfg) == {}
