r"""Find the options of the CTC search (--ctc-beam) that translate a validation set best.

    python scripts/tune_search.py data-bin --path checkpoint_best.pt --ctc-lm-path lm.arpa \
        --ctc-lm-weight 0.2 0.3 0.4 --ctc-token-bonus 0 1 2

Every combination of the values given is tried. BLEU is the one of --eval-bleu: the target's own text against the
detokenised output. Standard output gets a table, the best combination first, and its options.
"""

import argparse
import copy
import itertools
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import sacrebleu
import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig
from picture_refinement import load_model

from bnb_fairseq.cli.errors import one_line_errors

HEAD = ("--ctc-beam", "--ctc-lm-weight", "--ctc-token-bonus", "BLEU", "length ratio", "sentences/s")


class Setting(NamedTuple):
    """Options of the search; ``lm_path`` is None where the weight is 0."""

    beam: int
    lm_path: str | None
    lm_weight: float
    bonus: float

    def command_line(self) -> str:
        """Write the options as fairseq-generate takes them."""
        line = f"--ctc-beam {self.beam}"
        if self.lm_path is not None:
            line += f" --ctc-lm-path {self.lm_path} --ctc-lm-weight {self.lm_weight:g}"
        return line + (f" --ctc-token-bonus {self.bonus:g}" if self.bonus else "")


class Outcome(NamedTuple):
    """What a setting makes of the validation set."""

    setting: Setting
    bleu: float
    length_ratio: float
    speed: float


def parse_arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        The arguments.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("data", type=Path, metavar="DATA_BIN", help="folder made by fairseq-preprocess")
    add("--path", type=Path, required=True, metavar="CHECKPOINT", help="checkpoint of bnb_transformer under CTC")
    add("--gen-subset", default="valid", metavar="PART", help="part of the data to translate (default: valid)")
    add("--batch-size", type=int, default=64, metavar="N", help="sentences in a batch (default: 64)")
    add("--ctc-beam", type=int, nargs="+", default=[10], metavar="N", help="sizes of the beam (default: 10)")
    add("--ctc-lm-path", metavar="FILE", help="n-gram model (default: none)")
    add("--ctc-lm-weight", type=float, nargs="+", metavar="W", help="its weights; 0: without it (default: 0)")
    add("--ctc-token-bonus", type=float, nargs="+", default=[0.0], metavar="B", help="bonuses (default: 0)")
    add("--cpu", action="store_true", help="use the CPU even where there is a GPU")
    return parser.parse_args(argv)


def make_settings(arguments: argparse.Namespace) -> list[Setting]:
    """Combine the values.

    Args:
        arguments: the command line.

    Returns:
        The combinations, each once.

    Raises:
        ValueError: if an option is out of range or misses another, listing all.
    """
    faults = []
    weights = arguments.ctc_lm_weight or [0.0]
    if not arguments.data.is_dir():
        faults.append(f"DATA_BIN must be a folder made by fairseq-preprocess, but is {arguments.data}")
    if arguments.batch_size < 1:
        faults.append(f"--batch-size must be at least 1, but is {arguments.batch_size}")
    if min(arguments.ctc_beam) < 1:
        faults.append(f"--ctc-beam must be at least 1, but is {min(arguments.ctc_beam)}")
    if (arguments.ctc_lm_path is None) != (arguments.ctc_lm_weight is None):
        faults.append(
            f"--ctc-lm-path and --ctc-lm-weight must be given together, but are {arguments.ctc_lm_path} and "
            f"{arguments.ctc_lm_weight}"
        )
    if faults:
        raise ValueError("; ".join(faults))
    grid = itertools.product(arguments.ctc_beam, weights, arguments.ctc_token_bonus)
    settings = (Setting(beam, arguments.ctc_lm_path if w else None, w, bonus) for beam, w, bonus in grid)
    return list(dict.fromkeys(settings))


def try_all(arguments: argparse.Namespace, settings: Sequence[Setting]) -> Iterator[Outcome]:
    """Translate the validation set with each setting.

    Args:
        arguments: the command line.
        settings: what to try.

    Yields:
        What each setting makes of it.

    Raises:
        ValueError: if the checkpoint is of another kind, or the data have no target.
    """
    model, task = load_model(arguments.path, arguments.data)
    task.load_dataset(arguments.gen_subset)
    dataset = task.dataset(arguments.gen_subset)
    if dataset.target is None:
        raise ValueError(f"--gen-subset must have a target to compare with, but {arguments.gen_subset} has none")
    cuda = torch.cuda.is_available() and not arguments.cpu
    if cuda:
        model.cuda()
    model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
    indices = dataset.ordered_indices()
    indices = task.filter_indices_by_size(indices, dataset, model.max_positions())
    batches = [
        dataset.collater([dataset[i] for i in batch])
        for batch in dataset.batch_by_size(indices, max_sentences=arguments.batch_size)
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
    """Write outcomes in Markdown, the best first.

    Args:
        outcomes: at least one.

    Returns:
        The table, and the options of its first row.
    """
    best = sorted(outcomes, key=lambda outcome: -outcome.bleu)
    lines = [" | ".join(HEAD), " | ".join(["--:"] * len(HEAD))]
    for setting, bleu, ratio, speed in best:
        values = (f"{setting.beam}", f"{setting.lm_weight:g}", f"{setting.bonus:g}")
        lines.append(" | ".join((*values, f"{bleu:.1f}", f"{ratio:.2f}", f"{speed:.1f}")))
    rows = "\n".join(f"| {line} |" for line in lines)
    return f"{rows}\n\nbest: {best[0].setting.command_line()}"


def run(arguments: argparse.Namespace) -> None:
    """Try all settings and print the table.

    Args:
        arguments: the command line.

    Raises:
        ValueError: if anything does not fit.
    """
    settings, outcomes = make_settings(arguments), []
    for number, outcome in enumerate(try_all(arguments, settings), start=1):
        line = outcome.setting.command_line()
        print(f"[{number}/{len(settings)}] {line}: BLEU {outcome.bleu:.1f}", file=sys.stderr, flush=True)
        outcomes.append(outcome)
    print(table(outcomes))


def main() -> None:
    """Run; an error is one line."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", force=True)
    with one_line_errors("tune_search", ValueError, OSError, ImportError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
