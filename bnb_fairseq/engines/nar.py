"""The engine of a non-autoregressive network in torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..folder.manifest import SOURCE, TARGET, WEIGHTS, Manifest
from ..folder.search import PARALLEL_OPTIONS
from ..folder.vocabulary import Vocabulary, load_vocabulary
from ..generation.generator import NarGenerator
from ..generation.hypotheses import words_and_ends
from ..generation.options import GeneratorOptions, generator_options
from ..generation.scorer import build_scorer
from ..network.loading import load_network
from ..network.nar_network import NarNetwork
from ..network.options import NetworkOptions
from ..recent import Recent
from ..torch_compat import matmul_precision
from .interface import Hypothesis

GENERATORS = 4  # kept for later calls with the same options


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a model folder; a ValueError if they are damaged."""
    try:
        return load_file(folder / WEIGHTS)
    except Exception as error:  # the library has an exception of its own, derived from Exception alone
        raise ValueError(f"{folder / WEIGHTS}: cannot be read ({error})") from error


def plain(hypothesis: Mapping[str, Any]) -> Hypothesis:
    """Take from a hypothesis in fairseq's form what the interface has."""
    tokens, scores = (hypothesis[name].tolist() for name in ("tokens", "positional_scores"))
    return Hypothesis(tokens, scores, float(hypothesis["score"]))


class NarEngine:
    """A ``bnb_transformer`` in torch.

    Args:
        network: prepared for inference.
        source: the source vocabulary.
        target: the target vocabulary.
        precision: of matrix products, see ``torch.set_float32_matmul_precision``.
    """

    options: Mapping[str, Any] = PARALLEL_OPTIONS
    batch_tokens = 2048

    def __init__(self, network: NarNetwork, source: Vocabulary, target: Vocabulary, precision: str = "highest") -> None:
        self.network, self.source, self.target, self._precision = network, source, target, precision
        self.longest = network.max_positions()[0]
        self._generators = Recent(GENERATORS)

    @classmethod
    def load(cls, folder: Path, manifest: Manifest, device: str, precision: str) -> "NarEngine":
        """Read a model folder.

        Args:
            folder: the folder, whose files are those of the manifest.
            manifest: what ``config.json`` says.
            device: where the network lies.
            precision: of matrix products.

        Returns:
            The engine.

        Raises:
            ValueError: if a file is damaged or does not fit another.
        """
        source, target = (load_vocabulary(folder / side) for side in (SOURCE, TARGET))
        weights = read_weights(folder)
        try:
            options = NetworkOptions.from_json(manifest.network)
            with matmul_precision(precision):
                network = load_network(options, source, target, weights).to(device)
        except ValueError as error:
            raise ValueError(f"{folder}: {error}") from error
        return cls(network, source, target, precision)

    def hypotheses(  # noqa: D102
        self, sources: Sequence[Sequence[int]], nbest: int, search: Mapping[str, Any]
    ) -> list[list[Hypothesis]]:
        options = generator_options(SimpleNamespace(nbest=nbest, **search))
        generator: NarGenerator = self._generators.get(options, lambda: self._build(options))
        with torch.inference_mode(), matmul_precision(self._precision):
            found = generator.generate([self.network], {"net_input": self._batch(sources)})
        silent = (self.target.bos(), self.target.pad(), self.target.eos())
        texts = iter(words_and_ends([each for one in found for each in one], silent, self.target.eos()))
        return [[plain(next(texts)) for _ in one] for one in found]

    def _build(self, options: GeneratorOptions) -> NarGenerator:
        return NarGenerator([self.network], self.target, options, scorer=build_scorer(options, self.target))

    def _batch(self, sources: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        device = self.network.decoder.embeddings.tokens.weight.device
        longest = max(map(len, sources))
        rows = [[*source, *[self.source.pad()] * (longest - len(source))] for source in sources]
        lengths = torch.tensor([len(source) for source in sources], device=device)
        return {"src_tokens": torch.tensor(rows, device=device), "src_lengths": lengths}
