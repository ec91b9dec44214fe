"""The teacher: its checkpoints, the data it translates, and the targets made of its hypotheses."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from fairseq import utils
from fairseq.data import indexed_dataset
from fairseq.dataclass.configs import GenerationConfig
from torch import Tensor

from ..checkpoints.reader import load_models
from ..data.dictionary import BnbDictionary
from ..data.pair_dataset import SentencePairDataset, load_pair
from ..tasks.translation_bnb import TranslationBnbTask
from .output import DataBin, Shard, Translations


class Teacher(NamedTuple):
    """A loaded teacher.

    Attributes:
        task: has the dictionaries.
        models: several translate together.
        generator: the task's.
        longest: tokens of the longest source, [CLS] and [SEP] counted.
        cuda: True: the models are on a GPU.
    """

    task: TranslationBnbTask
    models: list[Any]
    generator: Any
    longest: int
    cuda: bool


class Corpus(NamedTuple):
    """The data to translate.

    Attributes:
        data: its files.
        sources: source sentences.
        targets: human translations; None: there are none.
        max_tokens: most tokens in a batch; None: any number.
        batch_size: most sentences in a batch; None: any number.
    """

    data: DataBin
    sources: SentencePairDataset
    targets: Sequence[Tensor] | None
    max_tokens: int | None
    batch_size: int | None


def load_teacher(
    checkpoints: Sequence[Path],
    data_bin: Path,
    generation: GenerationConfig,
    matmul_precision: str,
    longest: int | None,
    cuda: bool,
) -> Teacher:
    """Load the checkpoints, as fairseq-generate does.

    Args:
        checkpoints: several translate together.
        data_bin: data-bin folder with the dictionaries.
        generation: options of the search.
        matmul_precision: value of ``--float32-matmul-precision``.
        longest: tokens of the longest source to translate; None: the teacher's limit.
        cuda: move the models to the GPU.

    Returns:
        The teacher.

    Raises:
        ValueError: if its task or dictionaries are others, or it cannot use the options.
    """
    overrides = {
        "data": str(data_bin),
        "float32_matmul_precision": matmul_precision,
        "eval_bleu": False,
        "eval_rouge": False,
        "eval_meteor": False,
        "truncate_source": False,
    }
    models, task = load_models(checkpoints, overrides)
    if not isinstance(task, TranslationBnbTask):
        raise ValueError(f"--teacher must have been trained with --task translation_bnb, but has {type(task).__name__}")
    for model in models:
        if cuda:
            model.cuda()
        model.prepare_for_inference_(SimpleNamespace(generation=generation))
    positions = utils.resolve_max_positions(task.max_positions(), *[model.max_positions() for model in models])[0]
    generator = task.build_generator(models, generation)
    return Teacher(task, models, generator, min(positions, longest or positions), cuda)


def open_corpus(teacher: Teacher, folder: Path, subset: str, max_tokens: int | None, batch_size: int | None) -> Corpus:
    """Open a part of a data-bin folder in the teacher's languages; see ``Corpus``.

    Raises a FileNotFoundError if the part does not exist in these languages; and a ValueError if a source fits no
    batch, or one that is too long for the teacher has no target to keep.
    """
    task = teacher.task
    source_lang, target_lang = languages = (task.cfg.source_lang, task.cfg.target_lang)
    names = ("-".join(languages), "-".join(reversed(languages)))
    pair = next((name for name in names if (folder / f"{subset}.{name}.{source_lang}.idx").is_file()), names[0])
    impl = str(indexed_dataset.infer_dataset_impl(str(folder / f"{subset}.{pair}.{source_lang}")))
    source, targets, _ = load_pair(folder, subset, languages, (task.src_dict, task.tgt_dict))
    sources = SentencePairDataset(source, task.src_dict, None, task.tgt_dict, shuffle=False)
    too_long = sources.source_sizes > teacher.longest
    widest = int(sources.source_sizes[~too_long].max(initial=0))
    if max_tokens is not None and widest > max_tokens:
        raise ValueError(f"--max-tokens must be at least {widest}, the longest source, but is {max_tokens}")
    if targets is None and too_long.any():
        raise ValueError(
            f"--max-source-positions and the teacher's positions must allow every source where {subset} has no target "
            f"to keep, but allow {teacher.longest} tokens, which {too_long.sum():,} sources exceed"
        )
    data = DataBin(folder, subset, pair, target_lang, impl, len(task.tgt_dict))
    return Corpus(data, sources, targets, max_tokens, batch_size)


def target_ids(hypothesis: Tensor, dictionary: BnbDictionary) -> Tensor:
    """Return the ids of a hypothesis without [CLS], [SEP], [PAD] and [MASK], then [SEP], as a data-bin stores them."""
    special = [dictionary.bos(), dictionary.eos(), dictionary.pad(), dictionary.mask()]
    tokens = hypothesis.cpu().long()
    return torch.cat([tokens[~torch.isin(tokens, torch.tensor(special))], torch.tensor([dictionary.eos()])])


def text_line(tokens: Tensor, dictionary: BnbDictionary) -> str:
    """Return ids as text, as in the ``D-`` lines of fairseq-generate, on a single line."""
    return re.sub(r"[\r\n]", " ", dictionary.text(tokens, dictionary.unk_word))


def translate(teacher: Teacher, corpus: Corpus, shard: Shard, report: Callable[[Sequence[int]], None]) -> Translations:
    """Translate a shard; ``report`` receives the numbers of sentences that are done."""
    dictionary, sources = teacher.task.tgt_dict, corpus.sources
    numbers = np.arange(*shard)
    numbers = numbers[np.argsort(sources.source_sizes[numbers], kind="stable")]
    fitting, too_long = sources.filter_indices_by_size(numbers, (teacher.longest, 0))
    tokens = {i: corpus.targets[i] for i in too_long} if corpus.targets is not None else {}
    report(too_long)
    unknown = 0
    # longest first: where memory does not suffice, it shows at once
    for batch in reversed(sources.batch_by_size(fitting, corpus.max_tokens, corpus.batch_size)):
        sample = sources.collater([sources[i] for i in batch.tolist()])
        sample = utils.move_to_cuda(sample) if teacher.cuda else sample
        hypotheses = teacher.task.inference_step(teacher.generator, teacher.models, sample)
        for i, hypothesis in zip(batch.tolist(), hypotheses, strict=True):
            tokens[i] = target_ids(hypothesis[0]["tokens"], dictionary)
            unknown += int(dictionary.unk() in tokens[i])
        report(batch.tolist())
    ordered = [tokens[i] for i in range(*shard)]
    return Translations(ordered, [text_line(ids, dictionary) for ids in ordered], len(too_long), unknown)
