"""fairseq's hub interface for text-to-text models: what goes in is text, and there is one result for each input."""

import copy
import logging
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NoReturn

from fairseq import hub_utils, utils
from torch import Tensor
from tqdm import tqdm

from ..data.detokenizer import Symbols
from ..generation.hypotheses import Hypothesis
from ..generation.ngram import file_version
from ..generation.options import generator_options
from ..models.bnb_transformer import BnbTransformer
from ..recent import Recent
from .checkpoints import Loaded, trained_options
from .options import BATCHING, HYPOTHESES_ONLY, batch_limits, generation_options
from .sentences import check_tokens, listed, shown

logger = logging.getLogger(__name__)

CALL_OPTIONS = (
    "verbose",
    "skip_invalid_size_inputs",
    "inference_step_args",
    "prefix_allowed_tokens_fn",
    *BATCHING,
    "progress",
)
GENERATORS = 4  # kept for later calls with the same options
PROGRESS_DELAY = 1.0  # seconds; what takes less shows no progress
FAIRSEQ_SAMPLE_BEAM = 1

Text = str | list[str] | None


class BnbHubInterface(hub_utils.GeneratorHubInterface):
    """A loaded model: text in, text out, as ``fairseq-interactive`` translates.

    Threads may share it. Options of a call are described in ``generate``.

    Args:
        loaded: the model.

    Attributes:
        parallel: whether the model is non-autoregressive.
        options: options of generation for all calls, unless a call has others.

    Raises:
        ValueError: if options do not exist, have no effect for the model, or are of another type; or for several
            non-autoregressive models.
    """

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded.cfg, loaded.task, loaded.models)
        self.tokenizer = loaded.task.build_tokenizer(loaded.cfg.tokenizer)
        self.bpe = loaded.task.build_bpe(loaded.cfg.bpe)
        parallel = [isinstance(model, BnbTransformer) for model in loaded.models]
        if sum(parallel) > 1:
            raise ValueError(
                f"checkpoint_file must name one non-autoregressive checkpoint, but names {sum(parallel)}; average them "
                f"instead"
            )
        self.parallel = any(parallel)
        self.options = generation_options(loaded.options, self.parallel)
        self._generators = Recent(GENERATORS)

    def __deepcopy__(self, memo: dict[int, Any]) -> "BnbHubInterface":
        models = [copy.deepcopy(model, memo) for model in self.models]
        twin = BnbHubInterface(Loaded(copy.deepcopy(self.cfg), self.task, models, dict(self.options)))
        twin._float_tensor = self._float_tensor.clone()  # on the models' device
        return twin

    def translate(
        self, sentences: str | Iterable[str], beam: int | None = None, verbose: bool = False, **options: Any
    ) -> Any:
        """Translate texts.

        Args:
            sentences: texts of one line each, or one text.
            beam: autoregressive models: beam size; None: 5.
            verbose: see ``generate``.
            **options: see ``generate``.

        Returns:
            A list with one result for each text, in order; the result itself for one text. It is a text; with
            ``nbest`` above 1, a list of at most that many, the best first; None for a text that has no translation,
            as one that is too long and was to be skipped.

        Raises:
            TypeError: if there is something else than strings.
            ValueError: naming the first text that cannot be translated, and why; or options that do not exist, have
                no effect for the model, or are out of range.
        """
        if isinstance(sentences, str):
            return self.translate([sentences], beam, verbose, **options)[0]
        useless = [name for name in HYPOTHESES_ONLY if options.get(name)]
        if useless:
            raise ValueError(f"{useless[0]} has no effect on texts; it changes what generate returns")
        found = self.generate(self._encode(sentences), beam, verbose, **options)
        nbest = {**self.options, **options}.get("nbest", self.cfg.generation.nbest)
        return [self._result(hypotheses, nbest) for hypotheses in found]

    def _result(self, hypotheses: Sequence[Hypothesis], nbest: int) -> Text:
        texts = [self.decode(hypothesis["tokens"]) for hypothesis in hypotheses[:nbest]]
        if not texts:
            return None
        return texts[0] if nbest == 1 else texts

    def sample(
        self, sentences: str | Iterable[str], beam: int | None = None, verbose: bool = False, **options: Any
    ) -> Any:
        """Translate texts with fairseq's other default: beam 1 for autoregressive models. See ``translate``."""
        if beam is None and not self.parallel:
            beam = self.options.get("beam", FAIRSEQ_SAMPLE_BEAM)
        return self.translate(sentences, beam, verbose, **options)

    def score(self, *arguments: Any, **options: Any) -> NoReturn:
        """Refuse: fairseq's scores are of language models; a ValueError."""
        raise ValueError("score is for language models, and this model is none; generate scores each translation")

    def generate(
        self,
        tokenized_sentences: Tensor | Iterable[Tensor],
        beam: int | None = None,
        verbose: bool = False,
        skip_invalid_size_inputs: bool = False,
        inference_step_args: Mapping[str, Any] | None = None,
        prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]] | None = None,
        batch_size: int | None = None,
        max_tokens: int | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Any:
        """Translate sentences that ``encode`` returned.

        Args:
            tokenized_sentences: the sentences, or one sentence.
            beam: autoregressive models: beam size; None: 5.
            verbose: log source, hypotheses and scores.
            skip_invalid_size_inputs: give sentences that are too long no hypotheses; False: refuse them, before any
                is translated.
            inference_step_args: autoregressive models: ``prefix_tokens``, for a single batch.
            prefix_allowed_tokens_fn: autoregressive models: restricts the next token.
            batch_size: largest number of sentences translated at once; neither this nor ``max_tokens``: the training's
                limits.
            max_tokens: largest number of tokens translated at once, padding included; at least the longest sentence's.
            progress: show a bar on standard error if it is a terminal and the translation takes over a second.
            **options: options of generation, by their names on the command line, with ``_`` for ``-``.

        Returns:
            For each sentence its hypotheses in fairseq's form, the best first, at most ``nbest`` where that is given;
            none for a sentence that was skipped. For one sentence, its hypotheses.

        Raises:
            ValueError: naming the first sentence that cannot be translated, and why; or options that do not exist,
                have no effect for the model, or are out of range.
        """
        given = options if beam is None else {"beam": beam, **options}
        given = {**self.options, **generation_options(given, self.parallel, CALL_OPTIONS, trained_options(self.cfg))}
        limits = batch_limits({"batch_size": batch_size, "max_tokens": max_tokens}, self.cfg.dataset)
        single = isinstance(tokenized_sentences, Tensor) and tokenized_sentences.dim() == 1
        tokens = check_tokens([tokenized_sentences] if single else tokenized_sentences, self.task.source_dictionary)
        generator = self._generator(Namespace(**{**self.cfg.generation, **given}), prefix_allowed_tokens_fn)
        dataset = self.task.build_dataset_for_inference(tokens, [len(sentence) for sentence in tokens])
        kept = self._fitting(dataset, skip_invalid_size_inputs)
        found: list[list[Hypothesis]] = [[] for _ in tokens]
        with tqdm(total=len(kept), unit=" sentences", disable=None if progress else True, delay=PROGRESS_DELAY) as bar:
            for batch in _batches(dataset, kept, limits):
                hypotheses = self._translate_batch(generator, dataset, batch, inference_step_args or {})
                for i, best in zip(batch, hypotheses, strict=True):
                    found[i] = best[: given.get("nbest")]
                bar.update(len(batch))
        if verbose:
            self._log(tokens, found)
        return found[0] if single else found

    def _translate_batch(
        self, generator: Any, dataset: Any, batch: Sequence[int], options: Mapping[str, Any]
    ) -> list[list[Hypothesis]]:
        sample = utils.apply_to_sample(lambda x: x.to(self.device), dataset.collater([dataset[i] for i in batch]))
        hypotheses: list[list[Hypothesis]] = self.task.inference_step(generator, self.models, sample, **options)
        return hypotheses

    def _generator(self, args: Namespace, prefix_allowed_tokens_fn: Any) -> Any:
        """Build a generator, or take one that was built for the same options, with its n-gram model."""

        def build() -> Any:
            return self.task.build_generator(list(self.models), args, prefix_allowed_tokens_fn=prefix_allowed_tokens_fn)

        if not self.parallel or prefix_allowed_tokens_fn is not None:
            return build()  # fairseq's own keeps what it is doing in itself
        options = generator_options(args, self.task.cfg)
        version = None if options.ctc_lm_path is None else file_version(options.ctc_lm_path)
        return self._generators.get((options, version), build)

    def _fitting(self, dataset: Any, skip: bool) -> Any:
        """List the sentences that are not too long, the shortest first."""
        indices = dataset.ordered_indices()
        if self.max_positions is None:
            return indices
        kept, too_long = dataset.filter_indices_by_size(indices, self.max_positions)
        if not too_long:
            return kept
        first = min(too_long)
        text = self.src_dict.text(dataset.source[first], str(self.src_dict.unk_word))
        message = (
            f"{len(too_long):,} of {len(indices):,} sentences {'is' if len(too_long) == 1 else 'are'} too long; "
            f"sentences[{first}], {shown(text)}, has {dataset.size(first)[0]} tokens, but max_source_positions and the "
            f"model's positions allow {self.max_positions[0]}"
        )
        if not skip:
            raise ValueError(
                f"{message}; skip_invalid_size_inputs=True gives it no translation, truncate_source=True of "
                f"from_pretrained cuts it"
            )
        logger.warning("%s; no translation for these", message)
        return kept

    def _log(self, tokens: Sequence[Tensor], found: Sequence[Sequence[Hypothesis]]) -> None:
        for source, hypotheses in zip(tokens, found, strict=True):
            logger.info("S\t%s", self.src_dict.text(source, str(self.src_dict.unk_word)))
            for hypothesis in hypotheses:
                logger.info("H\t%s\t%s", float(hypothesis["score"]), self.decode(hypothesis["tokens"]))
                logger.info("P\t%s", " ".join(f"{score:.4f}" for score in hypothesis["positional_scores"].tolist()))

    def encode(self, sentence: str) -> Tensor:
        """Turn a text into ids ending in [SEP], as ``fairseq-interactive`` does.

        Args:
            sentence: a text of one line.

        Returns:
            The ids.

        Raises:
            TypeError: if it is no string.
            ValueError: if it cannot be translated, with the reason.
        """
        if not isinstance(sentence, str):
            raise TypeError(f"sentence must be a string, but is {type(sentence).__name__}")
        return self._encode([sentence])[0]

    def _encode(self, sentences: Iterable[str]) -> list[Tensor]:
        lines = listed(sentences)
        for i, line in enumerate(lines):
            if fault := self.task.find_fault(line):
                raise ValueError(f"sentences[{i}] {fault}: {shown(line)}")
        tokens: list[Tensor] = self.task.get_interactive_tokens_and_lengths(
            lines, lambda line: self.apply_bpe(self.tokenize(line))
        )[0]
        return tokens

    def string(self, tokens: Tensor) -> Symbols:
        """Turn ids of the target into symbols with spaces between them."""
        symbols: Symbols = self.tgt_dict.string(tokens, self.cfg.common_eval.post_process)
        return symbols


def _batches(dataset: Any, kept: Any, limits: Mapping[str, int | None]) -> list[list[int]]:
    """Cut sorted sentences into batches."""
    if not len(kept):
        return []
    max_tokens = limits["max_tokens"]
    if max_tokens is not None:
        max_tokens = max(max_tokens, int(dataset.num_tokens_vec(kept).max()))
    return [batch.tolist() for batch in dataset.batch_by_size(kept, max_tokens, limits["batch_size"])]
