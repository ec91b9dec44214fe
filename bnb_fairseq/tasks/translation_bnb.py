"""The ``translation_bnb`` task: text to text, non-autoregressive or not."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sacrebleu
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.data import data_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask, register_task
from torch import Tensor

from ..data.dictionary import load_data_bin
from ..data.pair_dataset import SentencePairDataset, load_pair
from ..data.preflight import check_lines
from .bnb_task import BnbTask
from .config import TranslationBnbConfig
from .validation_bleu import log_bleu

logger = logging.getLogger(__name__)


@register_task("translation_bnb", dataclass=TranslationBnbConfig)
class TranslationBnbTask(BnbTask):
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
            ValueError: if the folder or the language pair cannot be found.
        """
        folder = next(iter(utils.split_paths(cfg.data or "")), "")
        if not folder or not Path(folder).is_dir():
            raise ValueError(f"data must be a folder made by fairseq-preprocess, but {folder!r} is none")
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
            combine: fairseq's flag for numbered parts, which are not used here.
            task_cfg: the checkpoint's options; not needed.
            data_selector: fairseq's trainer passes it to every task; not needed.
            tpu: fairseq's trainer passes it to every task; not needed.

        Raises:
            FileNotFoundError: if the part does not exist.
            ValueError: if source and target differ in number.
        """
        folders = utils.split_paths(self.cfg.data)
        folder = folders[(epoch - 1) % len(folders)] if split == self.cfg.train_subset else folders[0]
        languages = (self.cfg.source_lang, self.cfg.target_lang)
        dictionaries = (self.src_dict, self.tgt_dict)
        pair = load_pair(Path(folder), split, languages, dictionaries, self.cfg.dataset_impl)
        self.datasets[split] = self._pairs(pair.source, pair.target, shuffle=split != "test")

    def _pairs(self, source: Sequence[Tensor], target: Sequence[Tensor] | None, shuffle: bool) -> SentencePairDataset:
        longest = self.cfg.max_source_positions if self.cfg.truncate_source else None
        return SentencePairDataset(
            source, self.src_dict, target, self.tgt_dict, self.traits is not None, shuffle, longest
        )

    def get_interactive_tokens_and_lengths(
        self, lines: Sequence[str], encode_fn: Callable[[str], str]
    ) -> tuple[list[Tensor], list[int]]:
        """Encode lines of raw text.

        Args:
            lines: raw source text, one sentence each.
            encode_fn: fairseq's tokenizer and BPE, none by default.

        Returns:
            Ids ending in [SEP], and their lengths.
        """
        check_lines(lines, "--input")
        tokens, lengths = super().get_interactive_tokens_and_lengths(lines, encode_fn)
        return tokens, lengths

    def build_dataset_for_inference(
        self, src_tokens: list[Tensor], src_lengths: list[int], constraints: Any = None
    ) -> SentencePairDataset:
        """Make a data set of sources only.

        Args:
            src_tokens: ids ending in [SEP].
            src_lengths: their lengths; not needed.
            constraints: must be None.

        Returns:
            The data set.

        Raises:
            ValueError: if there are constraints.
        """
        if constraints is not None:
            raise ValueError("--constraints cannot be used with --task translation_bnb")
        return self._pairs(src_tokens, None, shuffle=False)

    def reduce_metrics(self, logging_outputs: Sequence[dict[str, Any]], criterion: FairseqCriterion) -> None:
        """Log what the criterion makes of its statistics, and BLEU.

        Args:
            logging_outputs: statistics of batches and workers.
            criterion: the criterion.
        """
        FairseqTask.reduce_metrics(self, logging_outputs, criterion)
        log_bleu(logging_outputs)

    def _inference_with_bleu(self, generator: Any, sample: dict[str, Any], model: BaseFairseqModel) -> Any:
        """Translate a validation batch and count its n-grams, on detokenised text."""
        hypotheses = [best[0]["tokens"] for best in self.inference_step(generator, [model], sample)]
        translations = [self.tgt_dict.text(tokens, "UNKNOWNTOKENINHYP") for tokens in hypotheses]
        references = [self.tgt_dict.text(tokens, "UNKNOWNTOKENINREF") for tokens in sample["target"]]
        if self.cfg.eval_bleu_print_samples:
            logger.info("example translation: %s", translations[0])
            logger.info("example reference:   %s", references[0])
        return sacrebleu.corpus_bleu(translations, [references])
