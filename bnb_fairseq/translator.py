"""Strings in, strings out: the one way from raw text to translations that commands, Python and servers share."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from .folder.manifest import AUTOREGRESSIVE, CONFIG, GRAPHS, LANGUAGE_MODELS, WEIGHTS, Manifest
from .folder.search import CALIBRATION, check_options, read_search
from .folder.vocabulary import SEGMENT_BREAK
from .installation import is_installed
from .splitting import Piece, TooLongError, join, split

if TYPE_CHECKING:
    from .engines.interface import Engine, Hypothesis

SPECIAL_SYMBOLS = 2  # [CLS] and [SEP] of an empty source
SEGMENTS = {"question_generation_bnb": 2}  # of a source line, by task
NOT_ONE_LINE = str.maketrans({"\n": " ", "\r": " "})
AUTO, TORCH, ONNX = "auto", "torch", "onnx"
REFINEMENT, BEAM, LM_WEIGHT = "iter_decode_max_iter", "ctc_beam", "ctc_lm_weight"


@dataclass(frozen=True)
class Translation:
    """A translation.

    Attributes:
        text: detokenised, one line; empty if there is an error.
        score: mean log-probability of a token, by which alternatives are ordered.
        tokens: symbols of the target vocabulary.
        confidence: of each token, 0 to 1; calibrated if the folder says how.
        alternatives: the other texts of ``nbest``, the best first.
        error: why there is no translation; None if there is one.
    """

    text: str
    score: float = 0.0
    tokens: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    alternatives: list["Translation"] = field(default_factory=list)
    error: str | None = None


class Translator:
    """A loaded model. Threads may share it.

    Args:
        engine: what translates ids.
        source_lang: language of the sources, by which long texts are split into sentences; empty: English's rules.
        task: fairseq's name of the task.
        search: options of each translation that asks for no others.
        lm: language model of the search; None: there is none.
        calibration: ``slope`` and ``offset`` of confidence on the logit scale; None: confidence is the probability.

    Attributes:
        longest: the longest source that the model reads, in tokens.
    """

    def __init__(
        self,
        engine: "Engine",
        source_lang: str = "",
        task: str = "translation_bnb",
        search: Mapping[str, Any] | None = None,
        lm: Path | None = None,
        calibration: Mapping[str, float] | None = None,
    ) -> None:
        self._engine, self._language, self._lm = engine, source_lang or "en", lm
        self._segments = SEGMENTS.get(task, 1)
        self.search = {**engine.options, **(search or {})}
        self._calibration = calibration
        self.longest = engine.longest

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        engine: Literal["auto", "torch", "onnx"] = "auto",
        device: str = "cpu",
        threads: int | None = None,
        data: str | os.PathLike[str] | None = None,
        precision: str = "highest",
    ) -> "Translator":
        """Load a model.

        Args:
            model: a model folder, made by ``bnb-export``; the name of one on the HuggingFace hub; or a training's
                checkpoint, with ``data``.
            engine: what computes: torch or ONNX Runtime, which needs neither torch nor fairseq. ``auto``: ONNX Runtime
                on a CPU, if the folder has a graph for it.
            device: ``cpu`` or ``cuda``.
            threads: of the processor, under torch for the whole process; None: the engine's own choice.
            data: the data-bin folder of a checkpoint; None for a model folder.
            precision: of torch's matrix products, see ``torch.set_float32_matmul_precision``.

        Returns:
            The translator.

        Raises:
            ImportError: if a package is missing, naming it.
            ValueError: if a file is missing, damaged or of another kind.
        """
        _check_loading(engine, device, threads, data)
        path = Path(model)
        if data is not None:
            from .hub.engine import load_checkpoint

            _set_threads(threads)
            return load_checkpoint(path, Path(data), device)
        if not path.exists():
            path = _download(os.fspath(model))
        if path.is_file() or not (path / CONFIG).is_file():
            raise ValueError(f"{path} must be a model folder, or a checkpoint with data=DATA_BIN; bnb-export makes one")
        manifest = Manifest.read(path)
        loaded = _load_engine(path, manifest, engine, device, threads, precision)
        values = read_search(path, loaded.options)
        calibration = values.pop(CALIBRATION, None)
        lm = next((path / name for name in LANGUAGE_MODELS if name in manifest.files), None)
        return cls(loaded, manifest.source_lang, manifest.task, values, lm, calibration)

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, [CLS] and [SEP] counted, as ``longest`` is."""
        return len(self._engine.source.encode(text, self._segments > 1))

    def translate(
        self,
        texts: Sequence[str],
        nbest: int = 1,
        batch_tokens: int | None = None,
        progress: bool = False,
        search: Literal["auto", "none"] = "auto",
        **options: Any,
    ) -> list[Translation]:
        """Translate texts.

        Args:
            texts: raw texts.
            nbest: texts wanted for each; those after the first are its ``alternatives``.
            batch_tokens: source tokens that are translated at once, padding included; None: what suits the engine.
            progress: show a bar on standard error.
            search: ``auto`` begins with the options of the folder, ``none`` with those of one pass.
            **options: of the search, by their names in ``search``.

        Returns:
            One translation for each text, in order. A text that cannot be translated has an ``error``; one that is too
            long is translated sentence by sentence.

        Raises:
            TypeError: if ``texts`` is one string, or holds something else.
            ValueError: if an option does not exist, is out of range, or does not fit the model.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError("texts must be a list of strings")
        if batch_tokens is None:
            batch_tokens = self._engine.batch_tokens
        if nbest < 1 or batch_tokens < 1:
            raise ValueError(f"nbest and batch_tokens must be at least 1, but are {nbest} and {batch_tokens}")
        chosen = self._options(search, options)
        parts = [self._pieces(text) for text in texts]
        flat = [piece.text for one in parts if not isinstance(one, str) for piece in one]
        found = iter(self._translate_all(flat, nbest, batch_tokens, progress, chosen))
        return [
            Translation("", error=one) if isinstance(one, str) else _joined(one, [next(found) for _ in one])
            for one in parts
        ]

    def _options(self, search: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Put the options of a call together; a refinement leaves the folder's search of texts out."""
        if search not in ("auto", "none"):
            raise ValueError(f"search must be auto or none, but is {search!r}")
        check_options(given, self._engine.options, "translate")
        plain = search == "none" or (given.get(REFINEMENT, 0) > 0 and BEAM not in given)
        chosen = {**(self._engine.options if plain else self.search), **given}
        if chosen.get(LM_WEIGHT):
            if self._lm is None:
                raise ValueError(
                    f"{LM_WEIGHT} must be 0 for a model folder without a language model, but is {chosen[LM_WEIGHT]}"
                )
            chosen["ctc_lm_path"] = str(self._lm)
        return chosen

    def _pieces(self, text: str) -> list[Piece] | str:
        """Split a text that is too long, or return why it cannot be translated."""
        if self._segments > 1:
            if fault := _segment_fault(text):
                return fault
            tokens = self.count_tokens(text)
            return [Piece(text)] if tokens <= self.longest else _too_long(tokens, self.longest)
        try:
            return split(text, self.count_tokens, self.longest, self._language)
        except TooLongError as error:
            return str(error)

    def _translate_all(
        self, texts: Sequence[str], nbest: int, batch_tokens: int, progress: bool, search: Mapping[str, Any]
    ) -> list[Translation]:
        """Translate texts that fit, those of similar length together; an empty one is translated by nothing."""
        sources = [self._engine.source.encode(text, self._segments > 1) for text in texts]
        translated = [Translation("")] * len(texts)
        order = sorted(
            (i for i, source in enumerate(sources) if len(source) > SPECIAL_SYMBOLS), key=lambda i: len(sources[i])
        )
        with tqdm(total=len(order), unit=" texts", disable=not progress) as bar:
            for batch in _batches(order, [len(source) for source in sources], batch_tokens):
                found = self._engine.hypotheses([sources[i] for i in batch], nbest, search)
                for i, hypotheses in zip(batch, found, strict=True):
                    best, *others = [self._translation(one) for one in hypotheses[:nbest]]
                    translated[i] = replace(best, alternatives=others)
                bar.update(len(batch))
        return translated

    def _translation(self, hypothesis: "Hypothesis") -> Translation:
        target = self._engine.target
        tokens, scores, score = hypothesis
        words = [i for i, token in enumerate(tokens) if token != target.eos()]
        return Translation(
            target.text(tokens).translate(NOT_ONE_LINE),
            score,
            [target.symbols[tokens[i]] for i in words],
            [self._confidence(scores[i]) for i in words],
        )

    def _confidence(self, log_probability: float) -> float:
        """Turn a token's log-probability into the probability that it is right."""
        probability = math.exp(min(log_probability, 0.0))
        if self._calibration is None:
            return probability
        probability = min(max(probability, 1e-6), 1 - 1e-6)
        logit = math.log(probability / (1 - probability))
        return 1 / (1 + math.exp(-self._calibration["slope"] * logit - self._calibration["offset"]))


