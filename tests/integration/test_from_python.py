"""Checkpoints in Python, through fairseq's hub interface."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.hub.interface import BnbHubInterface
from bnb_fairseq.models.bnb_transformer import BnbTransformer

from ..alike import check_alike
from ..facts import names
from .conftest import Setting

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]


@pytest.fixture(scope="module")
def hub(setting: Setting, checkpoint: Path) -> BnbHubInterface:
    return BnbTransformer.from_pretrained(str(checkpoint.parent), checkpoint.name, str(setting.data_bin))


@pytest.fixture(scope="module")
def sources(setting: Setting) -> list[str]:
    return (setting.text / "test.en").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("beam", [0, 3])
def test_text_in_and_text_out_as_fairseq_generate_has_it(
    beam: int,
    hub: BnbHubInterface,
    sources: list[str],
    setting: Setting,
    checkpoint: Path,
    fairseq: Command,
    translations: Translations,
) -> None:
    search: dict[str, Any] = {"ctc_beam": beam, "ctc_token_bonus": 1.5} if beam else {}
    options = [x for name, value in search.items() for x in (f"--{name.replace('_', '-')}", value)]
    output = fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 64, *options)
    check_alike(dict(enumerate(hub.translate(sources, **search))), translations(output))
    dictionary = load_dictionary(str(setting.data_bin / "dict.en.txt"))
    for number, text in re.findall(r"(?m)^S-(\d+)\t(.*)$", output):
        assert text == dictionary.text(dictionary.encode_line(sources[int(number)]), dictionary.unk_word)


@pytest.mark.slow
def test_n_best_lists_as_fairseq_interactive_has_them(
    hub: BnbHubInterface, sources: list[str], setting: Setting, checkpoint: Path, fairseq: Command
) -> None:
    sources = [sources[0], "", *sources[1:40]]
    options = ["--path", checkpoint, "--nbest", 3, "--buffer-size", 50, "--batch-size", 8]
    output = fairseq("interactive", setting.data_bin, *options, stdin="".join(f"{line}\n" for line in sources))
    expected: dict[int, list[str]] = {}
    for number, text in re.findall(r"(?m)^D-(\d+)\t\S+\t(.*)$", output):
        expected.setdefault(int(number), []).append(text)
    assert expected[1] == [""]
    check_alike(dict(enumerate(hub.translate(sources, nbest=3))), expected)


def test_a_folder_and_a_checkpoint_alone(
    hub: BnbHubInterface, sources: list[str], setting: Setting, checkpoint: Path
) -> None:
    expected = hub.translate(sources[:5])
    for place in (checkpoint, checkpoint.parent):
        assert BnbTransformer.from_pretrained(place, None, setting.data_bin).translate(sources[:5]) == expected
    with pytest.raises(ValueError, match=names("data_name_or_path", "data-bin")):
        BnbTransformer.from_pretrained(checkpoint)


def test_another_type_and_a_copy(hub: BnbHubInterface, sources: list[str]) -> None:
    expected = dict(enumerate(hub.translate(sources)))
    other = copy.deepcopy(hub.models[0])
    hub.double()
    try:
        check_alike(dict(enumerate(hub.translate(sources))), expected)
    finally:
        hub.float()
    assert next(other.parameters()).dtype == torch.float32
    check_alike(dict(enumerate(hub.translate(sources))), expected)


def test_the_data_bins_own_tokenizer_splits_the_text(setting: Setting, checkpoint: Path) -> None:
    folders = (str(checkpoint.parent), checkpoint.name, str(setting.data_bin))
    with pytest.raises(ValueError, match=names("--bpe", "sentencepiece")):
        BnbTransformer.from_pretrained(*folders, bpe="sentencepiece", sentencepiece_model=str(setting.sentencepiece))
