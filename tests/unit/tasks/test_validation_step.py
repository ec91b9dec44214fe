"""What a validation step hands to BLEU, ROUGE and METEOR: detokenised text, made once for all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nltk
import pytest
import torch
from fairseq.logging import metrics
from omegaconf import DictConfig

from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from ..metrics.wordnet_files import write_wordnet
from .conftest import NON_AUTOREGRESSIVE, Echo

Config = Callable[..., DictConfig]
BLEU = {"_bleu_sys_len", "_bleu_ref_len", *(f"_bleu_{what}_{n}" for what in ("counts", "totals") for n in range(4))}
ROUGE = {"_scored_sentences", "_rouge1", "_rouge2", "_rougeL"}
RIGHT, HALF, EMPTY = [[2, 5, 6, 7, 10, 3], [2, 5, 3, 0]], [[5, 6, 10, 3], [1, 3]], [[2, 3], [2, 3]]


class Steps:
    """Validation steps over the test part, references "die zellen." and "die", outputs given."""

    def __init__(self, cfg: DictConfig) -> None:
        torch.manual_seed(1)
        self.task = TranslationBnbTask.setup_task(cfg.task)
        self.model = self.task.build_model(cfg.model)
        self.criterion = self.task.build_criterion(cfg.criterion)
        self.task.load_dataset("test")
        dataset = self.task.dataset("test")
        self.batch = dataset.collater([dataset[0], dataset[1]])

    def __call__(self, outputs: list[list[int]]) -> tuple[dict[str, Any], int]:
        """Statistics, and how often the generator was called."""
        self.task.sequence_generator = echo = Echo(outputs)
        _, _, logs = self.task.valid_step(self.batch, self.model, self.criterion)
        return logs, echo.calls

    def shown(self, outputs: list[list[int]]) -> dict[str, float]:
        """What the log of a validation says."""
        logs, _ = self(outputs)
        with metrics.aggregate(new_root=True) as meters:
            self.task.reduce_metrics([logs], self.criterion)
        return dict(meters.get_smoothed_values())


@pytest.fixture
def steps(config: Config) -> Callable[..., Steps]:
    return lambda *options: Steps(config(*NON_AUTOREGRESSIVE, *options))


@pytest.mark.parametrize(
    ("options", "found"),
    [([], set()), (["--eval-bleu"], BLEU), (["--eval-rouge"], ROUGE), (["--eval-bleu", "--eval-rouge"], BLEU | ROUGE)],
)
def test_both_metrics_judge_one_output(options: list[str], found: set[str], steps: Callable[..., Steps]) -> None:
    logs, calls = steps(*options)(RIGHT)
    assert {name for name in logs if name.startswith(("_bleu", "_rouge", "_scored"))} == found
    assert {"loss", "nsentences", "sample_size"} < logs.keys()
    assert calls == bool(options), "generated once for both, and not at all for none"


def test_bleu_is_that_of_detokenised_text(steps: Callable[..., Steps], caplog: pytest.LogCaptureFixture) -> None:
    """With sacreBLEU's own tokens the references have 3 and 1."""
    caplog.set_level("INFO", logger="bnb_fairseq")
    validation = steps("--eval-bleu", "--eval-bleu-print-samples")
    right, _ = validation(RIGHT)
    assert (right["_bleu_sys_len"], right["_bleu_ref_len"]) == (4, 4)
    assert [right[f"_bleu_counts_{n}"] for n in range(4)] == [4, 2, 1, 0]
    half, _ = validation(HALF)
    assert [half[f"_bleu_counts_{n}"] for n in range(4)] == [2, 0, 0, 0]
    assert (half["_bleu_sys_len"], half["_bleu_ref_len"]) == (4, 4)
    assert "example translation: die zelle." in caplog.text
    assert "example reference:   die zellen." in caplog.text


def test_rouge_is_that_of_detokenised_text(steps: Callable[..., Steps], caplog: pytest.LogCaptureFixture) -> None:
    """One of the two words is right, in the second sentence none: a full stop is no word."""
    caplog.set_level("INFO", logger="bnb_fairseq")
    validation = steps("--eval-rouge", "--eval-bleu-print-samples")
    expected = {"_scored_sentences": 2, "_rouge1": 200, "_rouge2": 100, "_rougeL": 200}
    logs, _ = validation(RIGHT)
    assert {name: logs[name] for name in ROUGE} == pytest.approx(expected)
    logs, _ = validation(HALF)
    assert {name: logs[name] for name in ROUGE} == pytest.approx(
        {**expected, "_rouge1": 50, "_rouge2": 0, "_rougeL": 50}
    )
    assert "example translation: die zelle." in caplog.text


