"""Training pairs that do not fit: counted one by one, and the values that messages advise are the smallest that do."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset
from bnb_fairseq.modules.canvas import upsampled_lengths
from bnb_fairseq.tasks import length_fit
from bnb_fairseq.tasks.length_fit import (
    LIMITS,
    Lengths,
    Rule,
    check_lengths,
    choose_rule,
    measure,
    set_canvas,
    smallest_value,
)
from bnb_fairseq.tasks.pretraining_bnb import PretrainingBnbTask
from bnb_fairseq.tasks.pretraining_config import PretrainingBnbConfig
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ...facts import names
from .conftest import NON_AUTOREGRESSIVE, SOURCES, write_data_bin
from .test_pretraining_bnb import write_part

MakeConfig = Callable[..., Any]
FAR = (100, 100)


def pairs(sources: Sequence[int], targets: Sequence[Sequence[int]]) -> SentencePairDataset:
    """Pairs of sources with so many words, and of targets with these words."""
    read = [torch.tensor([4] * words + [2]) for words in sources]
    written = [torch.tensor([*words, 2]) for words in targets]
    return SentencePairDataset(read, BnbDictionary(), written, BnbDictionary())


def test_lengths_by_hand() -> None:
    """[CLS] and [SEP] count on both sides; each equal neighbour needs a position more for a blank."""
    dataset = pairs([1, 3, 0], [[5, 5, 5], [5, 6, 5], []])
    lengths = measure(dataset, FAR)
    assert lengths.source.tolist() == [3, 5, 2]
    assert lengths.target.tolist() == [5, 5, 2]
    assert lengths.needed.tolist() == [7, 5, 2]
    assert measure(dataset, (4, 100)).source.tolist() == [3, 2], "too long to be trained on"
    assert measure(dataset, (100, 4)).source.tolist() == [2]


def test_a_sample_of_many(monkeypatch: pytest.MonkeyPatch, make_config: MakeConfig) -> None:
    monkeypatch.setattr(length_fit, "SAMPLE", 5)
    dataset = pairs(range(9), [[5]] * 9)
    assert measure(dataset, FAR).source.tolist() == [2, 4, 6, 8, 10]
    with pytest.raises(ValueError, match=names("60.0%", "5", "9")):
        check_lengths("train", dataset, make_config(length_control="length", length_range=1), FAR)


@pytest.mark.parametrize("seed", range(5))
def test_the_smallest_value_is_the_smallest(seed: int) -> None:
    random = np.random.default_rng(seed)
    source, target = random.integers(2, 40, 300), random.integers(2, 40, 300)
    lengths = Lengths(source, target, target + random.integers(0, 3, 300))
    for name, limit in LIMITS.items():
        value = smallest_value(limit, lengths)
        assert limit.fits(lengths, value).mean() >= 0.99, name
        assert limit.fits(lengths, value - limit.step).mean() < 0.99, name


def positions(rule: Rule, source: int) -> int:
    """Positions of a canvas, the ratio in whole hundredths."""
    return -(-round(rule.upsample * 100) * source // 100) + rule.extra


@pytest.mark.parametrize("seed", range(4))
def test_the_rule_is_the_shortest_of_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brute force over every ratio and number of extra positions."""
    monkeypatch.setattr(length_fit, "MOST_EXTRA", 12)
    random = np.random.default_rng(seed)
    source = random.integers(2, 30, 400)
    target = np.maximum(2, source * random.uniform(0.3, 1.6, 400) + random.integers(0, 9, 400)).astype(np.int64)
    lengths = Lengths(source, target, target + random.integers(0, 2, 400))
    found = choose_rule(lengths)
    assert found.positions(lengths).tolist() == [positions(found, each) for each in source.tolist()]
    sums = {}
    for rule in (Rule(ratio / 100, extra) for ratio in range(1, 500) for extra in range(13)):
        canvases = [positions(rule, each) for each in source.tolist()]
        if sum(canvas < needed for canvas, needed in zip(canvases, lengths.needed.tolist(), strict=True)) <= 2:
            sums[rule] = sum(canvases)
    best = min(sums, key=lambda rule: (sums[rule], rule.extra, rule.upsample))
    assert (sums[found], found.extra) == (sums[best], best.extra)
    assert sums[found] < min(total for rule, total in sums.items() if rule.extra == 0), "the data want extra positions"


