"""The teacher of ``distill.py``: what it is loaded from, what it translates, and what becomes of its hypotheses."""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from distill_output import DataBin, Shard, Translations
from fairseq import utils
from fairseq.data import indexed_dataset
from fairseq.dataclass.configs import GenerationConfig
from torch import Tensor

from bnb_fairseq.checkpoints.reader import load_models
from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.pair_dataset import SentencePairDataset, load_pair
from bnb_fairseq.tasks.translation_bnb import TranslationBnbTask


class Teacher(NamedTuple):
    """What translates.

    Attributes:
        task: the task, with the dictionaries.
        models: the models.
        generator: the task's generator.
        longest: longest source that it takes, [CLS] and [SEP] counted.
        cuda: whether the models lie on a GPU.
    """

    task: TranslationBnbTask
    models: list[Any]
    generator: Any
    longest: int
    cuda: bool


class Corpus(NamedTuple):
    """What is translated.

    Attributes:
        data: where it lies.
        sources: the source sentences.
        targets: what people wrote for them; None: nothing.
        max_tokens: largest number of tokens in a batch, or None.
        batch_size: largest number of sentences in a batch, or None.
    """

    data: DataBin
    sources: SentencePairDataset
    targets: Sequence[Tensor] | None
    max_tokens: int | None
    batch_size: int | None


def load_teacher(arguments: argparse.Namespace, cuda: bool) -> Teacher:
    """Load the checkpoints, as fairseq-generate does.

    Args:
        arguments: the command line.
        cuda: move them to the GPU.

    Returns:
        The teacher.

    Raises:
        ValueError: if it was trained with another task or other dictionaries, or cannot use the options.
    """
    overrides = {
        "data": str(arguments.data_bin),
        "float32_matmul_precision": arguments.float32_matmul_precision,
        "eval_bleu": False,
        "eval_rouge": False,
        "eval_meteor": False,
        "truncate_source": False,
    }
    paths = utils.split_paths(arguments.teacher)
    models, task = load_models([Path(path) for path in paths], overrides)
    if not isinstance(task, TranslationBnbTask):
        raise ValueError(f"--teacher must have been trained with --task translation_bnb, but has {type(task).__name__}")
    names = ("beam", "max_len_a", "max_len_b", "lenpen", "iter_decode_max_iter")
    generation = GenerationConfig(**{name: getattr(arguments, name) for name in names})
    for model in models:
        if cuda:
            model.cuda()
        model.prepare_for_inference_(SimpleNamespace(generation=generation))
    longest = utils.resolve_max_positions(task.max_positions(), *[model.max_positions() for model in models])[0]
    longest = min(longest, arguments.max_source_positions or longest)
    return Teacher(task, models, task.build_generator(models, generation), longest, cuda)


def open_corpus(arguments: argparse.Namespace, teacher: Teacher) -> Corpus:
    """Open the part of the data that is to be translated.

    Args:
        arguments: the command line.
        teacher: the teacher, which knows the languages.

    Returns:
        The corpus.

    Raises:
        FileNotFoundError: if it does not exist in the teacher's languages.
        ValueError: if a sentence that is to be translated fits no batch, or one that is too long has no target to keep.
    """
    folder, subset, task = arguments.data_bin, arguments.subset, teacher.task
    source_lang, target_lang = languages = (task.cfg.source_lang, task.cfg.target_lang)
    names = ("-".join(languages), "-".join(reversed(languages)))
    pair = next((name for name in names if (folder / f"{subset}.{name}.{source_lang}.idx").is_file()), names[0])
    impl = str(indexed_dataset.infer_dataset_impl(str(folder / f"{subset}.{pair}.{source_lang}")))
    source, targets, _ = load_pair(folder, subset, languages, (task.src_dict, task.tgt_dict))
    sources = SentencePairDataset(source, task.src_dict, None, task.tgt_dict, shuffle=False)
    too_long = sources.source_sizes > teacher.longest
    widest = int(sources.source_sizes[~too_long].max(initial=0))
    if arguments.max_tokens is not None and widest > arguments.max_tokens:
        raise ValueError(f"--max-tokens must be at least {widest}, the longest source, but is {arguments.max_tokens}")
    if targets is None and too_long.any():
        raise ValueError(
            f"--max-source-positions and the teacher's positions must allow every source where {subset} has no target "
            f"to keep, but allow {teacher.longest} tokens, which {too_long.sum():,} sources exceed"
        )
    data = DataBin(folder, subset, pair, target_lang, impl, len(task.tgt_dict))
    return Corpus(data, sources, targets, arguments.max_tokens, arguments.batch_size)


def target_ids(hypothesis: Tensor, dictionary: BnbDictionary) -> Tensor:
    """Turn a hypothesis into what a data-bin folder stores.

    Args:
        hypothesis: ids; special symbols may stand anywhere.
        dictionary: the target dictionary.

    Returns:
        Ids without [CLS], [SEP], [PAD] and [MASK], then [SEP].
    """
    special = [dictionary.bos(), dictionary.eos(), dictionary.pad(), dictionary.mask()]
    tokens = hypothesis.cpu().long()
    return torch.cat([tokens[~torch.isin(tokens, torch.tensor(special))], torch.tensor([dictionary.eos()])])


def text_line(tokens: Tensor, dictionary: BnbDictionary) -> str:
    """Turn ids into text as fairseq-generate's ``D-`` lines have it, but never into more than one line."""
    return re.sub(r"[\r\n]", " ", dictionary.text(tokens, dictionary.unk_word))


def translate(teacher: Teacher, corpus: Corpus, shard: Shard, report: Callable[[Sequence[int]], None]) -> Translations:
    """Translate a shard.

    Args:
        teacher: the teacher.
        corpus: the data.
        shard: which sentences.
        report: is told which sentences are done.

    Returns:
        The distilled target.
    """
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
