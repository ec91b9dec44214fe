"""One pass in ONNX Runtime, as ``bnb-export --onnx`` writes it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bnb_fairseq.engines.onnx import OnnxEngine
from bnb_fairseq.engines.with_fairseq import vocabulary_of
from bnb_fairseq.folder.search import PARALLEL_OPTIONS
from bnb_fairseq.folder.shortlist import Shortlist
from bnb_fairseq.graph.writing import write_graph

from .systems import Outcome, System, bnb_model, make_task
from .workload import Sample, Workload

LISTED = 3000  # symbols of a shortlist, whatever the sentences: random ones would need more than real ones do


def onnx_systems(
    workload: Workload, kind: str, shortlist: bool = False, decoder_layers: int | None = None
) -> Iterator[System]:
    """One pass under CTC, on a CPU.

    Args:
        workload: the setting.
        kind: of weights, ``float32`` or ``int8``.
        shortlist: score ``LISTED`` symbols.
        decoder_layers: None: as many as the encoder has.

    Yields:
        System: The one.
    """
    task = make_task(workload.dictionary(), workload)
    model = bnb_model(workload, task, "ctc", refines=False, decoder_layers=decoder_layers)
    source, target = vocabulary_of(task.src_dict), vocabulary_of(task.tgt_dict)
    with tempfile.TemporaryDirectory() as name:
        longest = model.max_positions()[0]
        path = write_graph(Path(name), model.options, source, target, model.state_dict(), longest, kind, shortlist)
        listed = _listed(len(source), len(target)) if shortlist else None
        engine, size = OnnxEngine(path, source, target, workload.threads, listed), path.stat().st_size / 1e6
    del model

    def translate(sample: Sample) -> Outcome:
        found = engine.hypotheses(sample["net_input"]["src_tokens"].tolist(), 1, PARALLEL_OPTIONS)
        return Outcome(sum(len(one[0].tokens) for one in found) / len(found), 1.0)

    layers = "" if decoder_layers is None else f", {decoder_layers} decoder layer{'s'[: decoder_layers > 1]}"
    with_list = f", shortlist of {LISTED:,}" if shortlist else ""
    yield System(f"bnb ctc, ONNX {kind}{with_list}{layers}", task.source_dictionary, translate, size)


def _listed(source_symbols: int, symbols: int) -> Shortlist:
    """Make a shortlist of the last symbols, which random sentences are made of, for all sentences alike."""
    common = np.arange(max(symbols - LISTED, 0), symbols)
    return Shortlist(np.zeros(source_symbols + 1, np.int64), np.zeros(0, np.int64), common)
