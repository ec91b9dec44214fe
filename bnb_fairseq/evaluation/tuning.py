"""Settings of the CTC beam search, tried on a validation set."""

import copy
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import sacrebleu
import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig

from . import markdown
from .loading import load_non_autoregressive

HEAD = ("--ctc-beam", "--ctc-lm-weight", "--ctc-token-bonus", "BLEU", "length ratio", "sentences/s")


class Setting(NamedTuple):
    """Options of the search; ``lm_path`` is None if the weight is 0."""

    beam: int
    lm_path: str | None
    lm_weight: float
    bonus: float

    def search(self) -> dict[str, Any]:
        """Return the options as ``bnb-export --search`` reads them."""
        return {"ctc_beam": self.beam, "ctc_lm_weight": self.lm_weight, "ctc_token_bonus": self.bonus}

    def command_line(self) -> str:
        """Return the options as fairseq-generate takes them."""
        line = f"--ctc-beam {self.beam}"
        if self.lm_path is not None:
            line += f" --ctc-lm-path {self.lm_path} --ctc-lm-weight {self.lm_weight:g}"
        return line + (f" --ctc-token-bonus {self.bonus:g}" if self.bonus else "")


class Outcome(NamedTuple):
    """BLEU as ``--eval-bleu`` computes it, words of the output over those of the references, sentences/s."""

    setting: Setting
    bleu: float
    length_ratio: float
    speed: float


def try_settings(
    settings: Sequence[Setting], path: Path, data: Path, subset: str, batch_size: int, cpu: bool
) -> Iterator[Outcome]:
    """Translate a part of a data-bin folder with each setting.

    Args:
        settings: the settings.
        path: checkpoint of a non-autoregressive model.
        data: data-bin folder.
        subset: name of the part.
        batch_size: sentences in a batch.
        cpu: use the CPU even where there is a GPU.

    Yields:
        The outcome of each setting, in order.

    Raises:
        ValueError: if the checkpoint is of another kind, or the part has no target or no sentence.
    """
    model, task = load_non_autoregressive(path, data)
    task.load_dataset(subset)
    dataset = task.dataset(subset)
    if dataset.target is None:
        raise ValueError(f"--gen-subset must have a target to compare with, but {subset} has none")
    if not len(dataset):
        raise ValueError(f"--gen-subset must be a part with sentences, but {subset} is empty")
    cuda = torch.cuda.is_available() and not cpu
    if cuda:
        model.cuda()
    model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
    indices = dataset.ordered_indices()
    indices = task.filter_indices_by_size(indices, dataset, model.max_positions())
    batches = [
        dataset.collater([dataset[i] for i in batch])
        for batch in dataset.batch_by_size(indices, max_sentences=batch_size)
    ]
    text = task.target_dictionary.text
    references = [text(tokens, "UNKNOWNTOKENINREF") for batch in batches for tokens in batch["target"]]
    for setting in settings:
        options: Any = copy.copy(task.cfg)
        options.ctc_beam, options.ctc_lm_path = setting.beam, setting.lm_path
        options.ctc_lm_weight, options.ctc_token_bonus = setting.lm_weight, setting.bonus
        task.cfg = options
        generator = task.build_generator([model], GenerationConfig(iter_decode_max_iter=0))
        begun, outputs = time.perf_counter(), []
        for batch in batches:
            batch = utils.move_to_cuda(batch) if cuda else batch
            hypotheses = task.inference_step(generator, [model], batch)
            outputs += [text(best[0]["tokens"], "UNKNOWNTOKENINHYP") for best in hypotheses]
        seconds = time.perf_counter() - begun
        bleu = sacrebleu.corpus_bleu(outputs, [references])
        yield Outcome(setting, bleu.score, bleu.sys_len / bleu.ref_len, len(outputs) / seconds)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of outcomes, the best first, and the options of its first row."""
    best = sorted(outcomes, key=lambda outcome: -outcome.bleu)
    rows = [HEAD]
    for setting, bleu, ratio, speed in best:
        values = (f"{setting.beam}", f"{setting.lm_weight:g}", f"{setting.bonus:g}")
        rows.append((*values, f"{bleu:.1f}", f"{ratio:.2f}", f"{speed:.1f}"))
    return f"{markdown.table(rows)}\n\nbest: {best[0].setting.command_line()}"