def _check_loading(engine: str, device: str, threads: int | None, data: object) -> None:
    if engine not in (AUTO, TORCH, ONNX):
        raise ValueError(f"engine must be {AUTO}, {TORCH} or {ONNX}, but is {engine!r}")
    if engine == ONNX and device != "cpu":
        raise ValueError(f"device must be cpu for engine {ONNX}, but is {device!r}")
    if engine == ONNX and data is not None:
        raise ValueError(f"engine must be {AUTO} or {TORCH} for a checkpoint, but is {engine!r}")
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, but is {threads}")


def _set_threads(threads: int | None) -> None:
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def _load_engine(
    path: Path, manifest: Manifest, engine: str, device: str, threads: int | None, precision: str
) -> "Engine":
    """Load what computes; see ``Translator.load``."""
    has_graph = any(name in manifest.files for name in GRAPHS)
    runs_graph = is_installed("onnxruntime") or WEIGHTS not in manifest.files
    if engine == ONNX or (engine == AUTO and device == "cpu" and has_graph and runs_graph):
        from .engines.onnx import OnnxEngine

        return OnnxEngine.load(path, manifest, threads)
    if WEIGHTS not in manifest.files:
        raise ValueError(f"{path} must have {WEIGHTS} for engine {TORCH}, but was exported without it")
    _set_threads(threads)
    if manifest.architecture == AUTOREGRESSIVE:
        from .hub.engine import load_autoregressive

        return load_autoregressive(path, manifest, device)
    from .engines.nar import NarEngine

    return NarEngine.load(path, manifest, device, precision)


