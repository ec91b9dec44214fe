"""The models of a server, by their pair of languages."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..folder.manifest import Manifest
from ..translator import Translation, Translator
from ..written import Written
from .batching import Asked
from .languages import language_name
from .limits import RequestError

LENGTHS = ("max_len_a", "max_len_b")  # options of the folder that a client cannot change
PASSES = "iter_decode_max_iter"
AUTO = "auto"


class Found(NamedTuple):
    """A model's answer to a text.

    Attributes:
        translation: the translation.
        written: how each sentence was written; None: it was not asked for.
    """

    translation: Translation
    written: list[Written] | None = None


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Attributes:
        source: language of the sources.
        target: language of the targets.
        translator: the model.
        folder: where it lies.
    """

    source: str
    target: str
    translator: Translator
    folder: Path

    @classmethod
    def load(
        cls, folder: Path, engine: str, device: str, threads: int | None, batch_tokens: int | None = None
    ) -> "Model":
        """Load a model folder and translate once with its own options, so that its language model is in memory.

        Args:
            folder: the folder.
            engine: see ``Translator.load``.
            device: ``cpu`` or ``cuda``.
            threads: on the CPU; None: the engine's choice.
            batch_tokens: most source tokens of a batch; None: what suits the engine.

        Returns:
            The model.

        Raises:
            ImportError: if a package is missing, naming it.
            ValueError: if a file is missing, damaged or of another kind.
        """
        translator = Translator.load(folder, engine, device, threads)  # type: ignore[arg-type]
        if batch_tokens is not None:
            translator.batch_tokens = batch_tokens
        manifest = Manifest.read(folder)
        translator.translate(["a"])
        return cls(manifest.source_lang, manifest.target_lang, translator, folder)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the search that a client may change, with the values of the folder."""
        return {name: value for name, value in self.translator.search.items() if name not in LENGTHS}

    def can(self, **options: Any) -> bool:
        """Return whether the model has an option of the search."""
        try:
            self.translator.check(search="none", **options)
        except ValueError:
            return False
        return True

    def describe(self) -> dict[str, Any]:
        """Describe the model, for ``GET /v1/models``."""
        return {
            "source": self.source,
            "target": self.target,
            "longest": self.translator.longest,
            "options": self.options,
            "refines": self.can(**{PASSES: 1}),
            "searches": self.can(ctc_beam=2),
        }

    def fault(self, error: ValueError) -> str:
        """Return what an error says, without the path of the folder, which is no client's business."""
        return str(error).replace(f"{self.folder}/", "")

    def translate(self, texts: Sequence[str], asked: Asked) -> list[Found]:
        """Translate texts with the same options; a ValueError says what does not fit the model."""
        options, glossary = dict(asked.options), dict(asked.glossary)
        translations = self.translator.translate(
            texts, asked.nbest, search=asked.search, alignment=asked.alignment, glossary=glossary, **options
        )
        if not asked.canvas:
            return [Found(one) for one in translations]
        written = self.translator.canvases(texts, asked.search, **options)
        return [Found(*pair) for pair in zip(translations, written, strict=True)]


class Models:
    """The models of a server.

    Args:
        models: the models.

    Raises:
        ValueError: if two have the same languages.
    """

    def __init__(self, models: Sequence[Model]) -> None:
        self.all = {(model.source, model.target): model for model in models}
        if len(self.all) < len(models):
            pairs = [f"{model.source}-{model.target}" for model in models]
            twice = sorted({pair for pair in pairs if pairs.count(pair) > 1})
            raise ValueError(f"each FOLDER must have languages of its own, but several have {', '.join(twice)}")

    def find(self, source: str | None, target: str | None) -> Model:
        """Find the model of two languages.

        Args:
            source: language of the sources; None or ``auto``: the one that is left.
            target: language of the targets; None: the one that is left.

        Returns:
            The model.

        Raises:
            RequestError: if there is none, or several.
        """
        of_target = [model for model in self.all.values() if target in (None, model.target)]
        if not of_target:
            targets = ", ".join(sorted({pair[1] for pair in self.all}))
            raise RequestError(400, f"target must be one of {targets}, but is another language")
        found = [model for model in of_target if source in (None, AUTO, model.source)]
        if not found:
            sources = ", ".join(sorted(model.source for model in of_target))
            raise RequestError(400, f"source must be one of {sources} for this target, but is another language")
        if len(found) > 1:
            pairs = ", ".join(f"{model.source}-{model.target}" for model in found)
            raise RequestError(400, f"source and target must be one of {pairs}, but are not given")
        return found[0]

    def languages(self) -> list[dict[str, Any]]:
        """List every language, with the targets that it is translated into, as ``GET /languages`` has it."""
        codes = sorted({code for pair in self.all for code in pair})
        targets = {code: sorted(target for source, target in self.all if source == code) for code in codes}
        return [{"code": code, "name": language_name(code), "targets": targets[code]} for code in codes]
