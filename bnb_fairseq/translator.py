"""Strings in, strings out: the one way from raw text to translations that commands, Python and servers share."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tqdm import tqdm

from .alignment import alignments
from .engines.batches import batches, translate_ids
from .engines.interface import AskedTerms
from .engines.opening import Loading, check_loading, download, load_checkpoints, load_engine
from .folder.manifest import LANGUAGE_MODEL, SEARCH, Manifest
from .folder.search import CALIBRATION, check_options, read_search
from .folder.vocabulary import SEGMENT_BREAK
from .generation.confidence import Platt
from .recent import Recent
from .splitting import Piece, TooLongError, join, split
from .written import Written, as_symbols

if TYPE_CHECKING:
    from .engines.interface import Engine, Hypothesis
    from .generation.glossary import Glossary

GLOSSARIES = 4  # kept for later calls with the same terms
GLOSSARY_BEAM = 10  # of a search that a glossary switches on
ARGUMENTS = ("nbest", "batch_tokens", "progress", "search", "alignment", "glossary")  # of translate, beside options
SEGMENTS = {"question_generation_bnb": 2}  # of a source line, by task
SURROGATE = re.compile("[\ud800-\udfff]")
NOT_ONE_LINE = str.maketrans({"\n": " ", "\r": " "})
REFINEMENT, BEAM, LM_WEIGHT = "iter_decode_max_iter", "ctc_beam", "ctc_lm_weight"


@dataclass(frozen=True)
class Translation:
    """A translation.

    Attributes:
        text: detokenised, one line; empty if there is an error.
        score: mean log-probability of a token, by which alternatives are ordered.
        tokens: symbols of the target vocabulary.
        confidence: of each token, 0 to 1; calibrated if the folder says how, for its own search.
        alignment: of each word of the text, the words of the source that it comes from, counted from 0, white space
            separates words; empty unless it was asked for, and for autoregressive models and ONNX Runtime.
        words: of each token the word of the text that it lies in, counted from 0; empty unless alignment was asked for.
        alternatives: the other texts of ``nbest``, the best first.
        error: why there is no translation; None if there is one.
    """

    text: str
    score: float = 0.0
    tokens: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    alignment: list[list[int]] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
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
        calibration: of confidence; None: confidence is the token's probability.

    Attributes:
        longest: the longest source that the model reads, in tokens.
        batch_tokens: source tokens that are translated at once by default, padding included.
        has_canvas: whether ``canvases`` has anything to show.
    """

    def __init__(
        self,
        engine: "Engine",
        source_lang: str = "",
        task: str = "translation_bnb",
        search: Mapping[str, Any] | None = None,
        lm: Path | None = None,
        calibration: Platt | None = None,
    ) -> None:
        self._engine, self._language, self._lm = engine, source_lang or "en", lm
        self._segments = SEGMENTS.get(task, 1)
        self.search = {**engine.options, **(search or {})}
        self._calibration = calibration
        self._glossaries = Recent(GLOSSARIES)
        self.longest, self.batch_tokens = engine.longest, engine.batch_tokens
        self.has_canvas = REFINEMENT in engine.options

    @classmethod
    def load(
        cls,
        model: str | os.PathLike[str],
        engine: Literal["auto", "torch", "onnx"] = "auto",
        device: str = "cpu",
        threads: int | None = None,
        data: str | os.PathLike[str] | None = None,
        precision: str = "highest",
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        shortlist: bool = True,
        lm: str | os.PathLike[str] | None = None,
        **search: Any,
    ) -> "Translator":
        """Load a model.

        Args:
            model: a model folder, made by ``bnb-export``; the name of one on the HuggingFace hub; or a training's
                checkpoint or its folder, with ``data``. Several autoregressive checkpoints with ``:`` between translate
                together; an autoregressive one behind a non-autoregressive one chooses among its texts.
            engine: what computes: torch or ONNX Runtime, which needs neither torch nor fairseq. ``auto``: ONNX Runtime
                on a CPU, if the folder has a graph for it.
            device: ``cpu`` or ``cuda``.
            threads: of the processor, under torch for the whole process; None: all cores.
            data: the data-bin folder of a checkpoint; None for a model folder.
            precision: of torch's matrix products, see ``torch.set_float32_matmul_precision``.
            dtype: of torch's weights.
            shortlist: ONNX Runtime scores only the target symbols that the folder's shortlist gives the source tokens.
            lm: n-gram model of the search; None: the folder's, if it has one.
            **search: options of each translation that asks for no others, in place of the folder's.

        Returns:
            The translator.

        Raises:
            ImportError: if a package is missing, naming it.
            ValueError: if a file is missing, damaged or of another kind, or an option does not fit.
        """
        loading = Loading(engine, device, dtype, precision, threads, shortlist)
        check_loading(loading, data)
        path, own_lm = Path(model), None if lm is None else Path(lm)
        if data is not None:
            paths = [Path(part) for part in os.fspath(model).split(os.pathsep)]
            translator = cls(*load_checkpoints(paths, Path(data), loading), lm=own_lm)
        else:
            if not path.exists():
                path = download(os.fspath(model))
            if path.is_file():
                raise ValueError(
                    f"{path} must be a model folder, or a checkpoint with data=DATA_BIN; bnb-export makes one"
                )
            manifest = Manifest.read(path)
            translator = cls._of_folder(path, manifest, load_engine(path, manifest, loading), own_lm)
        check_options(search, translator._engine.options, "search")
        translator.search.update(search)
        translator._options(1, "auto", {})
        return translator

    @classmethod
    def _of_folder(cls, path: Path, manifest: Manifest, loaded: "Engine", lm: Path | None) -> "Translator":
        values = read_search(path, loaded.options)
        numbers = values.pop(CALIBRATION, None)
        calibration = None if numbers is None else Platt(**numbers)
        if lm is None and LANGUAGE_MODEL in manifest.files:
            lm = path / LANGUAGE_MODEL
        translator = cls(loaded, manifest.source_lang, manifest.task, values, lm, calibration)
        try:
            translator._options(1, "auto", {})
        except ValueError as error:
            raise ValueError(f"{path / SEARCH}: {error}") from error
        return translator

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, [CLS] and [SEP] counted, as ``longest`` is."""
        return len(self._encode(text))

    def _encode(self, text: str) -> list[int]:
        return self._engine.source.encode(text, self._segments > 1)

    def translate(
        self,
        texts: Iterable[str],
        nbest: int = 1,
        batch_tokens: int | None = None,
        progress: bool = False,
        search: str = "auto",
        alignment: bool = False,
        glossary: Mapping[str, str] | None = None,
        **options: Any,
    ) -> list[Translation]:
        """Translate texts.

        Args:
            texts: raw texts.
            nbest: texts wanted for each; those after the first are its ``alternatives``.
            batch_tokens: source tokens that are translated at once, padding included; None: what suits the engine.
            progress: show a bar on standard error if that is a terminal.
            search: ``auto`` begins with the options of the folder, ``none`` with those of one pass.
            alignment: compute ``alignment`` and ``words`` of the best texts; it takes about as long as a pass more.
            glossary: source term -> target term that the search prefers where the source has the term; ``*`` at the end
                of a term stands for any ending. It switches the search on.
            **options: of the search, by their names in ``search``.

        Returns:
            One translation for each text, in order. A text that cannot be translated has an ``error``; one that is too
            long is translated sentence by sentence.

        Raises:
            TypeError: if ``texts`` is one string, or holds something else.
            ValueError: if an option does not exist, is out of range, or does not fit the model.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of strings, but is one string")
        texts = list(texts)
        if wrong := [i for i, text in enumerate(texts) if not isinstance(text, str)]:
            raise TypeError(f"texts[{wrong[0]}] must be a string, but is {type(texts[wrong[0]]).__name__}")
        batch_tokens = self.batch_tokens if batch_tokens is None else batch_tokens
        if nbest < 1 or batch_tokens < 1:
            raise ValueError(f"nbest and batch_tokens must be at least 1, but are {nbest} and {batch_tokens}")
        chosen = self._options(nbest, search, options)
        terms = self._glossary(glossary) if glossary else None
        if terms is not None and chosen.get(BEAM) == 0:
            if BEAM in options:
                raise ValueError(f"{BEAM} must be at least 1 with a glossary, which is part of the search, but is 0")
            chosen[BEAM] = GLOSSARY_BEAM
        ids: dict[str, list[int]] = {}
        parts = [self._pieces(text, ids) for text in texts]
        flat = [piece.text for one in parts if not isinstance(one, str) for piece in one]
        job = _Job(nbest, batch_tokens, progress, chosen, alignment, terms)
        found = iter(self._translate_all(flat, ids, job))
        return [
            Translation("", error=one) if isinstance(one, str) else _joined(one, [next(found) for _ in one])
            for one in parts
        ]

    def canvases(self, texts: Sequence[str], search: str = "auto", **options: Any) -> list[list[Written]]:
        """Show how texts are written: the canvas after each pass, before any search of texts.

        Args:
            texts: raw texts.
            search: see ``translate``.
            **options: see ``translate``.

        Returns:
            For each text how each of its sentences is written. Nothing for a text without words, one that cannot be
            translated, or a model without canvas.

        Raises:
            ValueError: if an option does not exist, is out of range, or does not fit the model.
        """
        chosen = self._options(1, search, options)
        parts = [self._pieces(text, {}) for text in texts]
        flat = [piece.text for one in parts if not isinstance(one, str) for piece in one]
        sources = [self._encode(text) for text in flat]
        written: list[Written | None] = [None] * len(flat)
        for batch in batches(sources, self.batch_tokens):
            asked = [sources[i] for i in batch]
            found = self._engine.canvases(asked, chosen)
            for i, passes in zip(batch, found or (), strict=found is not None):
                written[i] = Written(flat[i], [as_symbols(one, self._engine.target) for one in passes])
        rest = iter(written)
        of_texts = [[] if isinstance(one, str) else [next(rest) for _ in one] for one in parts]
        return [[one for one in of_text if one is not None] for of_text in of_texts]

    def check(self, nbest: int = 1, search: str = "auto", **options: Any) -> None:
        """Check options of ``translate``; a ValueError says what does not fit."""
        self._options(nbest, search, options)

    def _options(self, nbest: int, search: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options of a call; a refinement, or no beam, excludes the folder's beam search."""
        if search not in ("auto", "none"):
            raise ValueError(f"search must be auto or none, but is {search!r}")
        check_options(given, self._engine.options, "translate", ARGUMENTS)
        refines = given.get(REFINEMENT, 0) > 0 and BEAM not in given
        plain = search == "none" or refines or given.get(BEAM) == 0
        chosen = {**(self._engine.options if plain else self.search), **given}
        if chosen.get(LM_WEIGHT):
            if self._lm is None:
                raise ValueError(
                    f"{LM_WEIGHT} must be 0 for a model without a language model, but is {chosen[LM_WEIGHT]}"
                )
            chosen["ctc_lm_path"] = str(self._lm)
        self._engine.check(nbest, chosen)
        return chosen

    def _pieces(self, text: str, ids: dict[str, list[int]]) -> list[Piece] | str:
        """Split a text that is too long, or return why it cannot be translated; keep the ids of what is counted."""

        def count_tokens(part: str) -> int:
            ids[part] = self._encode(part)
            return len(ids[part])

        if surrogate := SURROGATE.search(text):
            where = surrogate.start() + 1
            return f"the text must be Unicode, but its character {where:,} is half of a pair of surrogates"
        if self._segments > 1:
            if fault := _segment_fault(text):
                return fault
            tokens = count_tokens(text)
            return [Piece(text)] if tokens <= self.longest else _too_long(tokens, self.longest)
        try:
            return split(text, count_tokens, self.longest, self._language)
        except TooLongError as error:
            return str(error)

    def _glossary(self, terms: Mapping[str, str]) -> "Glossary":
        """Build a glossary, or take one that was built for the same terms."""
        from .generation.glossary import Glossary, SpeltVocabulary

        target = self._engine.target

        def build() -> Glossary:
            spelt = self._glossaries.get(
                "vocabulary", lambda: SpeltVocabulary(target.symbols, target.specials(), target.surface)
            )
            return Glossary(terms, target.split, spelt)

        found: Glossary = self._glossaries.get(tuple(terms.items()), build)
        return found

    def _translate_all(self, texts: Sequence[str], ids: Mapping[str, list[int]], job: "_Job") -> list[Translation]:
        """Translate texts that fit."""
        sources = [ids[text] if text in ids else self._encode(text) for text in texts]
        terms = None
        if job.glossary is not None:
            terms = AskedTerms(job.glossary, [job.glossary.find(text) for text in texts])
        with tqdm(total=len(texts), unit=" texts", disable=None if job.progress else True) as bar:
            found = translate_ids(
                *(self._engine, sources, job.search, job.nbest, job.batch_tokens),
                terms=terms,
                done=lambda numbers: bar.update(len(numbers)),
            )
        translated = []
        for best, *others in found:
            alternatives = [self._translation(one) for one in others]
            translated.append(replace(self._translation(best), alternatives=alternatives))
        if job.alignment:
            for batch in batches(sources, job.batch_tokens):
                written = [found[i][0].tokens for i in batch]
                aligned = alignments(self._engine, [texts[i] for i in batch], written, self._segments > 1)
                for i, (alignment, words) in zip(batch, aligned, strict=True):
                    translated[i] = replace(translated[i], alignment=alignment, words=words)
        return translated

    def _translation(self, hypothesis: "Hypothesis") -> Translation:
        target = self._engine.target
        tokens, scores, score = hypothesis
        words = [i for i, token in enumerate(tokens) if token != target.eos()]
        return Translation(
            target.text(tokens).translate(NOT_ONE_LINE),
            score,
            [target.symbols[tokens[i]] for i in words],
            self._confidence([scores[i] for i in words]),
        )

    def _confidence(self, log_probabilities: Sequence[float]) -> list[float]:
        """Turn the log-probabilities of tokens into the probabilities that they are right."""
        probabilities = [math.exp(min(score, 0.0)) for score in log_probabilities]
        if self._calibration is None or not probabilities:
            return probabilities
        calibrated: list[float] = self._calibration.calibrated(probabilities).tolist()
        return calibrated


class _Job(NamedTuple):
    """Arguments of a call of ``translate``."""

    nbest: int
    batch_tokens: int
    progress: bool
    search: Mapping[str, Any]
    alignment: bool
    glossary: "Glossary | None"


def _joined(pieces: Sequence[Piece], translations: Sequence[Translation]) -> Translation:
    """Join the translations of a text's pieces; a text of several pieces has no alternatives."""
    if len(pieces) == 1:
        return translations[0]
    tokens = [token for translation in translations for token in translation.tokens]
    confidence = [value for translation in translations for value in translation.confidence]
    weights = [max(len(translation.tokens), 1) for translation in translations]
    scores = [translation.score * weight for translation, weight in zip(translations, weights, strict=True)]
    text = join(pieces, [translation.text for translation in translations]).translate(NOT_ONE_LINE)
    alignment = [
        [piece.first_word + number for number in words]
        for piece, translation in zip(pieces, translations, strict=True)
        for words in translation.alignment
    ]
    words, before = [], 0  # of each token; in the pieces before
    for translation in translations:
        words += [before + number for number in translation.words]
        before += len(translation.text.split())
    return Translation(text, sum(scores) / max(sum(weights), 1), tokens, confidence, alignment, words)


def _segment_fault(text: str) -> str | None:
    segments = text.split(SEGMENT_BREAK)
    if len(segments) == 2 and all(segment.strip() for segment in segments):
        return None
    return "the text must be an answer, one tab and the context"


def _too_long(tokens: int, longest: int) -> str:
    return f"the text has {tokens:,} tokens, but the model reads at most {longest:,}"
