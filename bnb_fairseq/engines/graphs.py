"""The graphs of a model folder in ONNX Runtime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..folder.manifest import DECODERS
from ..generation.ctc_beam import Array
from ..graph.facts import CANDIDATES, CANVAS_TOKENS, Facts

GRAPH_TOKENS = 128  # of a run of the graph, padding included: what it computes stays in a processor's cache
SLOW_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]  # their kernels are slower than the two that they replace


class Predicted(NamedTuple):
    """Outputs of a pass; see ``StaticNetwork``."""

    symbols: Array
    scores: Array
    blank_scores: Array
    lengths: Array
    asked_scores: Array


class Graphs:
    """One graph of one pass, or the encoder and the decoder of a model that refines.

    Args:
        path: file of the graph, or of the encoder, beside the decoder.
        threads: on the CPU; None: as many as there are cores.

    Attributes:
        facts: that decoding needs.
        refines: the decoder reads tokens.
        takes_candidates: the symbols to score are an input.

    Raises:
        ImportError: if ONNX Runtime is not installed.
        ValueError: if a file is no such graph.
    """

    def __init__(self, path: Path, threads: int | None) -> None:
        self.refines = path.name in DECODERS
        self._encoder = _session(path, threads) if self.refines else None
        path = path.with_name(DECODERS.get(path.name, path.name))
        self._decoder = _session(path, threads)
        self.facts = Facts.read(self._decoder.get_modelmeta().custom_metadata_map, str(path))
        self.takes_candidates = CANDIDATES in {each.name for each in self._decoder.get_inputs()}

    def encode(self, tokens: Array, lengths: Array) -> dict[str, Array]:
        """What all passes read of sources: right-padded ids, B x S, and their lengths, B."""
        source = {"src_tokens": tokens, "src_lengths": lengths}
        return source if self._encoder is None else _outputs(self._encoder, source)

    def decode(
        self, encoded: Mapping[str, Array], more: Mapping[str, Array], mask: int, shown: Array | None
    ) -> Predicted:
        """Run a pass.

        Args:
            encoded: of ``encode``.
            more: the other inputs.
            mask: id of [MASK].
            shown: B x A ids that the decoder reads; None: all [MASK], if it reads any.

        Returns:
            The outputs.
        """
        given = {**encoded, **more}
        if self.refines:
            given[CANVAS_TOKENS] = np.full(given["canvas_padding"].shape, mask) if shown is None else shown
            del given["lengths"]
        found = {**encoded, **_outputs(self._decoder, given)}
        return Predicted(*(found[name] for name in Predicted._fields))


def _outputs(session: Any, given: Mapping[str, Array]) -> dict[str, Array]:
    """Run a graph: its outputs by their names."""
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def in_cache(lengths: Array) -> list[slice]:
    """Divide sources, whose lengths are given, into neighbours that the graph runs on at once."""
    parts, first = [], 0
    for last in range(1, len(lengths) + 1):
        if last == len(lengths) or (last + 1 - first) * lengths[first : last + 1].max() > GRAPH_TOKENS:
            parts.append(slice(first, last))
            first = last
    return parts


def join(parts: Sequence[Array]) -> Array:
    """Join outputs of neighbours, each B x A x ...; zeros stand behind shorter canvases."""
    shape = sum(map(len, parts)), max(part.shape[1] for part in parts), *parts[0].shape[2:]
    joined, first = np.zeros(shape, parts[0].dtype), 0
    for part in parts:
        joined[first : first + len(part), : part.shape[1]] = part
        first += len(part)
    return joined


def _session(graph: Path, threads: int | None) -> Any:
    """Load a graph into ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("the ONNX engine needs ONNX Runtime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    # Threads wait for work in a loop while the graph runs, but not behind it, where they would hinder the search.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Blocks that are kept for shapes seen before grow with every longer text; malloc takes 3% more time.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
        )
    except Exception as error:  # some of the library's exceptions derive from Exception directly
        raise ValueError(f"{graph}: cannot be read ({' '.join(str(error).split())})") from error
