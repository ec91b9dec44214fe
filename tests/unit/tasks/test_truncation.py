"""Sources that are cut: to what, and that the log counts them."""

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig

from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from .conftest import AUTOREGRESSIVE, BERT2BERT, NON_AUTOREGRESSIVE, SOURCES

Config = Callable[..., DictConfig]
CUT = ["--truncate-source"]
# Sources of 5 and 3 tokens with [CLS], "the cell opens" and "the".
WHOLE, FOUR, THREE = [0, 4, 5, 6, 2], [0, 4, 5, 2], [0, 4, 2]


def first_source(cfg: DictConfig, models: int = 1) -> list[int]:
    """Set up as fairseq's commands do, the model before the data."""
    task = TranslationBnbTask.setup_task(cfg.task)
    for _ in range(models):
        task.build_model(cfg.model)
    task.load_dataset("valid")
    tokens: list[int] = task.dataset("valid")[0]["source"].tolist()
    return tokens


@pytest.mark.parametrize(
    ("options", "source"),
    [
        ([], WHOLE),
        (["--decoder-positions", "10"], WHOLE),
        (["--decoder-positions", "9"], FOUR),  # canvases of 2 x 4 fit, 2 x 5 do not
        (["--decoder-positions", "7"], THREE),
        (["--encoder-positions", "4"], FOUR),
        (["--max-source-positions", "4", "--decoder-positions", "6"], THREE),
        (["--max-source-positions", "3", "--encoder-positions", "4"], THREE),
        (["--ctc-upsample", "0.5", "--decoder-positions", "3"], WHOLE),
        (["--ctc-upsample", "0.5", "--decoder-positions", "2"], FOUR),
        (["--length-control", "length", "--decoder-positions", "4"], WHOLE),  # the target's length is another matter
    ],
)
def test_cut_to_what_the_model_can_take(options: list[str], source: list[int], config: Config) -> None:
    for models in (1, 2):
        assert first_source(config(*NON_AUTOREGRESSIVE, *CUT, *options), models) == source
    assert first_source(config(*NON_AUTOREGRESSIVE, *options)) == WHOLE, "nothing is cut that was not asked for"


def test_cut_for_autoregressive_models(config: Config) -> None:
    assert first_source(config(*BERT2BERT, *CUT, "--encoder-positions", "4")) == FOUR
    assert first_source(config(*AUTOREGRESSIVE, *CUT, "--max-source-positions", "4")) == FOUR


def test_the_narrowest_model_counts(config: Config) -> None:
    """A reranker has positions of its own."""
    cfg = config(*NON_AUTOREGRESSIVE, *CUT)
    task = TranslationBnbTask.setup_task(cfg.task)
    for arguments in ([], ["--encoder-positions", "3"], ["--encoder-positions", "4"]):
        task.build_model(config(*NON_AUTOREGRESSIVE, *arguments).model)
    task.load_dataset("valid")
    assert task.dataset("valid")[0]["source"].tolist() == THREE


def test_what_was_cut_fits(config: Config) -> None:
    cfg = config(*NON_AUTOREGRESSIVE, *CUT, "--decoder-positions", "9")
    task = TranslationBnbTask.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    task.load_dataset("valid")
    dataset = task.dataset("valid")
    everything = dataset.ordered_indices()
    assert len(task.filter_indices_by_size(everything, dataset, model.max_positions())) == 2


def test_the_log_counts_what_is_cut(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="bnb_fairseq")
    first_source(config(*NON_AUTOREGRESSIVE, *CUT, "--decoder-positions", "9"))
    assert caplog.messages.count("valid: 1 of 2 sources (50.0%) cut to 4 tokens") == 1
    first_source(config(*NON_AUTOREGRESSIVE, *CUT))
    assert caplog.messages[-1] == "valid: 0 of 2 sources (0.0%) cut to 256 tokens"
    caplog.clear()
    first_source(config(*NON_AUTOREGRESSIVE))
    assert " cut to " not in caplog.text


def test_interactive_input_is_counted_where_something_is_cut(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="bnb_fairseq")
    cfg = config(*NON_AUTOREGRESSIVE, *CUT, "--decoder-positions", "9")
    task = TranslationBnbTask.setup_task(cfg.task)
    task.build_model(cfg.model)
    lines = [torch.tensor(item) for item in (*SOURCES, [4, 2])]
    dataset = task.build_dataset_for_inference(lines, [4, 2, 2])
    assert [dataset[i]["source"].tolist() for i in range(3)] == [FOUR, THREE, THREE]
    assert caplog.messages[-1] == "input: 1 of 3 sources (33.3%) cut to 4 tokens"
    caplog.clear()
    task.build_dataset_for_inference(lines[1:], [2, 2])
    assert caplog.text == ""


def test_no_room_for_a_source(config: Config) -> None:
    with pytest.raises(ValueError, match=names("--truncate-source", "[CLS]", "[SEP]", "--max-source-positions", "1")):
        first_source(config(*NON_AUTOREGRESSIVE, *CUT, "--decoder-positions", "3"))
