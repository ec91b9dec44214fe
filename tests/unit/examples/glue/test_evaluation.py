"""Predictions of a checkpoint stand in the order of the file, whatever the batches."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import options
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from torch import nn

from bnb_fairseq.classification.sentence_prediction_bnb import SentencePredictionBnbTask
from bnb_fairseq.data.dictionary import load_dictionary

from ...checkpoint_files import save_checkpoint
from .conftest import Part, Write

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "it", "is", "was", "not", "."]
TEXTS = ["it is not .", "it", "was it not it is", "not not", ".", "is it . it", "was . . . . .", "is"]
SIZES = ("layers=1", "embed-dim=8", "ffn-embed-dim=8", "attention-heads=2", "positions=20")
TINY = [f"--{side}-{size}" for side in ("encoder", "decoder") for size in SIZES]
HEAD = "sentence_classification_head"


class Trained:
    """A data-bin folder, a model with random parameters and its checkpoint."""

    def __init__(self, folder: Path, task: SentencePredictionBnbTask, model: Any) -> None:
        self.data_bin, self.checkpoint = folder / "bin", folder / "model.pt"
        self.task, self.model = task, model

    def logits(self) -> list[list[float]]:
        dataset = self.task.load_dataset("valid")
        samples = [dataset.collater([dataset[i]])["net_input"] for i in range(len(dataset))]
        return [self.model(**sample, classification_head_name=HEAD)[0][0].tolist() for sample in samples]


@pytest.fixture
def make(
    part: Part, tmp_path: Path, write: Write, random_parameters: Callable[[nn.Module, int], None]
) -> Callable[..., Trained]:
    def trained(labels: Sequence[str], *more: str) -> Trained:
        tasks, tsv = part("tasks"), part("tsv")
        file = write(tmp_path / "x.tsv", [f"{text}\t{label}" for text, label in zip(TEXTS, labels, strict=True)])
        columns = tsv.Columns((1,), 2, header=False)
        described = tasks.custom_task(file, file, None, columns, "--regression-target" in more)
        dictionary = load_dictionary(str(write(tmp_path / "vocab.txt", WORDS)))
        data = tasks.read_task(described, tmp_path, with_test=False)
        part("databin").write_data_bin(tmp_path / "bin", described, data, dictionary, 1)
        line = [str(tmp_path / "bin"), "--task", "sentence_prediction_bnb", "--criterion", "sentence_prediction"]
        line += ["--arch", "bnb_classifier", *TINY, *more]
        cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), line))
        task = SentencePredictionBnbTask.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        random_parameters(model, 7)
        centred = Trained(tmp_path, task, model.eval()).logits()  # so that labels differ from text to text
        with torch.no_grad():
            model.classification_heads[HEAD].out_proj.bias -= torch.tensor(centred).mean(dim=0)
        save_checkpoint(tmp_path / "model.pt", cfg, task, model)
        return Trained(tmp_path, task, model)

    return trained


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_labels(batch_size: int, part: Part, make: Callable[..., Trained]) -> None:
    trained = make(["no", "yes", "maybe so", "no", "yes", "no", "no", "no"])
    names = ["maybe so", "no", "yes"]
    expected = [names[max(range(3), key=scores.__getitem__)] for scores in trained.logits()]
    assert len(set(expected)) > 1
    classifier = part("evaluation").Classifier(trained.checkpoint, trained.data_bin, cpu=True)
    assert classifier.predict("valid", batch_size) == expected


def test_numbers(part: Part, make: Callable[..., Trained]) -> None:
    trained = make([str(i / 2) for i in range(8)], "--regression-target")
    expected = [score for (score,) in trained.logits()]
    classifier = part("evaluation").Classifier(trained.checkpoint, trained.data_bin, cpu=True)
    assert classifier.predict("valid", 3) == pytest.approx(expected, abs=1e-5)


def test_metrics_of_a_task(part: Part) -> None:
    measure = part("evaluation").measure
    assert measure(("accuracy", "f1"), ["1", "1"], ["1", "0"], False) == {
        "accuracy": 50.0,
        "f1": pytest.approx(200 / 3),
    }
    assert measure(("pearson",), [1.0, 2.0, 4.0], ["2", "4", "8.0"], True) == {"pearson": pytest.approx(100.0)}


def test_submission(part: Part, tmp_path: Path) -> None:
    write_submission = part("evaluation").write_submission
    write_submission(tmp_path / "made" / "RTE.tsv", ["entailment", "not_entailment"], ["0", "7"], None)
    assert (tmp_path / "made" / "RTE.tsv").read_text() == "index\tprediction\n0\tentailment\n7\tnot_entailment\n"
    write_submission(tmp_path / "STS-B.tsv", [-0.5, 2.34567, 5.1], ["0", "1", "2"], (0.0, 5.0))
    assert (tmp_path / "STS-B.tsv").read_text() == "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n"
