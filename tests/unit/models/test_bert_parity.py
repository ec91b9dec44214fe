"""The imported weights compute what HuggingFace's BERT computes, layer by layer, to 1e-5 in float32."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.models.fairseq_layers import decoder_layers, encoder_layers
from bnb_fairseq.modules.canvas import Canvas
from bnb_fairseq.modules.layers import LayerSizes
from bnb_fairseq.network.bert_encoder import BertEncoder, segment_types
from bnb_fairseq.network.nar_decoder import NarDecoder
from bnb_fairseq.start.bert_checkpoint import BertCheckpoint, open_bert
from bnb_fairseq.start.bert_import import import_bert, select_layers
from bnb_fairseq.start.row_matching import SymbolTable, match_rows

TOLERANCE = 1e-5
ROOT = Path(__file__).resolve().parents[3]
SizesOf = Callable[..., LayerSizes]

FILES = [
    pytest.param("BertModel", False, id="without-prefix"),
    pytest.param("BertForMaskedLM", False, id="with-prefix"),
    pytest.param("BertForPreTraining", False, id="pretraining"),
    pytest.param("BertForPreTraining", True, id="bin-gamma-beta"),
    pytest.param("BertModel", True, id="bin-without-prefix"),
]


def batch(symbols: int, pad: int, lengths: tuple[int, ...] = (9, 4, 1)) -> tuple[Tensor, Tensor]:
    """Random ids, right-padded, and their lengths."""
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(0, symbols, (len(lengths), max(lengths)), generator=generator)
    tokens[tokens == pad] = pad + 1
    for row, length in zip(tokens, lengths, strict=True):
        row[length:] = pad
    return tokens, torch.tensor(lengths)


def huggingface(directory: Path, kind: str, layers: list[int] | None = None) -> Any:
    model = getattr(transformers, kind).from_pretrained(directory).eval()
    stack = (model if kind == "BertModel" else model.bert).encoder
    if layers is not None:
        stack.layer = nn.ModuleList([stack.layer[i] for i in layers])
    return model


@torch.no_grad()
def reference(model: Any, tokens: Tensor, kept: Tensor) -> Any:
    return model(input_ids=tokens, attention_mask=kept.long(), output_hidden_states=True)


def imported_encoder(bert: BertCheckpoint, dictionary: BnbDictionary, sizes: LayerSizes) -> BertEncoder:
    encoder = BertEncoder(dictionary, sizes, bert.sizes["positions"], encoder_layers)
    import_bert(
        encoder, bert, sizes.layers, match_rows(dictionary, SymbolTable.of_wordpiece(bert.tokenizer)), "encoder"
    )
    return encoder.eval()


def imported_decoder(bert: BertCheckpoint, dictionary: BnbDictionary, sizes: LayerSizes) -> NarDecoder:
    """A decoder whose canvas may carry BERT's own embeddings: the latent is multiplied by 1."""
    width = sizes.embed_dim
    layers = partial(decoder_layers, encoder_dim=width)
    decoder = NarDecoder(dictionary, sizes, width, bert.sizes["positions"], layers, 1, project_latent=False)
    import_bert(
        decoder, bert, sizes.layers, match_rows(dictionary, SymbolTable.of_wordpiece(bert.tokenizer)), "decoder"
    )
    torch.nn.init.ones_(decoder.latent_scale)
    return decoder.eval()


def assert_same(ours: Tensor, theirs: Tensor, kept: Tensor) -> None:
    """Compare L x B x D with B x L x D at the positions that are kept."""
    difference = (ours.transpose(0, 1) - theirs)[kept].abs().max()
    assert difference <= TOLERANCE, difference


def assert_encoder_parity(encoder: BertEncoder, theirs: Any, tokens: Tensor, lengths: Tensor, kept: Tensor) -> None:
    for inference in (False, True):  # torch has kernels of its own for inference
        with torch.inference_mode(inference):
            out = encoder(tokens, lengths, return_all_hiddens=True)
        assert len(out["encoder_states"]) == len(theirs.hidden_states)
        for ours, layer in zip(out["encoder_states"], theirs.hidden_states, strict=True):
            assert_same(ours, layer, kept)
        assert_same(out["encoder_out"][0], theirs.hidden_states[-1], kept)
        assert torch.equal(out["encoder_padding_mask"][0], ~kept)


@torch.no_grad()
def decoder_states(decoder: NarDecoder, tokens: Tensor, kept: Tensor) -> list[Tensor]:
    """Run the decoder as if it were BERT: its own token embeddings as input, cross-attention left out."""
    states = decoder.embeddings(decoder.embeddings.tokens(tokens)).transpose(0, 1)
    hidden = [states]
    for layer in decoder.layers:
        states, _, _ = layer(states, None, None, self_attn_padding_mask=~kept)
        hidden.append(states)
    return hidden


