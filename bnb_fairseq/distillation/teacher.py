"""The teacher: loading it, the data that it translates, and the targets made of its hypotheses."""

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
        checkpoints: the files; several translate together.
        data_bin: data-bin folder with the dictionaries.
        generation: options of the search.
        matmul_precision: value of ``--float32-matmul-precision``.
        longest: longest source to translate, in tokens; None: the longest that the teacher takes.
        cuda: move the models to the GPU.

    Returns:
        The teacher.

    Raises:
        ValueError: if it was trained with another task or other dictionaries, or cannot use the options.
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
    """Open the part of the data that is to be translated.

    Args:
        teacher: the teacher, which knows the languages.
        folder: data-bin folder.
        subset: name of the part.
        max_tokens: largest number of tokens in a batch, or None.
        batch_size: largest number of sentences in a batch, or None.

    Returns:
        The corpus.

    Raises:
        FileNotFoundError: if it does not exist in the teacher's languages.
        ValueError: if a sentence that is to be translated fits no batch, or one that is too long has no target to keep.
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