def test_extra_positions_count(make_config: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    """Sources of 3 tokens, targets of 5: a ratio of 1 needs 2 extra positions."""
    dataset = pairs([1] * 4, [[5, 6, 7]] * 4)
    with pytest.raises(ValueError, match=names("--ctc-upsample", "1.01", "100.0%")):
        check_lengths("train", dataset, make_config(ctc_upsample=1.0, ctc_extra=1), FAR)
    check_lengths("train", dataset, make_config(ctc_upsample=1.0, ctc_extra=2), FAR)
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"ctc_extra": 3}, ["--ctc-extra", "0", "--ctc-upsample auto", "3"]),
        ({"ctc_canvas_length": 30}, ["--ctc-canvas-length", "0", "--ctc-upsample auto", "30"]),
        ({"length_control": "length"}, ["--ctc-upsample auto", "--length-control ctc", "length"]),
    ],
)
def test_options_that_leave_no_choice(options: dict[str, Any], facts: list[str], make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match=names(*facts)):
        set_canvas(make_config(ctc_upsample="auto", **options), [pairs([1], [[5]])], FAR)


def test_a_choice_needs_pairs(make_config: MakeConfig) -> None:
    with pytest.raises(ValueError, match=names("--ctc-upsample auto", "(1, 1)", "none")):
        set_canvas(make_config(ctc_upsample="auto"), [pairs([1], [[5]])], (1, 1))


def test_a_ratio_is_enough_only_above_the_bound() -> None:
    """4 source tokens at a ratio of exactly 1 have 4 positions; 5 need more."""
    lengths = Lengths(np.array([4]), np.array([5]), np.array([5]))
    assert smallest_value(LIMITS["ctc_upsample"], lengths) == 1.01
    assert int(upsampled_lengths(torch.tensor([4]), 1.01)) == 5


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"ctc_upsample": 0.5}, ["--ctc-upsample", "1.34", "0.5", "100.0%", "4"]),
        ({"ctc_upsample": 1.2}, ["--ctc-upsample", "1.34", "1.2", "75.0%", "4"]),
        ({"ctc_canvas_length": 4}, ["--ctc-canvas-length", "5", "4", "75.0%", "4"]),
        ({"length_control": "length", "length_range": 1}, ["--length-range", "2", "1", "75.0%", "4"]),
    ],
)
def test_most_do_not_fit(options: dict[str, Any], facts: list[str], make_config: MakeConfig) -> None:
    """Sources of 3 tokens, targets of 5, 5, 5 and 3."""
    dataset = pairs([1] * 4, [[5, 6, 7]] * 3 + [[5]])
    with pytest.raises(ValueError, match=names("train", *facts)):
        check_lengths("train", dataset, make_config(**options), FAR)


@pytest.mark.parametrize(("bad", "warned"), [(0, False), (1, False), (2, True), (50, True)])
def test_few_do_not_fit(bad: int, warned: bool, make_config: MakeConfig, caplog: pytest.LogCaptureFixture) -> None:
    dataset = pairs([1] * 100, [[5] * 4] * bad + [[5]] * (100 - bad))
    with caplog.at_level(logging.WARNING):
        check_lengths("train", dataset, make_config(ctc_upsample=1.0), FAR)
    expected = f"train: with --ctc-upsample 1, {bad}.0% of 100 training pairs need more positions"
    assert (expected in caplog.text) == warned
    assert ("with --ctc-upsample 2.67, at most 1% would" in caplog.text) == warned