@pytest.mark.parametrize(("kind", "old"), FILES)
def test_encoder(kind: str, old: bool, tmp_path: Path, write_bert: Callable[..., Path], sizes_of: SizesOf) -> None:
    original = write_bert(tmp_path / "original", kind)
    directory = write_bert(tmp_path / "imported", kind, old=old)
    bert = open_bert(str(directory), "--bert-encoder")
    dictionary = load_dictionary(str(directory))
    encoder = imported_encoder(bert, dictionary, sizes_of(bert))
    tokens, lengths = batch(len(dictionary), dictionary.pad())
    kept = tokens != dictionary.pad()
    theirs = reference(huggingface(original, kind), tokens, kept)
    assert_encoder_parity(encoder, theirs, tokens, lengths, kept)


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining"])
def test_decoder(kind: str, tmp_path: Path, write_bert: Callable[..., Path], sizes_of: SizesOf) -> None:
    bert = open_bert(str(write_bert(tmp_path, kind)), "--bert-decoder")
    dictionary = load_dictionary(str(tmp_path))
    decoder = imported_decoder(bert, dictionary, sizes_of(bert))
    tokens, lengths = batch(len(dictionary), dictionary.pad())
    kept = tokens != dictionary.pad()
    theirs = reference(huggingface(tmp_path, kind), tokens, kept)
    hidden = decoder_states(decoder, tokens, kept)
    for ours, layer in zip(hidden, theirs.hidden_states, strict=True):
        assert_same(ours, layer, kept)
    absent: Any = None
    canvas = Canvas(decoder.embeddings.tokens(tokens), lengths, ~kept, None)
    assert_same(decoder(canvas, absent, absent), theirs.hidden_states[-1], kept)
    if kind != "BertModel":
        logits = theirs.logits if kind == "BertForMaskedLM" else theirs.prediction_logits
        assert_same(decoder.output_layer(hidden[-1])[..., :-1], logits, kept)


def test_selected_layers_compute_what_bert_with_those_layers_computes(
    tmp_path: Path, write_bert: Callable[..., Path], sizes_of: SizesOf
) -> None:
    bert = open_bert(str(write_bert(tmp_path, num_hidden_layers=5)), "--bert-encoder")
    dictionary = load_dictionary(str(tmp_path))
    tokens, lengths = batch(len(dictionary), dictionary.pad())
    kept = tokens != dictionary.pad()
    for wanted in (1, 2, 3, 4):
        theirs = reference(huggingface(tmp_path, "BertForMaskedLM", select_layers(5, wanted)), tokens, kept)
        encoder = imported_encoder(bert, dictionary, sizes_of(bert, wanted))
        assert_encoder_parity(encoder, theirs, tokens, lengths, kept)
        hidden = decoder_states(imported_decoder(bert, dictionary, sizes_of(bert, wanted)), tokens, kept)
        for ours, layer in zip(hidden, theirs.hidden_states, strict=True):
            assert_same(ours, layer, kept)


@torch.no_grad()
def test_two_segments(tmp_path: Path, write_bert: Callable[..., Path], sizes_of: SizesOf) -> None:
    """[CLS] A [SEP] B [SEP]: what follows the first [SEP] has BERT's token type 1."""
    bert = open_bert(str(write_bert(tmp_path, "BertModel")), "--bert-encoder")
    dictionary = load_dictionary(str(tmp_path))
    cls, sep, pad = dictionary.bos(), dictionary.eos(), dictionary.pad()
    tokens = torch.tensor([[cls, 8, 9, sep, 10, 11, 12, sep], [cls, 13, sep, 9, sep, pad, pad, pad]])
    types = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0]])
    kept = tokens != pad
    assert torch.equal(segment_types(tokens, sep, ~kept), types)
    encoder = imported_encoder(bert, dictionary, sizes_of(bert))
    model = huggingface(tmp_path, "BertModel")
    options = {"attention_mask": kept.long(), "output_hidden_states": True}
    theirs = model(input_ids=tokens, token_type_ids=types, **options)
    assert_encoder_parity(encoder, theirs, tokens, kept.sum(dim=1), kept)
    untyped = model(input_ids=tokens, token_type_ids=torch.zeros_like(types), **options)
    assert (untyped.last_hidden_state - theirs.last_hidden_state)[kept].abs().max() > 0.01
    encoder.make_generation_fast_()
    assert_same(encoder(tokens, kept.sum(dim=1))["encoder_out"][0], theirs.last_hidden_state, kept)


def real_bert() -> Path:
    """The six-layer MiniLM that scripts/demo.sh fetches."""
    named = os.environ.get("BNB_TEST_BERT")
    directory = Path(named) if named else ROOT / "demo" / "bert"
    if not (directory / "model.safetensors").is_file():
        pytest.skip(
            f"no BERT in {directory}: run examples/techdoc-en-de/fetch_bert.py demo/bert, or name a directory in "
            "BNB_TEST_BERT"
        )
    return directory


def test_real_bert(sizes_of: SizesOf) -> None:
    directory = real_bert()
    bert = open_bert(str(directory), "--bert-encoder")
    assert (bert.sizes["layers"], bert.sizes["embed_dim"], bert.layer_norm_eps) == (6, 384, 1e-12)
    dictionary = load_dictionary(str(directory))
    texts = ["The quick brown fox doesn't jump over 3 lazy dogs, does it?", "Reticulating splines."]
    lines = [dictionary.encode_line(text).long() for text in texts]
    tokens = torch.full((2, max(map(len, lines)) + 1), dictionary.pad())
    for row, line in zip(tokens, lines, strict=True):
        row[: len(line) + 1] = torch.cat([torch.tensor([dictionary.bos()]), line])
    kept = tokens != dictionary.pad()
    theirs_tokenized = transformers.AutoTokenizer.from_pretrained(directory)(texts, padding=True, return_tensors="pt")
    assert torch.equal(tokens, theirs_tokenized["input_ids"])
    theirs = reference(huggingface(directory, "BertModel"), tokens, kept)
    encoder = imported_encoder(bert, dictionary, sizes_of(bert))
    assert_encoder_parity(encoder, theirs, tokens, kept.sum(dim=1), kept)
    for ours, layer in zip(
        decoder_states(imported_decoder(bert, dictionary, sizes_of(bert)), tokens, kept),
        theirs.hidden_states,
        strict=True,
    ):
        assert_same(ours, layer, kept)
