"""The ``translation_bnb`` task: text to text, non-autoregressive or not."""

import logging
from itertools import chain
from pathlib import Path

from fairseq import utils
from fairseq.data import data_utils
from fairseq.tasks import register_task

from ..checkpoints.commands import check_named
from ..data.dictionary import load_data_bin
from ..data.pair_dataset import SentencePairDataset, SentencePairs, load_pair
from ..data.parts import in_all, joined, load_parts
from .config import TranslationBnbConfig
from .text_to_text import TextToTextTask

logger = logging.getLogger(__name__)


@register_task("translation_bnb", dataclass=TranslationBnbConfig)
class TranslationBnbTask(TextToTextTask):
    """Translation (or any text to text) between dictionaries that take raw text.

    For ``bnb_transformer`` and, through fairseq's SequenceGenerator, ``bert2bert`` and fairseq's autoregressive models.

    Args:
        cfg: the options.
        src_dict: the source dictionary.
        tgt_dict: the target dictionary.
    """

    @classmethod
    def setup_task(cls, cfg: TranslationBnbConfig, from_checkpoint: bool = False) -> "TranslationBnbTask":
        """Load the dictionaries of the data-bin folder.

        Args:
            cfg: the options; languages left open are inferred from the folder.
            from_checkpoint: fairseq's flag; makes no difference here.

        Returns:
            The task.

        Raises:
            ValueError: if a checkpoint is damaged or cannot be trusted, or the folder or the language pair cannot be
                found.
        """
        check_named(cfg)
        folder = next(iter(utils.split_paths(cfg.data or "")), "")
        if not folder or not Path(folder).is_dir():
            raise ValueError(f"data must be a folder made by fairseq-preprocess, but {folder!r} is none")
        if not any(Path(folder).glob("dict.*.txt")):
            raise ValueError(f"data must be a folder made by fairseq-preprocess, but {folder} has no dict.*.txt")
        if cfg.source_lang is None or cfg.target_lang is None:
            cfg.source_lang, cfg.target_lang = data_utils.infer_language_pair(folder)
        if cfg.source_lang is None or cfg.target_lang is None:
            raise ValueError(f"--source-lang and --target-lang are needed, {folder} does not tell them")
        return cls(cfg, *load_data_bin(Path(folder), (cfg.source_lang, cfg.target_lang)))

    def load_dataset(
        self,
        split: str,
        epoch: int = 1,
        combine: bool = False,
        task_cfg: TranslationBnbConfig | None = None,
        data_selector: str | None = None,
        tpu: bool = False,
    ) -> None:
        """Load a part of the data.

        Args:
            split: ``train``, ``valid``, ``test`` or another name that was preprocessed.
            epoch: chooses among several data-bin folders.
            combine: True: read numbered parts, such as ``train1``, too, as one with ``split``.
            task_cfg: the checkpoint's options; not needed.
            data_selector: fairseq's trainer passes it to every task; not needed.
            tpu: fairseq's trainer passes it to every task; not needed.

        Raises:
            FileNotFoundError: if the part does not exist.
            ValueError: if source and target differ in number, or only some of the numbered parts have targets; or,
                before a training, if there are none, or most are longer than the model can write.
        """
        folder = self.data_folder(split, epoch)
        self.datasets[split] = dataset = self._load(folder, split, combine)
        if dataset.target is None:
            self.need_targets(f"{folder / split}.{self.cfg.source_lang}-{self.cfg.target_lang}.{self.cfg.target_lang}")
        if self.cfg.truncate_source:
            logger.info("%s: %s", split, dataset.describe_cut())
        self._check_lengths(split, lambda other: dataset if other == folder else self._load(other, split, combine))

    def _load(self, folder: Path, split: str, combine: bool) -> SentencePairDataset:
        languages = (self.cfg.source_lang, self.cfg.target_lang)
        dictionaries = (self.src_dict, self.tgt_dict)
        parts = load_parts(
            lambda name: load_pair(folder, name, languages, dictionaries, self.cfg.dataset_impl), split, combine
        )
        source = joined([pair.source for pair in parts.values()])
        targets = in_all("targets", {name: pair.target for name, pair in parts.items()})
        texts = [pair.target_texts for pair in parts.values() if pair.target_texts is not None]
        pairs = SentencePairs(
            source,
            None if targets is None else joined(targets),
            list(chain.from_iterable(texts)) if len(texts) == len(parts) else None,
        )
        return self._pairs(split, pairs, shuffle=split != "test")
