"""The engine of a non-autoregressive network in torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..folder.manifest import SOURCE, TARGET, WEIGHTS, Manifest
from ..folder.search import OF_CANVAS, PARALLEL_OPTIONS
from ..folder.vocabulary import Vocabulary, load_vocabulary
from ..generation.alignment import source_weights
from ..generation.generator import NarGenerator, ScoresTexts
from ..generation.glossary_scorer import GlossaryScorer
from ..generation.hypotheses import words_and_ends
from ..generation.options import GeneratorOptions, generator_options
from ..generation.scorer import build_scorer
from ..network.loading import DTYPES, load_network
from ..network.nar_network import NarNetwork
from ..network.options import NetworkOptions, SymbolTable
from ..recent import Recent
from ..torch_compat import matmul_precision
from .canvases import canvas_passes
from .interface import AskedTerms, CanvasPass, Engine, Hypothesis

GENERATORS = 4  # kept for later calls with the same options


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a model folder; a ValueError if they are damaged."""
    try:
        return load_file(folder / WEIGHTS)
    except Exception as error:  # the library's own exception derives from Exception directly
        raise ValueError(f"{folder / WEIGHTS}: cannot be read ({error})") from error


def plain(hypothesis: Mapping[str, Any]) -> Hypothesis:
    """The interface's form of a hypothesis of fairseq."""
    tokens, scores = (hypothesis[name].tolist() for name in ("tokens", "positional_scores"))
    return Hypothesis(tokens, scores, float(hypothesis["score"]))


def check_search(network: NarNetwork, target: SymbolTable, nbest: int, search: Mapping[str, Any]) -> None:
    """Check options of a non-autoregressive model; a ValueError if one is out of range or does not fit."""
    NarGenerator([network], target, generator_options(SimpleNamespace(nbest=nbest, **search)))


class NarEngine:
    """A ``bnb_transformer`` in torch.

    Args:
        network: prepared for inference.
        source: the source vocabulary.
        target: the target vocabulary.
        precision: of matrix products, see ``torch.set_float32_matmul_precision``.
        reranker: scores the texts in the model's place; None: the model does.
    """

    options: Mapping[str, Any] = PARALLEL_OPTIONS
    batch_tokens = 2048

    def __init__(
        self,
        network: NarNetwork,
        source: Vocabulary,
        target: Vocabulary,
        precision: str = "highest",
        reranker: ScoresTexts | None = None,
    ) -> None:
        self.network, self.source, self.target, self._precision = network, source, target, precision
        self._reranker = reranker
        self.longest = network.max_positions()[0]
        self._generators = Recent(GENERATORS)

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, device: str, precision: str, dtype: str = "float32") -> "NarEngine":
        """Read a model folder that its manifest describes; a ValueError if a file is damaged or does not fit."""
        source, target = (load_vocabulary(folder / side) for side in (SOURCE, TARGET))
        weights = read_weights(folder)
        try:
            options = NetworkOptions.from_json(manifest.network)
            with matmul_precision(precision):
                network = load_network(options, source, target, weights).to(device, DTYPES[dtype])
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        return cls(network, source, target, precision)

    def check(self, nbest: int, search: Mapping[str, Any]) -> None:  # noqa: D102
        NarGenerator([self.network], self.target, self._options(nbest, search))

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
        options = self._options(nbest, search)
        if terms is not None and not self.network.control.has_alignments:
            raise ValueError("a glossary needs a model that was trained with --length-control ctc")
        generator: NarGenerator = self._generators.get(options, lambda: self._build(options))
        with torch.inference_mode(), matmul_precision(self._precision):
            batch = self._batch(sources)
            scorer = None
            if terms is not None:
                asked = [row for row in terms.rows for _ in range(options.canvases)]
                scorer = GlossaryScorer(terms.glossary, asked, search["glossary_bonus"])
            found = generator.generate([self.network], {"net_input": batch}, terms=scorer)
        silent = (self.target.bos(), self.target.pad(), self.target.eos())
        texts = iter(words_and_ends([each for one in found for each in one], silent, self.target.eos()))
        return [[plain(next(texts)) for _ in one] for one in found]

    def source_weights(self, sources: Sequence[Sequence[int]], texts: Sequence[Sequence[int]]) -> list[Any] | None:  # noqa: D102
        with matmul_precision(self._precision):
            found = source_weights(self.network, self._batch(sources), texts)
        return [weights.cpu().numpy() for weights in found]

    def canvases(self, sources: Sequence[Sequence[int]], search: Mapping[str, Any]) -> list[list[CanvasPass]] | None:  # noqa: D102
        options = self._options(1, {name: value for name, value in search.items() if name in OF_CANVAS})
        options = options._replace(retain_history=True, rerank=False)
        generator: NarGenerator = self._generators.get(options, lambda: self._build(options))
        with torch.inference_mode(), matmul_precision(self._precision):
            states = generator.passes({"net_input": self._batch(sources)})
        return canvas_passes(states, options.max_iter, self.network.control.blank, generator.kept)

    def _options(self, nbest: int, search: Mapping[str, Any]) -> GeneratorOptions:
        options = generator_options(SimpleNamespace(nbest=nbest, **search))
        return options._replace(rerank=self._reranker is not None)

    def _build(self, options: GeneratorOptions) -> NarGenerator:
        return NarGenerator([self.network], self.target, options, self._reranker, build_scorer(options, self.target))

    def _batch(self, sources: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        device = self.network.decoder.embeddings.tokens.weight.device
        longest = max(map(len, sources))
        rows = [[*source, *[self.source.pad()] * (longest - len(source))] for source in sources]
        lengths = torch.tensor([len(source) for source in sources], device=device)
        return {"src_tokens": torch.tensor(rows, device=device), "src_lengths": lengths}
