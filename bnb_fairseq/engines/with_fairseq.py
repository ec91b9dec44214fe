"""Engines that need fairseq: checkpoints with their data-bin folder, and folders of autoregressive models."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from fairseq import utils
from fairseq.dataclass.configs import GenerationConfig
from torch import Tensor, nn

from .. import plugin  # noqa: F401  (knows every task and model that a checkpoint may name)
from ..checkpoints.reader import load_models
from ..data.dictionary import BnbDictionary, SubwordDictionary
from ..data.pair_dataset import prepend
from ..folder.manifest import SOURCE, TARGET, Manifest
from ..folder.search import AUTOREGRESSIVE_OPTIONS, check_beam
from ..folder.vocabulary import PlainVocabulary, SubwordVocabulary, Vocabulary, load_vocabulary
from ..generation.reranker import Reranker
from ..models.bert2bert import Bert2Bert
from ..models.bnb_transformer import BnbTransformer
from ..network.loading import DTYPES, check_weights, require_layers, without_weights
from ..network.options import AutoregressiveOptions
from ..tasks.config import TranslationBnbConfig
from ..tasks.question_generation_bnb import QuestionGenerationBnbTask
from ..tasks.text_to_text import TextToTextTask
from ..tasks.translation_bnb import TranslationBnbTask
from .interface import AskedTerms, CanvasPass, Engine, Hypothesis
from .nar import NarEngine, plain, read_weights

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

    def side_by_side(self, search: Mapping[str, Any]) -> tuple[Engine, int]:
        """This engine, and 1: torch divides each batch among its threads."""
        return self, 1

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

    def canvases(self, sources: Sequence[Sequence[int]], search: Mapping[str, Any]) -> list[list[CanvasPass]] | None:
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


class Trained(NamedTuple):
    """An engine of trained checkpoints, and their task, which has the data."""

    engine: Engine
    task: TextToTextTask


def open_checkpoints(
    paths: Sequence[Path], data: Path, device: str = "cpu", dtype: str = "float32", precision: str = "highest"
) -> Trained:
    """Load checkpoints of a text-to-text task.

    Args:
        paths: the checkpoint; several autoregressive ones translate together; or a non-autoregressive one, and an
            autoregressive one that chooses among its texts.
        data: data-bin folder with the dictionaries.
        device: ``cpu`` or ``cuda``.
        dtype: of the weights.
        precision: of matrix products.

    Returns:
        The engine and the task.

    Raises:
        ValueError: if a file is no such checkpoint, the folder lacks dictionaries, or the models do not go together.
    """
    models, task = load_models(paths, {"data": str(data), "float32_matmul_precision": precision, **NO_VALIDATION})
    if not isinstance(task, TextToTextTask):
        raise ValueError(f"{paths[0]} must be of a task that writes text, but is of {type(task).__name__}")
    return Trained(make_engine(models, task, device, dtype), task)


def make_engine(models: Sequence[Any], task: TextToTextTask, device: str = "cpu", dtype: str = "float32") -> Engine:
    """Prepare models for inference; see ``open_checkpoints``."""
    for model in models:
        model.to(device)
        model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))
        model.to(DTYPES[dtype])
    parallel = [isinstance(model, BnbTransformer) for model in models]
    if not any(parallel):
        return FairseqEngine(task, models, device == "cuda")
    if parallel not in ([True], [True, False]):
        raise ValueError(
            "several checkpoints must be autoregressive, or a non-autoregressive one and its autoregressive reranker; "
            "average non-autoregressive ones instead"
        )
    reranker = Reranker(models[1], task.tgt_dict) if len(models) == 2 else None
    source, target = vocabulary_of(task.src_dict), vocabulary_of(task.tgt_dict)
    return NarEngine(models[0], source, target, str(task.cfg.float32_matmul_precision), reranker)


def read_part(task: TextToTextTask, part: str, option: str) -> tuple[list[list[int]], list[Tensor]]:
    """Read a part of the data.

    Args:
        task: has the data.
        part: its name.
        option: that names the part, for errors.

    Returns:
        Ids of the sources with [CLS], as engines read them, and of the targets.

    Raises:
        FileNotFoundError: if there is no such part.
        ValueError: if it has no targets or sentences.
    """
    task.load_dataset(part)
    dataset = task.dataset(part)
    if dataset.target is None:
        raise ValueError(f"{option} {part} must have targets, but has none")
    if not len(dataset):
        raise ValueError(f"{option} {part} must have sentences, but is empty")
    bos, numbers = task.src_dict.bos(), range(len(dataset))
    return [prepend(bos, dataset.source[i]).tolist() for i in numbers], [dataset.target[i].long() for i in numbers]


def load_autoregressive(folder: Path, manifest: Manifest, device: str, dtype: str) -> Engine:
    """Read the model folder of a ``bert2bert``.

    Args:
        folder: the folder.
        manifest: what ``config.json`` says.
        device: ``cpu`` or ``cuda``.
        dtype: of the weights.

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
        with without_weights():
            model = Bert2Bert.of_options(options, source, target)
        check_weights({name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}, weights)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    own = {name: tensor.float() for name, tensor in weights.items()}
    nn.Module.load_state_dict(model, own, assign=True)  # fairseq's copies into tensors that are there
    task.is_parallel = False
    return make_engine([model], task, device, dtype)
