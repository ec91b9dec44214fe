"""The graphs of a model folder in ONNX Runtime."""

import mmap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..folder.manifest import DECODERS
from ..generation.ctc_beam import Array
from ..graph.facts import (
    ASKED,
    CANDIDATES,
    CANVAS_TOKENS,
    DECODED,
    ENCODED,
    LENGTHS,
    OUTPUTS,
    SOURCE,
    SYMBOLS,
    TYPES,
    Facts,
)

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
        words: size of the target vocabulary.

    Attributes:
        facts: that decoding needs.
        refines: the decoder reads tokens.
        takes_candidates: the symbols to score are an input.

    Raises:
        ImportError: if ONNX Runtime is not installed.
        ValueError: if a file is no such graph.
    """

    def __init__(self, path: Path, threads: int | None, words: int) -> None:
        self.refines = path.name in DECODERS
        self._encoder: _Graph | None = None
        inputs: Sequence[str] = SOURCE
        outputs: Sequence[str] = OUTPUTS
        if self.refines:
            self._encoder = _Graph(path, threads, SOURCE, (*ENCODED, LENGTHS))
            path = path.with_name(DECODERS[path.name])
            inputs, outputs = (*ENCODED, CANVAS_TOKENS), DECODED
        self._decoder = _Graph(path, threads, (*inputs, ASKED, SYMBOLS), outputs)
        self.facts = Facts.read(self._decoder.metadata, str(path), words)
        self.takes_candidates = self._decoder.takes_candidates

    def encode(self, tokens: Array, lengths: Array) -> dict[str, Array]:
        """What all passes read of sources: right-padded ids, B x S, and their lengths, B."""
        source = dict(zip(SOURCE, (tokens, lengths), strict=True))
        return source if self._encoder is None else self._encoder.run(source)

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

        Raises:
            OSError: if a graph fails, or gives something else, as a damaged one may.
        """
        given = {**encoded, **more}
        if self.refines:
            given[CANVAS_TOKENS] = np.full(given["canvas_padding"].shape, mask) if shown is None else shown
            del given[LENGTHS]
        outputs = {**encoded, **self._decoder.run(given)}
        found = Predicted(*(outputs[name] for name in Predicted._fields))
        if not _fits(found, given[ASKED].shape, int(given[SYMBOLS][0]), self.facts.symbols):
            raise OSError(f"{self._decoder.path}: must give symbols and scores of a canvas, but gives something else")
        return found


class _Graph:
    """A file in ONNX Runtime; see ``Graphs``."""

    def __init__(self, path: Path, threads: int | None, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        self.path, self._session = path, _session(path, threads)
        for kind, found, names in (
            ("inputs", self._session.get_inputs(), inputs),
            ("outputs", self._session.get_outputs(), outputs),
        ):
            types = {each.name: each.type for each in found}
            wanted = {name: TYPES.get(name, "int64") for name in names}
            if missing := [f"{name} ({of})" for name, of in wanted.items() if types.get(name) != f"tensor({of})"]:
                raise ValueError(f"{path}: must have {kind} {', '.join(names)}, but has no {', '.join(missing)}")
        self.takes_candidates = CANDIDATES in {each.name for each in self._session.get_inputs()}
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        self._outputs = list(outputs)

    def run(self, given: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; an OSError if it fails."""
        try:
            found = self._session.run(self._outputs, given)
        except Exception as error:  # some of the library's exceptions derive from Exception directly
            raise OSError(f"{self.path}: cannot be run ({' '.join(str(error).split())})") from error
        return dict(zip(self._outputs, found, strict=True))


def _fits(found: Predicted, asked: tuple[int, ...], symbols: int, total: int) -> bool:
    """Whether outputs are finite, of the sizes that asked symbols, B x n, and k give them, and ids below V."""
    canvas = (asked[0], found.blank_scores.size // asked[0])
    best = (*canvas, symbols)
    return (
        [part.shape for part in found] == [best, best, canvas, asked[:1], (*canvas, asked[1])]
        and bool(((found.lengths >= 1) & (found.lengths <= canvas[1])).all())
        and bool(((found.symbols >= 0) & (found.symbols < total)).all())
        and all(np.isfinite(part).all() for part in found)
    )


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
    options.log_severity_level = 4  # fatal errors; others are raised
    # Threads wait for work in a loop while the graph runs, but not behind it, where they would hinder the search.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    # Blocks that are kept for shapes seen before grow with every longer text; malloc takes 3% more time.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        _refuse_other_files(graph)
        return onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS
        )
    except Exception as error:  # some of the library's exceptions derive from Exception directly
        raise ValueError(f"{graph}: cannot be read ({' '.join(str(error).split())})") from error


def _refuse_other_files(graph: Path) -> None:
    """Refuse tensors in other files: ONNX Runtime 1.20 reads them from outside the folder, too."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(b"location") >= 0:  # the key of a file's name in TensorProto.external_data
            raise ValueError("it must hold all of its numbers, but names another file")