@pytest.fixture
def wordnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(nltk.data, "path", [str(write_wordnet(tmp_path, [["zelle", "zellen"]]))])
    return tmp_path


def test_meteor_is_that_of_detokenised_text(steps: Callable[..., Steps], wordnet: Path) -> None:
    """Two words in order: 1 - 0.5 (1 / 2)^3; one word: 1 - 0.5. The mean over the sentences is what the log shows."""
    validation = steps("--eval-meteor", "--best-checkpoint-metric", "meteor")
    logs, calls = validation(RIGHT)
    assert calls == 1
    assert logs["_scored_sentences"] == 2
    assert logs["_meteor"] == pytest.approx(100 * (1 - 0.5 / 8) + 50)
    assert validation.shown(RIGHT)["meteor"] == round((93.75 + 50) / 2, 2)
    assert validation.shown(EMPTY)["meteor"] == 0
    assert "bleu" not in validation.shown(RIGHT)


def test_without_wordnet_the_others_go_on(
    steps: Callable[..., Steps], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    validation = steps("--eval-meteor", "--eval-bleu")
    shown = [validation.shown(RIGHT), validation.shown(EMPTY)]
    assert all("bleu" in values and "meteor" not in values for values in shown)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len([message for message in warnings if message.startswith("METEOR is left out: ")]) == 1
    assert steps("--eval-meteor")(RIGHT)[1] == 0, "nothing is generated for nothing"


def test_a_best_checkpoint_by_what_is_not_there(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the training; a checkpoint that was chosen so can still be used."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    best = ["--best-checkpoint-metric", "meteor"]
    for options, missing in ((["--eval-meteor"], "WordNet"), ([], "--eval-meteor")):
        cfg = config(*NON_AUTOREGRESSIVE, *best, *options)
        task = TranslationBnbTask.setup_task(cfg.task)
        with pytest.raises(ValueError, match=names("--best-checkpoint-metric", "meteor", missing)):
            task.build_model(cfg.model)
        task.build_model(cfg.model, from_checkpoint=True)
    for metric, option in (("bleu", "--eval-bleu"), ("rouge1", "--eval-rouge"), ("rougeL", "--eval-rouge")):
        cfg = config(*NON_AUTOREGRESSIVE, "--best-checkpoint-metric", metric)
        task = TranslationBnbTask.setup_task(cfg.task)
        with pytest.raises(ValueError, match=names("--best-checkpoint-metric", metric, option)):
            task.build_model(cfg.model)
        cfg = config(*NON_AUTOREGRESSIVE, "--best-checkpoint-metric", metric, option)
        TranslationBnbTask.setup_task(cfg.task).build_model(cfg.model)


def test_what_the_log_shows(steps: Callable[..., Steps]) -> None:
    validation = steps("--eval-bleu", "--eval-rouge")
    shown = validation.shown(RIGHT)
    assert (shown["rouge1"], shown["rouge2"], shown["rougeL"]) == (100, 50, 100)
    assert "bleu" in shown
    shown = validation.shown(EMPTY)
    assert [shown[name] for name in ("rouge1", "rouge2", "rougeL", "bleu")] == [0, 0, 0, 0]
    assert "rougeL" not in steps("--eval-bleu").shown(RIGHT)


def test_unknown_words_never_match(steps: Callable[..., Steps]) -> None:
    validation = steps("--eval-bleu", "--eval-rouge")
    validation.batch["target"] = torch.tensor([[2, 1, 1, 3], [2, 1, 3, 0]])
    logs, _ = validation([[2, 1, 1, 3], [2, 1, 3]])
    assert [logs[f"_bleu_counts_{n}"] for n in range(4)] == [0, 0, 0, 0]
    assert logs["_rouge1"] == logs["_rougeL"] == 0


def test_the_model_writes_what_is_judged(steps: Callable[..., Steps]) -> None:
    """With the generator that the options built."""
    validation = steps("--eval-rouge")
    logs = validation.task.valid_step(validation.batch, validation.model, validation.criterion)[2]
    assert 0 <= logs["_rouge1"] <= 200
    assert logs["_scored_sentences"] == 2
