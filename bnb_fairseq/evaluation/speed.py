"""Speed of checkpoints on a user's own data: every way of decoding, timed in turns in one process."""

import statistics
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig

from ..checkpoints.reader import load_models
from ..generation.options import SEARCH_OPTIONS
from ..models.bnb_transformer import BnbTransformer
from .clock import Job, Timing, spread, time_in_turns
from .markdown import table

BEAM = 5  # of an autoregressive model, beside greedy decoding
HEAD = ("batch", "system", "sentences/s", "target tokens/s", "ms/sentence", "ratio")


class Searches(NamedTuple):
    """Ways of decoding beside one pass and greedy decoding.

    Attributes:
        refinements: passes after pass 0, for models that can refine; 0: none.
        ctc_beam: texts of the beam search, for models under CTC; 0: none.
        max_len_b: most target tokens of an autoregressive model.
    """

    refinements: int
    ctc_beam: int
    max_len_b: int


class Loaded(NamedTuple):
    """A checkpoint, ready to translate, and its data."""

    option: str
    task: Any
    model: Any
    dataset: Any


class System(NamedTuple):
    """One way of decoding with a checkpoint."""

    name: str
    loaded: Loaded
    generator: Any


class Row(NamedTuple):
    """A system's figures for one batch size; ``tokens`` are target tokens, special symbols not counted."""

    batch: int
    system: str
    timing: Timing
    tokens: int


def load(option: str, path: Path, data_bin: Path, part: str, device: str) -> Loaded:
    """Load a checkpoint, which ``option`` names in errors, and a part of a data-bin folder.

    Raises a ValueError if the checkpoint is damaged or does not fit the data.
    """
    try:
        (model,), task = load_models([path], {"data": str(data_bin), **SEARCH_OPTIONS})
    except ValueError as error:
        raise ValueError(f"{option} {path}: {str(error).removeprefix(f'{path}: ')}") from error
    task.load_dataset(part)
    model.to(device)
    model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
    return Loaded(option, task, model, task.dataset(part))


def systems_of(loaded: Loaded, searches: Searches) -> Iterator[System]:
    """List the ways of decoding that a checkpoint has, the plainest first; names begin with the option."""
    task, model, option = loaded.task, loaded.model, loaded.option

    def system(name: str, **options: Any) -> System:
        return System(f"{option}: {name}", loaded, task.build_generator([model], Namespace(**options)))

    if not isinstance(model, BnbTransformer):
        for name, beam in (("greedy", 1), (f"beam {BEAM}", BEAM)):
            yield system(name, beam=beam, max_len_a=0.0, max_len_b=searches.max_len_b)
        return
    yield system("one pass")
    passes = searches.refinements
    if passes and model.options.canvas_tokens:
        yield system(f"{passes} refinement{'s'[: passes > 1]}", iter_decode_max_iter=passes)
    if searches.ctc_beam and model.control.has_alignments:
        yield system(f"--ctc-beam {searches.ctc_beam}", ctc_beam=searches.ctc_beam)


def choose_sentences(checkpoints: Sequence[Loaded], wanted: int) -> list[int]:
    """Choose sentences at even distances in the data, of those that every checkpoint can read.

    Returns at most ``wanted`` numbers, the shortest sentence first, as fairseq-generate sorts them; raises a ValueError
    if no sentence fits.
    """
    dataset = checkpoints[0].dataset
    longest = min(loaded.model.max_positions()[0] for loaded in checkpoints)
    order = [int(i) for i in dataset.ordered_indices() if dataset.size(int(i))[0] <= longest]
    if not order:
        raise ValueError(f"--gen-subset must have sources of at most {longest} tokens, but has none")
    fitting = sorted(order)
    count = min(wanted, len(fitting))
    chosen = {fitting[i * len(fitting) // count] for i in range(count)}
    return [i for i in order if i in chosen]


def make_batches(dataset: Any, sentences: Sequence[int], batch: int) -> list[dict[str, Any]]:
    """Collate sentences on the CPU, ``batch`` at a time."""
    parts = [sentences[i : i + batch] for i in range(0, len(sentences), batch)]
    return [dataset.collater([dataset[i] for i in part]) for part in parts]


def translate(system: System, batches: Sequence[dict[str, Any]], device: str) -> list[list[int]]:
    """Translate batches that lie on the CPU into lists of ids, one a sentence."""
    _, task, model, _ = system.loaded
    outputs = []
    for batch in batches:
        moved = utils.move_to_cuda(batch) if device == "cuda" else batch
        outputs += [best[0]["tokens"].tolist() for best in task.inference_step(system.generator, [model], moved)]
    return outputs


def count_tokens(outputs: Sequence[Sequence[int]], dictionary: Any) -> int:
    """Count the ids of outputs, special symbols left out."""
    special = {dictionary.bos(), dictionary.pad(), dictionary.eos()}
    return sum(token not in special for tokens in outputs for token in tokens)


def measure(
    systems: Sequence[System],
    sentences: Sequence[int],
    batch_sizes: Sequence[int],
    device: str,
    runs: int,
    say: Callable[[str], None],
) -> list[Row]:
    """Time every system at every batch size, all with the same sentences; ``say`` receives lines of progress."""
    rows = []
    for batch in batch_sizes:
        made = {system.loaded.option: make_batches(system.loaded.dataset, sentences, batch) for system in systems}
        calls = [partial(translate, system, made[system.loaded.option], device) for system in systems]
        jobs = [Job(len(sentences), call) for call in calls]
        timings = time_in_turns(jobs, device, runs, lambda line, batch=batch: say(f"batch {batch}: {line}"))  # type: ignore[misc]
        for system, timing in zip(systems, timings, strict=True):
            tokens = count_tokens(timing.outcome, system.loaded.task.target_dictionary)
            rows.append(Row(batch, system.name, timing, tokens))
    return rows


def ratio(first: Timing, other: Timing) -> tuple[float, float]:
    """Return the speed of a system over that of the first, and its spread.

    It is the median over the runs, each against the same run of the first; the spread is half the distance between the
    lowest and the highest as a share of the median.
    """
    ratios = [mine / others for mine, others in zip(first.seconds, other.seconds, strict=True)]
    return statistics.median(ratios), spread(ratios)


def format_table(rows: Sequence[Row]) -> str:
    """Write the rows in Markdown; the ratio is to the first row of the same batch size."""
    firsts: Mapping[int, Timing] = {row.batch: row.timing for row in reversed(rows)}
    lines = [HEAD]
    for batch, name, timing, tokens in rows:
        times, apart = ratio(firsts[batch], timing)
        speeds = (f"{timing.speed():,.1f} ±{100 * timing.spread():.0f}%", f"{tokens / timing.median():,.0f}")
        each = f"{1000 * timing.median() / timing.sentences:.2f}"
        lines.append((str(batch), name, *speeds, each, f"{times:.2f} ±{100 * apart:.0f}%"))
    return table(lines)


def default_device(cpu: bool) -> str:
    """Return ``cuda`` where there is a GPU, unless the CPU is wanted."""
    return "cuda" if torch.cuda.is_available() and not cpu else "cpu"
