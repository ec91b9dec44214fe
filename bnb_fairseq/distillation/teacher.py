"""The teacher: its checkpoints, the data it translates, and the targets made of its translations."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fairseq.data import indexed_dataset
from torch import Tensor

from ..data.dictionary import BnbDictionary
from ..data.pair_dataset import SentencePairDataset, load_pair
from ..engines.batches import translate_ids
from ..engines.interface import Engine
from ..engines.with_fairseq import open_checkpoints
from ..tasks.translation_bnb import TranslationBnbTask
from .output import DataBin, Shard, Translations


class Teacher(NamedTuple):
    """A loaded teacher.

    Attributes:
        engine: translates.
        task: has the dictionaries.
        search: options of the translation.
        longest: tokens of the longest source, [CLS] and [SEP] counted.
    """

    engine: Engine
    task: TranslationBnbTask
    search: Mapping[str, Any]
    longest: int


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
    generation: Mapping[str, Any],
    matmul_precision: str,
    longest: int | None,
    cuda: bool,
) -> Teacher:
    """Load the checkpoints.

    Args:
        checkpoints: several translate together.
        data_bin: data-bin folder with the dictionaries.
        generation: fairseq's options of the search, by name.
        matmul_precision: value of ``--float32-matmul-precision``.
        longest: tokens of the longest source to translate; None: the teacher's limit.
        cuda: move the models to the GPU.

    Returns:
        The teacher.

    Raises:
        ValueError: if its task or dictionaries are others, or it cannot use the options.
    """
    device = "cuda" if cuda else "cpu"
    engine, task = open_checkpoints(checkpoints, data_bin, device, precision=matmul_precision)
    if not isinstance(task, TranslationBnbTask):
        raise ValueError(f"--teacher must have been trained with --task translation_bnb, but has {type(task).__name__}")
    search = {**engine.options, **generation}
    engine.check(1, search)
    limits = (engine.longest, task.max_positions()[0], longest)
    return Teacher(engine, task, search, min(limit for limit in limits if limit is not None))


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


def target_ids(tokens: Sequence[int], dictionary: BnbDictionary) -> Tensor:
    """Return the ids of a text without [CLS], [SEP], [PAD] and [MASK], then [SEP], as a data-bin stores them."""
    special = {dictionary.bos(), dictionary.eos(), dictionary.pad(), dictionary.mask()}
    return torch.tensor([*(token for token in tokens if token not in special), dictionary.eos()])


def text_line(tokens: Tensor, dictionary: BnbDictionary) -> str:
    """Return ids as text, as in the ``D-`` lines of fairseq-generate, on a single line."""
    return re.sub(r"[\r\n]", " ", dictionary.text(tokens, dictionary.unk_word))


def translate(teacher: Teacher, corpus: Corpus, shard: Shard, report: Callable[[Sequence[int]], None]) -> Translations:
    """Translate a shard; ``report`` receives the numbers of sentences that are done."""
    dictionary, sizes = teacher.task.tgt_dict, corpus.sources.source_sizes
    fitting = [i for i in range(*shard) if sizes[i] <= teacher.longest]
    too_long = sorted(set(range(*shard)) - set(fitting))
    tokens = {i: corpus.targets[i] for i in too_long} if corpus.targets is not None else {}
    report(too_long)
    found = translate_ids(
        teacher.engine,
        [corpus.sources[i]["source"].tolist() for i in fitting],
        teacher.search,
        most_tokens=corpus.max_tokens,
        most_texts=corpus.batch_size,
        done=lambda batch: report([fitting[i] for i in batch]),
    )
    tokens |= {i: target_ids(best.tokens, dictionary) for i, (best, *_) in zip(fitting, found, strict=True)}
    unknown = sum(dictionary.unk() in tokens[i] for i in fitting)
    ordered = [tokens[i] for i in range(*shard)]
    return Translations(ordered, [text_line(ids, dictionary) for ids in ordered], len(too_long), unknown)