def train(config: Callable[..., DictConfig], data: str, *options: str, from_checkpoint: bool = False) -> Any:
    cfg = config(*NON_AUTOREGRESSIVE, *options)
    cfg.task.data = data
    task = TranslationBnbTask.setup_task(cfg.task)
    task.build_model(cfg.model, from_checkpoint)
    task.load_dataset("valid")
    for epoch in (1, 2):
        task.load_dataset("train", epoch=epoch, combine=True)
    return cfg.model


def test_auto_reads_every_folder(
    config: Callable[..., DictConfig], data_bin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Sources of 5 and 3 tokens have targets of 6 and 3; in the second folder the longer one has 9."""
    both = ["--ctc-upsample", "auto", "--max-source-positions", "20"]
    with caplog.at_level(logging.INFO):
        model = train(config, str(data_bin), *both)
    assert (model.ctc_upsample, model.ctc_extra) == (1.01, 0)
    assert "--ctc-upsample auto is --ctc-upsample 1.01 --ctc-extra 0: 1.25 canvas positions" in caplog.text
    assert "room for 100.00% of 2 training pairs" in caplog.text
    second = write_data_bin(tmp_path, [[5, 6, 7, 10, 8, 9, 5, 3], [5, 3]])
    assert train(config, f"{data_bin}:{second}", *both).ctc_upsample == 1.61


def test_the_ratio_is_a_number_or_auto(config: Callable[..., DictConfig], data_bin: Path) -> None:
    model = train(config, str(data_bin), "--ctc-upsample", "3")
    assert (model.ctc_upsample, type(model.ctc_upsample)) == (3.0, float)
    with pytest.raises(ValueError, match=names("--ctc-upsample", "number", "auto", "'much'")):
        train(config, str(data_bin), "--ctc-upsample", "much")


def test_every_folder_is_checked_before_a_training(
    config: Callable[..., DictConfig], data_bin: Path, tmp_path: Path
) -> None:
    """The second folder's part has short sources: at a ratio of 1 every second of its pairs does not fit."""
    second = write_data_bin(tmp_path)
    train(config, f"{data_bin}:{second}", "--ctc-upsample", "2")
    for suffix in ("bin", "idx"):
        (second / f"train1.en-de.en.{suffix}").write_bytes((second / f"valid.en-de.en.{suffix}").read_bytes())
        (second / f"train1.en-de.de.{suffix}").write_bytes((second / f"valid.en-de.de.{suffix}").read_bytes())
    with pytest.raises(ValueError, match=names("train", "--ctc-upsample", "100.0%", "2")) as error:
        train(config, f"{data_bin}:{second}", "--ctc-upsample", "0.5")
    assert f"{data_bin}/train" in str(error.value)
    with pytest.raises(ValueError, match=names("100.0%", "4")):
        train(config, f"{second}:{data_bin}", "--ctc-upsample", "0.5")
    train(config, str(second), "--ctc-upsample", "0.5", from_checkpoint=True)
    assert len(SOURCES) == 2


def test_what_pretraining_makes_of_its_blocks(tmp_path: Path) -> None:
    """Under clm a source is the beginning of a block, and the target its end."""
    write_part(tmp_path, "train", [[4, 5, 6, 7] * 3, []] * 20)
    for strategy, differences in (("ae", {0}), ("clm", {6, 8})):  # of 12 words the last 2 or 3
        cfg = PretrainingBnbConfig(
            data=str(tmp_path), strategy=strategy, tokens_per_sample=16, seed=1, train_subset="train", dataset_impl=None
        )
        task = PretrainingBnbTask(cfg, BnbDictionary(), BnbDictionary())
        task.load_dataset("train")
        lengths = measure(task.dataset("train"), FAR)
        difference = np.abs(lengths.target - lengths.source)
        assert len(difference) == 20
        assert set(difference.tolist()) == differences
