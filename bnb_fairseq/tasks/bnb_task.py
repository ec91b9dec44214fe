"""Base of the tasks with these models: dictionaries, models and generators by the options, the training step."""

import weakref
from argparse import ArgumentParser
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fairseq import utils
from fairseq.criterions import FairseqCriterion
from fairseq.models import BaseFairseqModel
from numpy.typing import NDArray
from torch import Tensor

from ..criterions.bnb_loss import BnbLoss, check_fits_model
from ..criterions.validation_metrics import check_best_metric, logged_metrics
from ..data.detokenizer import Detokenizer
from ..data.dictionary import BnbDictionary
from ..data.folders import require_same_dictionaries
from ..data.pair_dataset import SPECIAL_SYMBOLS, SentencePairDataset, keep_fitting
from ..data.preflight import running_preprocessing
from ..generation.build import build_nar_generator
from ..generation.generator import NarGenerator
from ..generation.hypotheses import empty_hypothesis, words_and_ends
from ..generation.options import rescoring_options
from ..generation.rescoring import RescoringGenerator
from ..generation.scorer import build_scorer
from ..models.bert2bert import Bert2Bert, refuse_attention_options
from ..models.bnb_transformer import BnbTransformer
from ..models.own_precision import OwnPrecision
from ..network.options import NetworkOptions
from ..start.start import Start
from .config import BnbTaskConfig
from .dictionary_task import DictionaryTask
from .unused_options import Unused, described, merged, unused_of_loss, unused_of_model, unused_of_task


