"""Settings of the CTC beam search, tried on a validation set."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sacrebleu
import torch

from ..engines.batches import translate_ids
from ..engines.with_fairseq import make_engine, read_part
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
        ValueError: if the checkpoint is of another kind, or the part has no target.
    """
    model, task = load_non_autoregressive(path, data)
    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    engine = make_engine([model], task, device)
    sources, targets = read_part(task, subset, "--gen-subset")
    task.filter_indices_by_size(np.arange(len(sources)), task.dataset(subset), model.max_positions())
    text = task.target_dictionary.text
    references = [text(tokens, "UNKNOWNTOKENINREF") for tokens in targets]
    for setting in settings:
        search = {**engine.options, **setting.search(), "ctc_lm_path": setting.lm_path}
        begun = time.perf_counter()
        found = translate_ids(engine, sources, search, most_texts=batch_size)
        outputs = [text(torch.tensor(best.tokens, dtype=torch.long), "UNKNOWNTOKENINHYP") for best, *_ in found]
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
