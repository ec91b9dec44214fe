"""Base of the text-to-text tasks: raw text as input, and metrics of text in validation."""

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.models import BaseFairseqModel
from torch import Tensor

from ..compat import whole_options
from ..data.dictionary import BnbDictionary
from ..data.pair_dataset import SPECIAL_SYMBOLS, SentencePairDataset, SentencePairs
from ..data.preflight import check_lines
from ..data.typed_lines import end_lines_at_newlines, on_one_line
from ..metrics.meteor import METEOR, load_meteor
from ..metrics.rouge import Rouge
from ..metrics.sentence_metric import SentenceMetric
from ..models.config import AUTO
from .bnb_task import BnbTask
from .config import BnbTaskConfig, eval_bleu_options
from .length_fit import check_lengths, set_canvas
from .validation_scores import bleu_statistics, log_bleu, log_means, mean_statistics

logger = logging.getLogger(__name__)

INPUT, INPUT_OPTION = "input", "--input"  # what messages call lines that were typed, and the option that names them


class TextToTextTask(BnbTask):
    """A task that reads raw text and whose output is judged as text; where its training data come from is left open.

    Args:
        cfg: the options.
        src_dict: the source dictionary.
        tgt_dict: the target dictionary.

    Attributes:
        typed: number of lines that ``fairseq-interactive`` has read and encoded.

    Raises:
        ImportError: if ``--eval-rouge`` or ``--eval-meteor`` lacks its library.
    """

    typed: int
    _load: Callable[[Path, str, bool], SentencePairDataset]  # folder, part, and whether numbered parts belong to it

    def __init__(self, cfg: BnbTaskConfig, src_dict: BnbDictionary, tgt_dict: BnbDictionary) -> None:
        super().__init__(cfg, src_dict, tgt_dict)
        self._judges: list[SentenceMetric] = [Rouge()] if cfg.eval_rouge else []
        if cfg.eval_meteor and (meteor := load_meteor()) is not None:
            self._judges.append(meteor)
        self._positions: list[Any] = []  # longest source and target of each model that was built
        self._checked_lengths = False
        self.typed = 0

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build a model, what judges its output, and remember what ``--truncate-source`` must cut to for its sake.

        Args:
            cfg: the model's options.
            from_checkpoint: True: weights follow from a checkpoint.

        Returns:
            The model.

        Raises:
            ValueError: if BLEU, ROUGE or METEOR is to choose the best checkpoint of a training but is not computed.
        """
        if not from_checkpoint:
            self._check_best_metric()
        model = super().build_model(cfg, from_checkpoint)
        self._positions.append(model.max_positions())
        if self._judges_text:
            self.sequence_generator = self.build_generator([model], eval_bleu_options(self.cfg.eval_bleu_args))
        return model

    @property
    def _judges_text(self) -> bool:
        return bool(self.cfg.eval_bleu or self._judges)

    def _check_best_metric(self) -> None:
        """Require the option of the metric that chooses the best checkpoint; else fairseq fails after a validation."""
        metric = self.cfg.best_checkpoint_metric
        options = {"bleu": "eval_bleu", **dict.fromkeys(Rouge.names, "eval_rouge"), METEOR: "eval_meteor"}
        option = options.get(metric)
        if option is not None and not self.cfg[option]:
            raise ValueError(f"--best-checkpoint-metric {metric} needs --{option.replace('_', '-')}, which is not set")
        if metric == METEOR and not any(METEOR in judge.names for judge in self._judges):
            raise ValueError(
                "--best-checkpoint-metric meteor needs WordNet, which NLTK does not find: python -m nltk.downloader "
                "wordnet"
            )

    def validation_metrics(self) -> Collection[str]:
        """Return the metrics of the validation's texts."""
        bleu = ["bleu"] if self.cfg.eval_bleu else []
        return bleu + [name for judge in self._judges for name in judge.names]

    def complete_options(self, cfg: Any) -> None:
        """Choose the canvas for ``--ctc-upsample auto``.

        Args:
            cfg: the model's options, which take the choice.

        Raises:
            FileNotFoundError: if there are no training data.
            ValueError: if the rest of the options leave no choice, or there are no pairs.
        """
        if getattr(cfg, "ctc_upsample", None) != AUTO:
            return
        sizes = [size for size in (cfg.encoder_positions, cfg.decoder_positions) if size is not None]
        longest = utils.resolve_max_positions(self.max_positions(), *([tuple(sizes)] if len(sizes) == 2 else []))
        split = self.cfg.train_subset
        set_canvas(cfg, [self._load(folder, split, True) for folder in self.folders()], longest)

    def _check_lengths(self, split: str, load: Callable[[Path], SentencePairDataset]) -> None:
        """Before a training, compare the pairs of all its folders with what the model can write."""
        if self.trained_options is None or split != self.cfg.train_subset or self._checked_lengths:
            return
        self._checked_lengths = True
        longest = utils.resolve_max_positions(self.max_positions(), *self._positions)
        for folder in self.folders():
            check_lengths(f"{folder / split}", load(folder), self.trained_options, longest)

    def _pairs(self, name: str, pairs: SentencePairs, shuffle: bool) -> SentencePairDataset:
        """Pair what was binarized, sources cut as the options say; ``name`` is what messages call it."""
        longest = self._longest_source() if self.cfg.truncate_source else None
        sides = (pairs.source, self.src_dict, pairs.target, self.tgt_dict)
        return SentencePairDataset(*sides, self.is_parallel, shuffle, longest, pairs.target_texts)

    def _longest_source(self) -> int:
        longest: int = utils.resolve_max_positions(self.max_positions(), *self._positions)[0]
        if longest < SPECIAL_SYMBOLS:
            raise ValueError(
                f"--truncate-source needs room for [CLS] and [SEP], but --max-source-positions and the model's "
                f"positions allow {longest} tokens"
            )
        return longest

    def build_bpe(self, args: Any) -> Any:
        """Build what splits and joins text; ``fairseq-interactive`` reads its lines next.

        Args:
            args: fairseq's options of ``--bpe``.

        Returns:
            See ``BnbTask``.

        Raises:
            OSError: if the file of ``--input`` cannot be read.
        """
        whole = whole_options(self.cfg)
        if whole is not None:
            end_lines_at_newlines(whole)
        return super().build_bpe(args)

    def get_interactive_tokens_and_lengths(
        self, lines: Sequence[str], encode_fn: Callable[[str], str]
    ) -> tuple[list[Tensor], list[int]]:
        """Encode lines of raw text.

        Args:
            lines: raw source text, one sentence each.
            encode_fn: fairseq's tokenizer and BPE, none by default.

        Returns:
            Ids ending in [SEP], and their lengths.

        Raises:
            ValueError: naming the first line that is not valid UTF-8.
        """
        lines = [on_one_line(line) for line in lines]
        check_lines(lines, INPUT_OPTION, self.typed)
        self.typed += len(lines)
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
            raise ValueError(f"--constraints cannot be used with --task {self.cfg._name}")
        dataset = self._pairs(INPUT, SentencePairs(src_tokens, None), shuffle=False)
        if dataset.cut_sources:
            logger.info("%s: %s", INPUT, dataset.describe_cut())
        return dataset

    def valid_step(
        self, sample: dict[str, Any], model: BaseFairseqModel, criterion: FairseqCriterion
    ) -> tuple[Tensor, int, dict[str, Any]]:
        """Compute the loss of a validation batch, and what those metrics of its output need that are asked for.

        Args:
            sample: the batch.
            model: the model.
            criterion: the criterion.

        Returns:
            The loss, the sample size, and statistics for the log.
        """
        self.check_targets(sample)
        with self.own_precision():
            loss, size, logs = super().valid_step(sample, model, criterion)
        if self._judges_text:
            texts = self._texts(self.sequence_generator, sample, model)
            if self.cfg.eval_bleu:
                logs |= bleu_statistics(*texts)
            logs |= mean_statistics(self._judges, *texts)
        return loss, size, logs

    def reduce_metrics(self, logging_outputs: Sequence[dict[str, Any]], criterion: FairseqCriterion) -> None:
        """Log what the criterion makes of its statistics, BLEU, ROUGE and METEOR.

        Args:
            logging_outputs: statistics of batches and workers.
            criterion: the criterion.
        """
        super().reduce_metrics(logging_outputs, criterion)
        log_bleu(logging_outputs)
        log_means(self._judges, logging_outputs)

    def _texts(self, generator: Any, sample: dict[str, Any], model: BaseFairseqModel) -> tuple[list[str], list[str]]:
        """Translate a validation batch: what the model writes and the references, detokenised."""
        hypotheses = [best[0]["tokens"] for best in self.inference_step(generator, [model], sample)]
        translations = [self.tgt_dict.text(tokens, "UNKNOWNTOKENINHYP") for tokens in hypotheses]
        references = sample.get("target_texts")
        if references is None:
            references = [self.tgt_dict.text(tokens, "UNKNOWNTOKENINREF") for tokens in sample["target"]]
        if self.cfg.eval_bleu_print_samples:
            logger.info("example translation: %s", translations[0])
            logger.info("example reference:   %s", references[0])
        return translations, references