def _batches(order: Sequence[int], lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Cut indices, in order of length, into batches of at most ``most`` tokens with padding, or one text."""
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * lengths[i] > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _joined(pieces: Sequence[Piece], translations: Sequence[Translation]) -> Translation:
    """Put the translations of a text's pieces together; a text of several pieces has no alternatives."""
    if len(pieces) == 1:
        return translations[0]
    tokens = [token for translation in translations for token in translation.tokens]
    confidence = [value for translation in translations for value in translation.confidence]
    weights = [max(len(translation.tokens), 1) for translation in translations]
    scores = [translation.score * weight for translation, weight in zip(translations, weights, strict=True)]
    text = join(pieces, [translation.text for translation in translations]).translate(NOT_ONE_LINE)
    return Translation(text, sum(scores) / max(sum(weights), 1), tokens, confidence)


def _segment_fault(text: str) -> str | None:
    segments = text.split(SEGMENT_BREAK)
    if len(segments) == 2 and all(segment.strip() for segment in segments):
        return None
    return "the text must be an answer, one tab and the context"


def _too_long(tokens: int, longest: int) -> str:
    return f"the text has {tokens:,} tokens, but the model reads at most {longest:,}"


def _download(name: str) -> Path:
    """Fetch a model folder from the HuggingFace hub."""
    if name.count("/") != 1 or name.startswith((".", "/")):
        raise ValueError(f"there is no model folder or checkpoint {name!r}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(f"{name!r} is no folder; to fetch it from the hub, pip install huggingface_hub") from error
    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"there is no folder {name!r}, and the hub gives no model of this name: {reason}") from error
