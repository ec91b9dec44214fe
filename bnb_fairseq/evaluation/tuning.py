"""Settings of one pass, of the CTC beam search and of rescored n-best lists, tried on a validation set."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sacrebleu
import torch

from ..engines.batches import translate_ids
from ..engines.nar import NarEngine
from ..engines.with_fairseq import open_checkpoints, read_part
from . import markdown

SCORES = ("BLEU", "chrF", "length ratio", "sentences/s")
NEUTRAL = {"ctc_lm_weight": 0.0, "ctc_token_bonus": 0.0, "ctc_blank_penalty": 0.0, "lenpen": 1.0}


class Setting(NamedTuple):
    """Options of a search.

    Attributes:
        beam: texts; 0: one pass of a non-autoregressive model.
        lm_path: n-gram model; None if its weight is 0.
        lm_weight: its weight.
        bonus: for each token.
        blank_penalty: under CTC.
        lenpen: exponent of the length that an autoregressive model's scores are divided by; None: the model is
            non-autoregressive.
    """

    beam: int
    lm_path: str | None
    lm_weight: float
    bonus: float
    blank_penalty: float = 0.0
    lenpen: float | None = None

    def search(self) -> dict[str, Any]:
        """Return the options as ``bnb-export --search`` reads them."""
        language = {"ctc_lm_weight": self.lm_weight, "ctc_token_bonus": self.bonus}
        if self.lenpen is not None:
            return {"beam": self.beam, **language, "lenpen": self.lenpen}
        return {"ctc_beam": self.beam, **language, "ctc_blank_penalty": self.blank_penalty}

    def command_line(self) -> str:
        """Return the options as fairseq-generate takes them."""
        words = []
        for name, value in self.search().items():
            if value != NEUTRAL.get(name):
                words += [f"--ctc-lm-path {self.lm_path}"] if name == "ctc_lm_weight" else []
                words.append(f"--{name.replace('_', '-')} {value:g}")
        return " ".join(words)


class Outcome(NamedTuple):
    """BLEU as ``--eval-bleu`` computes it, chrF, words of the output over those of the references, sentences/s."""

    setting: Setting
    bleu: float
    chrf: float
    length_ratio: float
    speed: float


def try_settings(
    settings: Sequence[Setting], path: Path, data: Path, subset: str, batch_size: int, cpu: bool
) -> Iterator[Outcome]:
    """Translate a part of a data-bin folder with each setting.

    Args:
        settings: the settings.
        path: checkpoint of a model that writes text.
        data: data-bin folder.
        subset: name of the part.
        batch_size: sentences in a batch.
        cpu: use the CPU even where there is a GPU.

    Yields:
        The outcome of each setting, in order.

    Raises:
        ValueError: if the checkpoint is of another kind, or the part has no target or no sentence.
    """
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    engine, task = open_checkpoints([path], data, device)
    if isinstance(engine, NarEngine) != (settings[0].lenpen is None):
        raise ValueError(
            f"--beam must be given for an autoregressive model, and for no other, but {path} is of {task.cfg._name}"
        )
    sources, targets = read_part(task, subset, "--gen-subset")
    task.filter_indices_by_size(np.arange(len(sources)), task.dataset(subset), (engine.longest, sys.maxsize))
    text = task.target_dictionary.text
    raw = task.dataset(subset).target_texts
    references = raw or [text(tokens, "UNKNOWNTOKENINREF") for tokens in targets]
    for setting in settings:
        search = {**engine.options, **setting.search(), "ctc_lm_path": setting.lm_path}
        begun = time.perf_counter()
        found = translate_ids(engine, sources, search, most_texts=batch_size)
        outputs = [text(torch.tensor(best.tokens, dtype=torch.long), "UNKNOWNTOKENINHYP") for best, *_ in found]
        seconds = time.perf_counter() - begun
        bleu = sacrebleu.corpus_bleu(outputs, [references])
        chrf = sacrebleu.corpus_chrf(outputs, [references])
        yield Outcome(setting, bleu.score, chrf.score, bleu.sys_len / bleu.ref_len, len(outputs) / seconds)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of outcomes, the best first, and the options of its first row."""
    best = sorted(outcomes, key=lambda outcome: -outcome.bleu)
    rows = [(*(f"--{name.replace('_', '-')}" for name in best[0].setting.search()), *SCORES)]
    for setting, bleu, chrf, ratio, speed in best:
        values = (f"{value:g}" for value in setting.search().values())
        rows.append((*values, f"{bleu:.1f}", f"{chrf:.1f}", f"{ratio:.2f}", f"{speed:.1f}"))
    return f"{markdown.table(rows)}\n\nbest: {best[0].setting.command_line()}"