class BnbTask(DictionaryTask):
    """A task between two dictionaries that take raw text; what its data are is left to the classes below it.

    For ``bnb_transformer`` and, through fairseq's SequenceGenerator, ``bert2bert`` and fairseq's autoregressive models.

    Args:
        cfg: the options.
        src_dict: the source dictionary.
        tgt_dict: the target dictionary.
    """

    def __init__(self, cfg: BnbTaskConfig, src_dict: BnbDictionary, tgt_dict: BnbDictionary) -> None:
        super().__init__(cfg)
        self.src_dict = src_dict
        self.src_dict.reads_segments = self.reads_segments
        self.tgt_dict = tgt_dict
        self.network: NetworkOptions | None = None  # of the non-autoregressive model that was built
        self.is_parallel = True  # data sets are laid out for a non-autoregressive model; the model built says if not
        self.trained_options: Any = None  # of a bnb_transformer that is to be trained
        self._unused: Unused = {}

    @classmethod
    def add_args(cls, parser: ArgumentParser) -> None:
        """Add the task's options; refinement is off by default here (fairseq's default is 10 passes)."""
        super().add_args(parser)
        parser.set_defaults(iter_decode_max_iter=0)

    @classmethod
    def build_dictionary(
        cls, filenames: Sequence[str], workers: int = 1, threshold: int = -1, nwords: int = -1, padding_factor: int = 8
    ) -> BnbDictionary:
        """Count the words of already split text, where ``--srcdict`` or ``--tgtdict`` is not given.

        Args:
            filenames: text files.
            workers: processes.
            threshold: smallest count of a word.
            nwords: number of symbols, special ones included.
            padding_factor: the number of symbols is made a multiple of it.

        Returns:
            A plain dictionary.
        """
        cls.check_preprocessing()
        counted = super().build_dictionary(filenames, workers, threshold, nwords, padding_factor)
        dictionary = BnbDictionary.of_counts(counted)
        dictionary.preprocessing = running_preprocessing()
        dictionary.reads_segments = cls.reads_segments
        return dictionary

    @property
    def source_dictionary(self) -> BnbDictionary:
        """The source dictionary."""
        return self.src_dict

    @property
    def target_dictionary(self) -> BnbDictionary:
        """The target dictionary."""
        return self.tgt_dict

    def max_positions(self) -> tuple[int, int]:
        """The longest source and target, in tokens, that the options allow."""
        return self.cfg.max_source_positions, self.cfg.max_target_positions

    def folders(self) -> tuple[Path, ...]:
        """Return the data-bin folders."""
        return tuple(map(Path, utils.split_paths(self.cfg.data)))

    def data_folder(self, split: str, epoch: int) -> Path:
        """Choose among several data-bin folders: training goes through them round-robin, the rest is in the first.

        Args:
            split: name of the part.
            epoch: counts from 1.

        Returns:
            The folder.

        Raises:
            ValueError: if a folder of the training lacks a dictionary of the first folder's, or has another one.
        """
        folders = self.folders()
        if split != self.cfg.train_subset:
            return folders[0]
        require_same_dictionaries(folders)
        return folders[(epoch - 1) % len(folders)]

    def filter_indices_by_size(
        self,
        indices: NDArray[np.int64],
        dataset: SentencePairDataset,
        max_positions: tuple[int, int] | None = None,
        ignore_invalid_inputs: bool = False,
    ) -> NDArray[np.int64]:
        """Leave out sentences that are longer than the model's positions, or refuse them.

        Args:
            indices: sentences.
            dataset: their data set.
            max_positions: longest source and target.
            ignore_invalid_inputs: leave out with a warning instead of an error.

        Returns:
            The sentences that fit.

        Raises:
            ValueError: naming the first sentence that does not fit, its lengths and the limits.
        """
        if max_positions is None:
            return indices
        return keep_fitting(dataset, indices, max_positions, ignore_invalid_inputs)

    def build_model(self, cfg: Any, from_checkpoint: bool = False) -> BaseFairseqModel:
        """Build a model, from BERT if the options name one and it is not about to be loaded from a checkpoint.

        Args:
            cfg: the model's options; sizes are written into them, so that a checkpoint needs no BERT.
            from_checkpoint: True: weights follow from a checkpoint, no BERT is read.

        Returns:
            The model.
        """
        self.begin_model(cfg, from_checkpoint)
        if not from_checkpoint:
            self._unused = unused_of_model(cfg)
        start = Start.resolve(cfg) if hasattr(cfg, "bert_encoder") and not from_checkpoint else Start()
        if not from_checkpoint:
            self.complete_options(cfg)
        model = super().build_model(cfg, from_checkpoint)
        self._in_training = None if from_checkpoint else weakref.ref(model)
        if isinstance(model, OwnPrecision):
            model.matmul_precision = str(self.cfg.float32_matmul_precision)
        start.load(model, cfg)
        self.is_parallel = isinstance(model, BnbTransformer)
        self.network = model.options if isinstance(model, BnbTransformer) else None
        if self.is_parallel:
            self.trained_options = None if from_checkpoint else cfg
        return model

    def complete_options(self, cfg: Any) -> None:
        """Fill in what the data decide of the options of a model that is to be trained; its BERT has set the sizes."""

    def build_criterion(self, cfg: Any, from_checkpoint: bool = False) -> FairseqCriterion:
        """Build the criterion and see that it fits the model.

        Args:
            cfg: the criterion's options.
            from_checkpoint: fairseq's flag.

        Returns:
            The criterion.

        Raises:
            ValueError: if a non-autoregressive model meets another criterion than ``bnb_loss``, or the other way round;
                ``bnb_loss`` has options that do not fit the model; or, before a training, options are set that would
                have no effect, or the best checkpoint's metric is none that there will be.
        """
        criterion = super().build_criterion(cfg, from_checkpoint)
        unused = self._unused
        if self.trains:
            model = self.trained_options
            of_loss = unused_of_loss(cfg, model) if isinstance(criterion, BnbLoss) and model is not None else {}
            unused = merged(unused, of_loss, unused_of_task(self.cfg, model))
        name = getattr(cfg, "_name", type(criterion).__name__)
        check_fits_model(criterion, name, self.network, described(unused))
        if self.trains:
            known = logged_metrics(criterion, self.network)
            metric, maximize = self.cfg.best_checkpoint_metric, self.cfg.maximize_best_checkpoint_metric
            check_best_metric(metric, maximize, known, self.validation_metrics())
        return criterion

    def validation_metrics(self) -> Collection[str]:
        """Return the metrics that the task logs in validation beside the criterion's."""
        return ()

    def build_generator(
        self,
        models: Sequence[BaseFairseqModel],
        args: Any,
        seq_gen_cls: Any = None,
        extra_gen_cls_kwargs: dict[str, Any] | None = None,
        prefix_allowed_tokens_fn: Any = None,
    ) -> Any:
        """Build a ``NarGenerator``, or fairseq's SequenceGenerator for an autoregressive model, rescored or not.

        Args:
            models: the models.
            args: fairseq's generation options.
            seq_gen_cls: autoregressive models only: another generator class.
            extra_gen_cls_kwargs: autoregressive models only: its arguments; ``fairseq-generate`` gives some to all.
            prefix_allowed_tokens_fn: autoregressive models only: restricts the next token.

        Returns:
            The generator.

        Raises:
            FileNotFoundError: if there is no file ``--ctc-lm-path``.
            ImportError: if that needs KenLM, which is not installed.
            ValueError: if an option is set that the generator would have to ignore.
        """
        if any(isinstance(model, BnbTransformer) for model in models):
            for name, value in (("seq_gen_cls", seq_gen_cls), ("prefix_allowed_tokens_fn", prefix_allowed_tokens_fn)):
                if value is not None:
                    raise ValueError(f"{name} must be None for a non-autoregressive model, but is {value!r}")
            return build_nar_generator(models, self.tgt_dict, args, self.cfg)
        if any(isinstance(model, Bert2Bert) for model in models):
            refuse_attention_options(args)
        options = rescoring_options(args, self.cfg)
        generator = super().build_generator(models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)
        # The task holds the last scorer, so that the next generator finds its n-gram model in memory.
        self._scorer = build_scorer(options, self.tgt_dict)
        if self._scorer is None:
            return generator
        return RescoringGenerator(generator, self._scorer, self.tgt_dict.eos())

    def inference_step(
        self,
        generator: Any,
        models: Sequence[BaseFairseqModel],
        sample: dict[str, Any],
        prefix_tokens: Tensor | None = None,
        constraints: Tensor | None = None,
    ) -> list[list[dict[str, Any]]]:
        """Translate a batch; an empty source gets an empty translation.

        Args:
            generator: what ``build_generator`` returned.
            models: the models.
            sample: the batch.
            prefix_tokens: autoregressive models only: forced beginning.
            constraints: autoregressive models only: forced words.

        Returns:
            Hypotheses of each sentence.
        """
        more = {} if isinstance(generator, NarGenerator) else {"bos_token": self.tgt_dict.bos()}
        with torch.no_grad(), self.own_precision():
            hypotheses = generator.generate(
                models, sample, prefix_tokens=prefix_tokens, constraints=constraints, **more
            )
        empty = sample["net_input"]["src_lengths"] <= SPECIAL_SYMBOLS
        for i in empty.nonzero().flatten().tolist():
            hypotheses[i] = [{**hypotheses[i][0], **empty_hypothesis(self.tgt_dict.eos())}]
        if isinstance(generator, NarGenerator):
            eos = self.tgt_dict.eos()
            silent = (self.tgt_dict.bos(), self.tgt_dict.pad(), eos)
            texts = iter(words_and_ends([each for found in hypotheses for each in found], silent, eos))
            hypotheses = [[next(texts) for _ in found] for found in hypotheses]
        if "target_texts" in sample:  # fairseq-generate asks for the targets' texts next
            self.tgt_dict.references.expect(sample["target"], sample["target_texts"], self.tgt_dict.pad())
        _print_history(sample, hypotheses, (self.src_dict, self.tgt_dict))
        return hypotheses

    def build_tokenizer(self, args: Any) -> Any:
        """Build fairseq's ``--tokenizer``, which is for plain dictionaries.

        Args:
            args: fairseq's options of it.

        Returns:
            The tokenizer, None without the option.

        Raises:
            ValueError: if a dictionary has a tokenizer of its own.
        """
        self._check_plain("tokenizer", args)
        return super().build_tokenizer(args)

    def build_bpe(self, args: Any) -> Any:
        """Build fairseq's ``--bpe``, which is for plain dictionaries, or the detokenizer of the target side.

        Args:
            args: fairseq's options of it.

        Returns:
            What joins the target's symbols in ``D-`` and ``T-`` lines, and splits lines that were typed.

        Raises:
            ValueError: if a dictionary has a tokenizer of its own.
        """
        self._check_plain("bpe", args)
        return super().build_bpe(args) or Detokenizer(self.tgt_dict)

    def _check_plain(self, option: str, args: Any) -> None:
        """Refuse fairseq's tokenizer and BPE for text that a dictionary splits itself."""
        chosen = getattr(args, "_name", None) or getattr(args, option, None)
        sides = [side for side, dictionary in self.dictionaries().items() if dictionary.takes_raw_text]
        if chosen and sides:
            raise ValueError(
                f"--{option} must not be set where the data-bin's own tokenizer splits and joins the text, as on its "
                f"{' and '.join(sides)} side, but is {chosen}"
            )


def _print_history(
    sample: Mapping[str, Any],
    hypotheses: Sequence[Sequence[Mapping[str, Any]]],
    dictionaries: tuple[BnbDictionary, BnbDictionary],
) -> None:
    """Print the passes of the best text of each sentence, if its history was kept.

    For each sentence a line ``E-S`` with its source and a line ``E-N`` for pass N, detokenised, tab-separated. Only
    ``fairseq-interactive`` needs it: its batches have no ids, and ``fairseq-generate`` prints the history itself.

    Args:
        sample: the batch.
        hypotheses: of each sentence, the best first.
        dictionaries: of source and target.
    """
    if "id" in sample:
        return
    source_dictionary, target_dictionary = dictionaries
    for source, candidates in zip(sample["net_input"]["src_tokens"], hypotheses, strict=True):
        if history := candidates[0].get("history"):
            print(f"E-S\t{source_dictionary.text(source, str(source_dictionary.unk_word))}")
            for number, step in enumerate(history):
                print(f"E-{number}\t{target_dictionary.text(step['tokens'], str(target_dictionary.unk_word))}")
