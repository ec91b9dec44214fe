"""Translators for what needs fairseq: checkpoints with their data-bin folder, and folders of autoregressive models."""

# ruff: noqa: E402  (first of all: fairseq is there, and knows every task and model that a checkpoint may name)
import importlib

importlib.import_module("..plugin", __package__)

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig
from torch import nn

from ..checkpoints.reader import load_models
from ..data.dictionary import BnbDictionary, SubwordDictionary
from ..engines.interface import AskedTerms, CanvasPass, Hypothesis
from ..engines.nar import NarEngine, plain, read_weights
from ..folder.manifest import SOURCE, TARGET, Manifest
from ..folder.search import AUTOREGRESSIVE_OPTIONS, check_beam
from ..folder.vocabulary import PlainVocabulary, SubwordVocabulary, Vocabulary, load_vocabulary
from ..models.bert2bert import Bert2Bert
from ..models.bnb_transformer import BnbTransformer
from ..network.loading import check_weights, require_layers
from ..network.options import AutoregressiveOptions
from ..tasks.config import TranslationBnbConfig
from ..tasks.question_generation_bnb import QuestionGenerationBnbTask
from ..tasks.text_to_text import TextToTextTask
from ..tasks.translation_bnb import TranslationBnbTask
from ..translator import Translator

TASKS = {"translation_bnb": TranslationBnbTask, "question_generation_bnb": QuestionGenerationBnbTask}
NO_VALIDATION = {"eval_bleu": False, "eval_rouge": False, "eval_meteor": False, "truncate_source": False}


class FairseqEngine:
    """Autoregressive models, which fairseq's SequenceGenerator searches; one thread at a time.

    Args:
        task: has the dictionaries.
        models: prepared for inference.
        cuda: whether they lie on a GPU.
    """

    options: Mapping[str, Any] = AUTOREGRESSIVE_OPTIONS
    batch_tokens = 2048

    def __init__(self, task: TextToTextTask, models: Sequence[Any], cuda: bool) -> None:
        self._task, self._models, self._cuda = task, list(models), cuda
        self.source, self.target = vocabulary_of(task.src_dict), vocabulary_of(task.tgt_dict)
        limits = [task.max_positions(), *(model.max_positions() for model in models)]
        self.longest: int = utils.resolve_max_positions(*limits)[0]
        self._translating = threading.Lock()

    def check(self, nbest: int, search: Mapping[str, Any]) -> None:  # noqa: D102
        check_beam(nbest, search)

    def hypotheses(  # noqa: D102
        self,
        sources: Sequence[Sequence[int]],
        nbest: int,
        search: Mapping[str, Any],
        terms: AskedTerms | None = None,
    ) -> list[list[Hypothesis]]:
        if terms is not None:
            raise ValueError("a glossary needs a non-autoregressive model")
        tokens = [torch.tensor(source[1:]) for source in sources]  # the data set puts [CLS] in front
        dataset = self._task.build_dataset_for_inference(tokens, list(map(len, tokens)))
        sample = dataset.collater([dataset[i] for i in range(len(tokens))])
        with self._translating:
            generator = self._task.build_generator(self._models, SimpleNamespace(**{**_DEFAULTS, **search}))
            sample = utils.move_to_cuda(sample) if self._cuda else sample
            found = self._task.inference_step(generator, self._models, sample)
        return [[plain(hypothesis) for hypothesis in one[:nbest]] for one in found]

    def source_weights(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[Any] | None:
        """Return None: these models keep no weights of attention."""
        return None

    def canvases(self, sources: Sequence[Sequence[int]], passes: int, force: bool) -> list[list[CanvasPass]] | None:
        """Return None: these models write from left to right."""
        return None


_DEFAULTS = vars(GenerationConfig())


def vocabulary_of(dictionary: BnbDictionary) -> Vocabulary:
    """Return a dictionary of a data-bin folder as the vocabulary of a model folder."""
    if isinstance(dictionary, SubwordDictionary):
        return SubwordVocabulary(dictionary.tokenizer)
    return PlainVocabulary(dictionary.symbols, dictionary.specials())


def dictionary_of(vocabulary: Vocabulary) -> BnbDictionary:
    """Return the vocabulary of a model folder as a dictionary of fairseq."""
    if isinstance(vocabulary, SubwordVocabulary):
        return SubwordDictionary(vocabulary.tokenizer)
    dictionary = BnbDictionary()
    for symbol in vocabulary.symbols[dictionary.nspecial :]:
        dictionary.add_symbol(symbol)
    dictionary.add_mask()
    if dictionary.symbols != vocabulary.symbols:
        raise ValueError("the symbols must begin with fairseq's special ones, in their order")
    return dictionary


def load_checkpoint(path: Path, data: Path, device: str, precision: str) -> Translator:
    """Load a checkpoint of a text-to-text task.

    Args:
        path: the checkpoint.
        data: data-bin folder with its dictionaries.
        device: ``cpu`` or ``cuda``.
        precision: of matrix products of a non-autoregressive model.

    Returns:
        What translates, with one pass or, for an autoregressive model, beam 5.

    Raises:
        ValueError: if it is no such checkpoint, or the folder lacks its dictionaries.
    """
    (model,), task = load_models([path], {"data": str(data), **NO_VALIDATION})
    if not isinstance(task, TextToTextTask):
        raise ValueError(f"{path} must be of a task that writes text, but is of {type(task).__name__}")
    model.to(device)
    model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
    languages = str(getattr(task.cfg, "source_lang", None) or "")
    if isinstance(model, BnbTransformer):
        source, target = vocabulary_of(task.src_dict), vocabulary_of(task.tgt_dict)
        return Translator(NarEngine(model, source, target, precision), languages, str(task.cfg._name))
    return Translator(FairseqEngine(task, [model], device == "cuda"), languages, str(task.cfg._name))


def load_autoregressive(folder: Path, manifest: Manifest, device: str) -> FairseqEngine:
    """Read the model folder of a ``bert2bert``.

    Args:
        folder: the folder.
        manifest: what ``config.json`` says.
        device: ``cpu`` or ``cuda``.

    Returns:
        The engine.

    Raises:
        ValueError: if a file is damaged or does not fit another.
    """
    source, target = (dictionary_of(load_vocabulary(folder / side)) for side in (SOURCE, TARGET))
    config = TranslationBnbConfig(source_lang=manifest.source_lang, target_lang=manifest.target_lang)
    task = TASKS[manifest.task](config, source, target)
    weights = read_weights(folder)
    try:
        options = AutoregressiveOptions.from_json(manifest.network)
        require_layers(options, weights)
        with torch.device("meta"):
            model = Bert2Bert.of_options(options, source, target)
        check_weights({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, weights)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    own = {name: tensor.float() for name, tensor in weights.items()}
    nn.Module.load_state_dict(model, own, assign=True)  # fairseq's copies into tensors that are there
    task.is_parallel = False
    model.to(device)
    model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
    return FairseqEngine(task, [model], device == "cuda")
