"""Graphs in ONNX Runtime against the model, on batches and lengths that torch did not see when it wrote them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bnb_fairseq.models.bnb_transformer import BnbTransformer

from .test_static_network import ASKED, OPTIONS, batch, log_probabilities, some_symbols

Write = Callable[..., tuple[BnbTransformer, Path]]
# torch takes seconds to trace a layer: two of them are in the quick tests, and the options change none.
ONE_LAYER = {"encoder_layers": 1, "decoder_layers": 1}
QUICK = [OPTIONS[i] for i in (0, 5)]
REFINING = {**ONE_LAYER, "latent_size": 0, "canvas_tokens": True}
SLOW = [{**ONE_LAYER, **options} for options in OPTIONS if options not in QUICK and "canvas_tokens" not in options]
TRACED = [*QUICK, *(pytest.param(options, marks=pytest.mark.slow) for options in SLOW)]
UNTIED = {**ONE_LAYER, "untie_output": True, "ctc_blank": "pad"}


def asked(lengths: tuple[int, ...]) -> Tensor:
    """As many symbols as there are sentences, and others for each of them."""
    return ASKED[: len(lengths), : len(lengths)]


def session_of(path: Path) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path: Path, lengths: tuple[int, ...], symbols: int, **more: Any) -> list[Any]:
    tokens, true = batch(lengths)
    session = session_of(path)
    given = {
        "src_tokens": tokens.numpy(),
        "src_lengths": true.numpy(),
        "asked": asked(lengths).numpy(),
        "k": np.array([symbols]),
        **more,
    }
    found: list[Any] = session.run(None, given)
    return found


@pytest.mark.parametrize("options", TRACED, ids=str)
@torch.no_grad()
def test_against_the_model(options: dict[str, Any], graph_of: Write) -> None:
    model, path = graph_of("float32", **options)
    for lengths, count in (((7, 3, 12, 1), 1), ((2,), 3), ((15, 15), 8)):
        expected = model(*batch(lengths))
        log_probs = expected.logits.log_softmax(dim=-1).transpose(0, 1)
        symbols, scores, blank_scores, canvas_lengths, asked_scores = run(path, lengths, count)
        assert canvas_lengths.tolist() == expected.canvas_lengths.tolist()
        assert symbols.shape == (*log_probs.shape[:2], count)
        for i, length in enumerate(canvas_lengths.tolist()):
            found = [part[i, :length] for part in (symbols, scores, blank_scores, asked_scores)]
            check_position_scores(found, log_probs[i, :length], count, model.control.blank, asked(lengths)[i])


def check_position_scores(found: list[Any], log_probs: Tensor, count: int, blank: int, asked: Tensor) -> None:
    """Check the best symbols of a canvas, their scores, the blank's and those of asked symbols: log_probs are A x V."""
    symbols, *scores = found
    wanted = log_probs.topk(count)
    assert symbols.tolist() == wanted.indices.tolist()
    for part, expected in zip(scores, (wanted.values, log_probs[:, blank], log_probs[:, asked]), strict=True):
        assert np.allclose(part, expected, rtol=0, atol=1e-4)


def encode(path: Path, tokens: Tensor, lengths: Tensor) -> dict[str, Any]:
    """Outputs of an encoder by name."""
    session = session_of(path)
    found = session.run(None, {"src_tokens": tokens.numpy(), "src_lengths": lengths.numpy()})
    return dict(zip([each.name for each in session.get_outputs()], found, strict=True))


