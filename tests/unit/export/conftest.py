"""Checkpoints of small random models, and the data-bin folder that they belong to."""

from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fairseq.dataclass.configs import GenerationConfig
from torch import nn

from bnb_fairseq.checkpoints.reader import load_models
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask

from ..checkpoint_files import save_checkpoint
from ..tasks.conftest import BERT2BERT, NON_AUTOREGRESSIVE, configure, write_data_bin

# 24 positions of the canvas, 2 for each token of the source: at most 12 tokens with [CLS] and [SEP].
POSITIONS = [f"--{side}-positions=24" for side in ("encoder", "decoder")]
MODELS = {
    "ctc": [*NON_AUTOREGRESSIVE, *POSITIONS],
    "refining": [*NON_AUTOREGRESSIVE, *POSITIONS, "--length-control", "length", "--canvas-tokens"],
    "autoregressive": [*BERT2BERT, *POSITIONS],
    "sticky": [*NON_AUTOREGRESSIVE, *POSITIONS, "--truncate-source", "--max-source-positions=5", "--ctc-beam=2"],
}
SENTENCES = ["the cell opens the cell", "cell", "opens the cell", "the the", "cell opens opens cell the the"]
LIMIT = 12

Translations = Callable[..., list[list[str]]]


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory, random_parameters: Callable[[nn.Module, int], None]
) -> dict[str, Path]:
    """Paths by name; all lie in the data-bin folder."""
    folder = write_data_bin(tmp_path_factory.mktemp("trained"))
    paths = {}
    for name, arguments in MODELS.items():
        cfg = configure(folder, "--batch-size=64", *arguments)
        task = TranslationBnbTask.setup_task(cfg.task)
        model = task.build_model(cfg.model)
        random_parameters(model, 16)
        if name in ("ctc", "sticky"):
            model.decoder.head.bias.data[[0, 1, 2, 3, 4, model.control.blank]] -= 4  # words rather than special symbols
        cfg.generation.iter_decode_max_iter = 10  # as a training by fairseq-hydra-train has it
        paths[name] = save_checkpoint(folder / f"{name}.pt", cfg, task, model)
    return paths


@pytest.fixture(scope="session")
def by_fairseq(trained: dict[str, Path]) -> Translations:
    """Translate as fairseq-interactive does: through the task, all sentences in one batch."""

    def translate(names: str, sentences: Sequence[str], **options: Any) -> list[list[str]]:
        paths = [trained[name] for name in names.split(":")]
        defaults = {"truncate_source": False, "max_source_positions": 1024, "ctc_beam": 0}
        models, task = load_models(paths, {"data": str(paths[0].parent), **defaults})
        tokens, lengths = task.get_interactive_tokens_and_lengths(sentences, lambda line: line)
        dataset = task.build_dataset_for_inference(tokens, lengths)
        args = Namespace(**{**vars(GenerationConfig()), "iter_decode_max_iter": 0, **options})
        sample = dataset.collater([dataset[i] for i in range(len(tokens))])
        found = task.inference_step(task.build_generator(models, args), models, sample)
        dictionary, nbest = task.target_dictionary, options.get("nbest", 1)
        return [[dictionary.text(one["tokens"], str(dictionary.unk_word)) for one in best[:nbest]] for best in found]

    return translate
