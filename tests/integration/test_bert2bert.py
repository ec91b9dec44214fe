"""The autoregressive model through fairseq's commands, and its decoding against decoders that keep nothing."""

import copy
import re
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from fairseq import checkpoint_utils
from torch import Tensor

from bnb_fairseq.models.bert2bert import Bert2Bert

from ..alike import check_alike
from .conftest import TRAIN, Setting, with_noise

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
BERT2BERT = (*TRAIN, "--arch", "bert2bert", "--criterion", "label_smoothed_cross_entropy")
LONGEST = 30
GREEDY = ("--beam", 1, "--max-len-b", LONGEST)
SENTENCES, BATCH = 200, 50


class Loaded(NamedTuple):
    """The checkpoint in this process, in float64 lest rounding decide between words, and batches of the test set."""

    task: Any
    model: Any
    batches: list[dict[str, Any]]


@pytest.fixture(scope="module")
def checkpoint(setting: Setting, tmp_path_factory: pytest.TempPathFactory, fairseq: Command) -> Path:
    """A model that ends its sentences after few words and after many; the noise makes it heed the source."""
    folder = tmp_path_factory.mktemp("bert2bert")
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 2, "--decoder-layers", 2, "--lr", "2e-3"]
    options += ["--dropout", 0, "--attention-dropout", 0, "--label-smoothing", 0, "--max-update", 200]
    fairseq("train", setting.data_bin, *BERT2BERT, *options, "--disable-validation", "--save-dir", folder)
    return with_noise(folder / "checkpoint_last.pt", "encoder_attn", 0.1)


@pytest.fixture(scope="module")
def greedy(setting: Setting, checkpoint: Path, fairseq: Command, translations: Translations) -> dict[int, str]:
    found = translations(fairseq("generate", setting.data_bin, "--path", checkpoint, *GREEDY, "--batch-size", 32))
    assert len(found) == 300
    assert len(set(found.values())) > 30, "the model's outputs are too much alike for these tests"
    return found


@pytest.fixture(scope="module")
def loaded(checkpoint: Path) -> Loaded:
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    task.load_dataset("test")
    dataset = task.dataset("test")
    batches = [
        dataset.collater([dataset[i] for i in range(start, start + BATCH)]) for start in range(0, SENTENCES, BATCH)
    ]
    return Loaded(task, model.double().eval(), batches)


def by_generator(loaded: Loaded, beam: int, keep_states: bool = True, inference: bool = False) -> list[list[int]]:
    """Best translations by fairseq's generator, with the layers as trained or with those for inference."""
    model = copy.deepcopy(loaded.model)
    if inference:
        model.make_generation_fast_()
    generator = loaded.task.build_generator([model], Namespace(beam=beam, max_len_b=LONGEST))
    assert generator.model.has_incremental_states()
    generator.model.has_incremental = keep_states
    found = []
    for batch in loaded.batches:
        found += loaded.task.inference_step(generator, [model], batch)
    return [beams[0]["tokens"].tolist() for beams in found]


@torch.no_grad()
def without_generator(loaded: Loaded, batch: dict[str, Any]) -> Tensor:
    """Greedy words without a generator: the model reads source and prefix again for every word."""
    dictionary, source = loaded.task.target_dictionary, batch["net_input"]
    tokens = torch.full((len(source["src_tokens"]), 1), dictionary.bos())
    for _ in range(LONGEST):
        logits, _ = loaded.model(source["src_tokens"], source["src_lengths"], tokens)
        logits[..., dictionary.pad()] = -torch.inf
        logits[:, 0, dictionary.eos()] = -torch.inf  # at least one word
        tokens = torch.cat([tokens, logits[:, -1:].argmax(dim=2)], dim=1)
    return tokens[:, 1:]


def test_training_with_validation_bleu(
    setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    options = ["--bert-encoder", setting.bert, "--decoder-layers", 1, "--cross-attention-init", "random"]
    options += ["--max-update", 4, "--eval-bleu", "--eval-bleu-args", f'{{"beam": 1, "max_len_b": {LONGEST}}}']
    trained = fairseq("train", setting.data_bin, *BERT2BERT, *options, "--save-dir", tmp_path)
    assert re.search(r"decoder from .*, layers \[0\]: ", trained), trained[-3000:]
    assert re.search(r"valid \| .*bleu [\d.]+", trained), trained[-3000:]
    arguments = ["--path", tmp_path / "checkpoint_last.pt", *GREEDY, "--batch-size", 64]
    generated = translations(fairseq("generate", setting.data_bin, *arguments))
    assert len(generated) == 300
    assert not any("[CLS]" in text for text in generated.values())


@pytest.mark.slow
def test_greedy_translations_do_not_depend_on_batches(
    setting: Setting, checkpoint: Path, greedy: dict[int, str], fairseq: Command, translations: Translations
) -> None:
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, *GREEDY, "--batch-size", 1)
    check_alike(translations(output), greedy)


@pytest.mark.slow
def test_from_python(setting: Setting, checkpoint: Path, greedy: dict[int, str]) -> None:
    translator = Bert2Bert.from_pretrained(checkpoint, None, setting.data_bin, max_len_b=LONGEST, beam=1)
    sources = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()
    check_alike({i: one.text for i, one in enumerate(translator.translate(sources))}, greedy)


@pytest.mark.slow
def test_generation_needs_no_bert(
    setting: Setting,
    checkpoint: Path,
    greedy: dict[int, str],
    fairseq: Command,
    translations: Translations,
    tmp_path: Path,
) -> None:
    hidden = setting.bert.rename(tmp_path / "gone")
    try:
        output = fairseq("generate", setting.data_bin, "--path", checkpoint, *GREEDY, "--batch-size", 32)
    finally:
        hidden.rename(setting.bert)
    assert translations(output) == greedy


@pytest.mark.slow
def test_best_three_of_five_beams(setting: Setting, checkpoint: Path, fairseq: Command) -> None:
    arguments = ["--path", checkpoint, "--beam", 5, "--nbest", 3, "--max-len-b", LONGEST, "--batch-size", 32]
    output = fairseq("generate", setting.data_bin, *arguments)
    found: dict[int, list[tuple[float, str]]] = {i: [] for i in range(300)}
    for number, score, text in re.findall(r"(?m)^H-(\d+)\t(\S+)\t(.*)$", output):
        found[int(number)].append((float(score), text))
    for beams in found.values():
        assert len(beams) == len({text for _, text in beams}) == 3
        assert [score for score, _ in beams] == sorted((score for score, _ in beams), reverse=True)


@pytest.mark.slow
def test_greedy_decoding_equals_recomputing_every_prefix(loaded: Loaded) -> None:
    eos, expected = loaded.task.target_dictionary.eos(), []
    for batch in loaded.batches:
        for row in without_generator(loaded, batch).tolist():
            expected.append([*row[: row.index(eos)], eos] if eos in row else [*row, eos])
    assert len(expected) == SENTENCES
    assert len(set(map(len, expected))) > 5, "sentences end too much at the same time for this test"
    for inference in (False, True):
        assert by_generator(loaded, beam=1, inference=inference) == expected


@pytest.mark.slow
def test_beam_search_equals_recomputing_every_prefix(loaded: Loaded) -> None:
    expected = by_generator(loaded, beam=5, keep_states=False)
    for inference in (False, True):
        assert by_generator(loaded, beam=5, inference=inference) == expected