READING = [
    {},
    pytest.param({"untie_output": True}, marks=pytest.mark.slow),
    *(pytest.param(options, marks=pytest.mark.slow) for options in OPTIONS if "canvas_tokens" in options),
    pytest.param({"ctc_upsample": 1.0}, marks=pytest.mark.slow),  # a canvas as long as the source
    pytest.param({"ctc_upsample": 0.2}, marks=pytest.mark.slow),  # one position for the tokens that torch traces
    pytest.param({"ctc_canvas_length": 15, "ctc_blank": "pad"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize("options", READING, ids=str)
@pytest.mark.parametrize("shortlist", [False, True])
@torch.no_grad()
def test_an_encoder_and_a_decoder_against_the_model(options: dict[str, Any], shortlist: bool, graph_of: Write) -> None:
    """The decoder is shown any symbols, the blank among them."""
    model, path = graph_of("float32", shortlist, **{**REFINING, **options})
    assert path.name == "encoder.float32.onnx"
    decoder = session_of(path.with_name("decoder.float32.onnx"))
    every = len(model.decoder.head.bias)
    for lengths, count in (((7, 3, 12, 1), 1), ((2,), 3), ((15, 15), 8)):
        tokens, true = batch(lengths)
        encoded = encode(path, tokens, true)
        canvas_lengths = torch.from_numpy(encoded.pop("lengths"))
        assert canvas_lengths.tolist() == model(tokens, true).canvas_lengths.tolist()
        shown = some_symbols(encoded["canvas_padding"].shape, every)
        more = {"canvas_tokens": shown.numpy(), "asked": asked(lengths).numpy(), "k": np.array([count])}
        more |= {"candidates": np.arange(every)} if shortlist else {}
        symbols, scores, blank_scores, asked_scores = decoder.run(None, {**encoded, **more})
        log_probs = log_probabilities(model, tokens, true, canvas_lengths, shown)
        for i, length in enumerate(canvas_lengths.tolist()):
            found = [part[i, :length] for part in (symbols, scores, blank_scores, asked_scores)]
            check_position_scores(found, log_probs[i, :length], count, model.control.blank, asked(lengths)[i])


@pytest.mark.parametrize("options", [{}, pytest.param({"untie_output": True}, marks=pytest.mark.slow)], ids=str)
@pytest.mark.parametrize("shortlist", [False, True])
@torch.no_grad()
def test_int8_of_an_encoder_and_a_decoder(options: dict[str, Any], shortlist: bool, graph_of: Write) -> None:
    """Every matrix is in one of the files, once, in bytes, and the probabilities are nearly the same.

    The output layer is the table of tokens unless untied.
    """
    onnx = pytest.importorskip("onnx")
    model, path = graph_of("int8", shortlist, **{**REFINING, **options})
    sizes = []
    for each in (path, path.with_name("decoder.int8.onnx")):
        tensors = [one for one in onnx.load(each).graph.initializer if len(one.dims) == 2 and min(one.dims) > 1]
        assert {one.data_type for one in tensors} == {onnx.TensorProto.INT8}
        sizes.append(sum(int(np.prod(one.dims)) for one in tensors))
    square, feed_forward, decoder = 16 * 16, 2 * 16 * 24, model.decoder
    tables = [len(model.encoder.dictionary) + model.encoder.max_positions()]
    rows = len(decoder.dictionary) + 1
    tables.append(rows * (1 + ("untie_output" in options)) + decoder.max_positions())
    assert sizes == [4 * square + feed_forward + 16 * tables[0], 9 * square + feed_forward + 16 * tables[1]]
    every = len(decoder.head.bias)
    encoded = encode(path, *batch())
    canvas_lengths = torch.from_numpy(encoded.pop("lengths"))
    shown = some_symbols(encoded["canvas_padding"].shape, every)
    more = {"canvas_tokens": shown.numpy(), "asked": np.tile(np.arange(every), (4, 1)), "k": np.array([1])}
    more |= {"candidates": np.arange(every)} if shortlist else {}
    found = session_of(path.with_name("decoder.int8.onnx")).run(["asked_scores"], {**encoded, **more})[0]
    expected = log_probabilities(model, *batch(), canvas_lengths, shown).numpy()
    inside = np.arange(shown.size(1)) < canvas_lengths.numpy()[:, None]
    error = np.abs(found - expected)[inside]
    assert 1e-5 < error.mean() < 0.1 * expected[inside].std()


@torch.no_grad()
def test_int8(graph_of: Write) -> None:
    """Every matrix and table is in bytes, once, and the probabilities are nearly the same."""
    onnx = pytest.importorskip("onnx")
    model, path = graph_of("int8", latent_size=0)
    graph = onnx.load(path).graph
    matrices = [each for each in graph.initializer if len(each.dims) == 2 and min(each.dims) > 1]
    assert {each.data_type for each in matrices} == {onnx.TensorProto.INT8}
    feed_forward, square, decoder = 2 * 16 * 24, 16 * 16, model.decoder
    layers = 2 * (4 * square + feed_forward) + 2 * (8 * square + feed_forward)  # two a side; cross-attention
    tables = 16 * (len(model.encoder.dictionary) + model.encoder.max_positions() + decoder.max_positions())
    output = square + 16 * (len(decoder.dictionary) + 1)
    assert sum(int(np.prod(each.dims)) for each in matrices) == layers + tables + output
    assert not any(node.metadata_props or node.doc_string for node in graph.node)
    logits = model(*batch()).logits
    log_probs = logits.log_softmax(dim=-1).transpose(0, 1)
    _, _, blank_scores, lengths, _ = run(path, (7, 3, 12, 1), 1)
    for i, length in enumerate(lengths.tolist()):
        error = np.abs(blank_scores[i, :length] - log_probs[i, :length, model.control.blank].numpy())
        assert error.mean() < 0.1 * float(logits.std())
    assert error.max() > 1e-5  # it is not float32


@pytest.mark.parametrize("shortlist", [False, True])
@torch.no_grad()
def test_int8_of_a_sentence_does_not_depend_on_the_others(shortlist: bool, graph_of: Write) -> None:
    """Float32 sums differ in their last digits, quantised rows do not."""
    lengths = (7, 3, 12, 1)
    model, path = graph_of("int8", shortlist=shortlist, **({} if shortlist else {"latent_size": 0}))
    tokens, true = (each.numpy() for each in batch(lengths))
    every = np.arange(len(model.decoder.dictionary) + 1)
    more: dict[str, Any] = {"asked": np.zeros((4, 1), np.int64), **({"candidates": every} if shortlist else {})}
    symbols, scores, blank_scores, canvas, _ = run(path, lengths, 3, **more)
    for i, length in enumerate(lengths):
        alone = {"src_tokens": tokens[i : i + 1, :length], "src_lengths": true[i : i + 1], "asked": more["asked"][:1]}
        of_one = run(path, lengths, 3, **{**more, **alone})
        assert of_one[0][0].tolist() == symbols[i, : canvas[i]].tolist()
        assert np.allclose(of_one[1][0], scores[i, : canvas[i]], rtol=0, atol=1e-5)
        assert np.allclose(of_one[2][0], blank_scores[i, : canvas[i]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, pytest.param(UNTIED, marks=pytest.mark.slow)], ids=str)
@torch.no_grad()
def test_candidates(options: dict[str, Any], graph_of: Write) -> None:
    """In float32 as the model, in int8 the same rows in bytes; the whole vocabulary is a list of candidates, too."""
    onnx = pytest.importorskip("onnx")
    lengths = (7, 3, 12, 1)
    model, path = graph_of("float32", shortlist=True, **options)
    blank = model.control.blank
    _, of_bytes = graph_of("int8", shortlist=True, **options)
    tables = [each for each in onnx.load(of_bytes).graph.initializer if len(each.dims) == 2 and min(each.dims) > 1]
    assert {each.data_type for each in tables} == {onnx.TensorProto.INT8}
    symbols_in_all = len(model.decoder.dictionary) + (blank == len(model.decoder.dictionary))
    for chosen in (sorted({2, 5, 6, 9, 11, blank}), list(range(symbols_in_all))):
        candidates = torch.tensor(chosen)
        log_probs = model(*batch()).logits.transpose(0, 1)[:, :, candidates].log_softmax(dim=-1)
        for each, most in ((path, 1e-4), (of_bytes, 0.5 * float(log_probs.std()))):
            given = {"candidates": candidates.numpy(), "asked": np.zeros((4, 1), np.int64)}
            symbols, scores, blank_scores, canvas_lengths, _ = run(each, lengths, 2, **given)
            for i, length in enumerate(canvas_lengths.tolist()):
                wanted = log_probs[i, :length].topk(2)
                if each == path:
                    assert symbols[i, :length].tolist() == candidates[wanted.indices].tolist()
                assert set(symbols[i, :length].ravel().tolist()) <= set(chosen)
                assert np.abs(scores[i, :length] - wanted.values.numpy()).mean() < most
                of_blank = log_probs[i, :length, chosen.index(blank)].numpy()
                assert np.abs(blank_scores[i, :length] - of_blank).mean() < most
