"""Starting a model from one or two BERTs: sizes, contradictions, and weights with a report in the log."""

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from safetensors.torch import load_file

from bnb_fairseq.data.dictionary import BnbDictionary, load_dictionary
from bnb_fairseq.models.bnb_transformer import BnbTransformer
from bnb_fairseq.models.config import SIZE_FIELDS, BnbTransformerConfig
from bnb_fairseq.start.from_bert import load_berts, resolve_berts

from ...facts import naming

WriteBert = Callable[..., Path]
OTHER_WORDS = ["[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "das", "haus", "##es", "the", "##s"]


def options(**changes: object) -> BnbTransformerConfig:
    config = BnbTransformerConfig()
    for name, value in changes.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    return config


def started(config: BnbTransformerConfig, source: BnbDictionary, target: BnbDictionary) -> BnbTransformer:
    berts = resolve_berts(config)
    assert berts is not None
    task = SimpleNamespace(source_dictionary=source, target_dictionary=target)
    model = BnbTransformer.build_model(config, task)
    load_berts(model, berts, str(config.cross_attention_init))
    return model.eval()


def sizes(config: BnbTransformerConfig, side: str) -> list[int]:
    return [getattr(config, f"{side}_{name}") for name in SIZE_FIELDS]


def test_no_bert_leaves_the_options_alone() -> None:
    config = options()
    assert resolve_berts(config) is None
    assert config == BnbTransformerConfig()


def test_decoder_bert_defaults_to_the_encoders(tmp_path: Path, write_bert: WriteBert) -> None:
    config = options(bert_encoder=str(write_bert(tmp_path)))
    berts = resolve_berts(config)
    assert berts is not None
    assert berts.decoder is berts.encoder
    assert sizes(config, "encoder") == sizes(config, "decoder") == [4, 32, 48, 4, 24]
    assert config.layer_norm_eps == 0.01
    assert config.bert_decoder is None


def test_sizes_of_two_berts_and_fewer_layers(tmp_path: Path, write_bert: WriteBert) -> None:
    encoder = write_bert(tmp_path / "encoder", hidden_size=24, num_attention_heads=2)
    decoder = write_bert(tmp_path / "decoder", words=OTHER_WORDS, num_hidden_layers=3, max_position_embeddings=31)
    config = options(bert_encoder=str(encoder), bert_decoder=str(decoder), encoder_layers=2, decoder_embed_dim=32)
    resolve_berts(config)
    assert sizes(config, "encoder") == [2, 24, 48, 2, 24]
    assert sizes(config, "decoder") == [3, 32, 48, 4, 31]


def test_all_contradictions_are_in_one_error(tmp_path: Path, write_bert: WriteBert) -> None:
    encoder = write_bert(tmp_path / "encoder", layer_norm_eps=0.5)
    decoder = write_bert(tmp_path / "decoder", hidden_size=16, num_hidden_layers=2)
    config = options(
        bert_encoder=str(encoder),
        bert_decoder=str(decoder),
        encoder_layers=5,
        encoder_embed_dim=33,
        encoder_attention_heads=4,
        encoder_positions=512,
        decoder_layers=0,
        decoder_ffn_embed_dim=64,
        cross_attention_init="self",
    )
    problems = [
        f"--encoder-layers 5 ... 1 ... 4 ... {encoder}",
        f"--encoder-embed-dim 33 ... 32 ... {encoder}",
        f"--encoder-positions 512 ... 24 ... {encoder}",
        f"--decoder-layers 0 ... 1 ... 2 ... {decoder}",
        f"--decoder-ffn-embed-dim 64 ... 48 ... {decoder}",
        "layer_norm_eps ... (0.5) ... (0.01)",
        "--cross-attention-init ... random ... (32 and 16) ... self",
    ]
    with pytest.raises(ValueError, match=naming(*problems)):
        resolve_berts(config)
    assert config.decoder_embed_dim is None


def test_a_decoder_bert_needs_an_encoder_bert() -> None:
    with pytest.raises(ValueError, match=r"^--bert-decoder some-bert needs --bert-encoder, which is not set$"):
        resolve_berts(options(bert_decoder="some-bert"))


def test_errors_name_the_side(tmp_path: Path, write_bert: WriteBert) -> None:
    encoder = write_bert(tmp_path / "encoder")
    with pytest.raises(ValueError, match=f"^--bert-decoder {tmp_path / 'none'}: neither"):
        resolve_berts(options(bert_encoder=str(encoder), bert_decoder=str(tmp_path / "none")))


def test_two_berts_of_different_widths_and_vocabularies(
    tmp_path: Path, write_bert: WriteBert, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = write_bert(tmp_path / "encoder", hidden_size=24, num_attention_heads=2, seed=1)
    decoder = write_bert(tmp_path / "decoder", words=OTHER_WORDS, num_hidden_layers=3, seed=2)
    source, target = load_dictionary(str(encoder)), load_dictionary(str(decoder))
    config = options(bert_encoder=str(encoder), bert_decoder=str(decoder), decoder_layers=2, latent_size=8)
    with caplog.at_level(logging.DEBUG, logger="bnb_fairseq"):
        model = started(config, source, target)

    theirs = transformers.BertModel.from_pretrained(encoder).eval()
    tokens = torch.tensor([[3, 6, 7, 8, 4], [3, 10, 4, 0, 0]])
    with torch.no_grad():
        expected = theirs(input_ids=tokens, attention_mask=tokens.ne(0).long()).last_hidden_state
        ours = model.encoder(tokens, torch.tensor([5, 3]))["encoder_out"][0].transpose(0, 1)
    assert torch.allclose(ours[tokens.ne(0)], expected[tokens.ne(0)], rtol=0, atol=1e-5)

    saved, loaded = load_file(decoder / "model.safetensors"), model.decoder.state_dict()
    assert torch.equal(
        loaded["embeddings.tokens.weight"][: len(OTHER_WORDS)], saved["bert.embeddings.word_embeddings.weight"]
    )
    for ours_layer, theirs_layer in ((0, 0), (1, 2)):
        name = f"bert.encoder.layer.{theirs_layer}.attention.self.query.weight"
        assert torch.equal(loaded[f"layers.{ours_layer}.self_attn.q_proj.weight"], saved[name])
    assert loaded["layers.0.encoder_attn.k_proj.weight"].shape == (32, 24)
    assert torch.equal(loaded["head.bias"], torch.cat([saved["cls.predictions.bias"], torch.zeros(1)]))

    summaries = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    start = f"encoder from {encoder}, layers [0, 1, 2, 3]: "
    assert any(line.startswith(start) and "22 of 22 (100.0%)" in line for line in summaries)
    start = f"decoder from {decoder}, layers [0, 2]: "
    assert any(line.startswith(start) and "10 of 10 (100.0%)" in line for line in summaries)
    details = {record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG}
    assert "decoder new      layers.1.encoder_attn.q_proj.weight" in details
    assert f"encoder ignored  cls.predictions.bias ({'an encoder has no masked-word head'})" in details


def test_a_foreign_dictionary_takes_matching_rows_and_logs_the_share(
    tmp_path: Path, write_bert: WriteBert, caplog: pytest.LogCaptureFixture
) -> None:
    bert, other = write_bert(tmp_path / "bert"), write_bert(tmp_path / "other", words=OTHER_WORDS)
    source, target = load_dictionary(str(bert)), load_dictionary(str(other))
    with caplog.at_level(logging.INFO, logger="bnb_fairseq"):
        model = started(options(bert_encoder=str(bert)), source, target)
    saved = load_file(bert / "model.safetensors")
    table, bias = model.decoder.embeddings.tokens.weight, model.decoder.head.bias
    for symbol in ("[MASK]", "[SEP]", "[CLS]", "[UNK]", "[PAD]", "the", "##s"):
        theirs, ours = source.index(symbol), target.index(symbol)
        assert torch.equal(table[ours], saved["bert.embeddings.word_embeddings.weight"][theirs])
        assert bias[ours] == saved["cls.predictions.bias"][theirs]
    for symbol in ("das", "haus", "##es"):
        assert table[target.index(symbol)].abs().max() < 0.12  # fresh: deviation 0.02; the file's are 0.3
        assert bias[target.index(symbol)] == 0
    message = "embedding rows: 7 of 10 (70.0%) matched by text, 3 (30.0%) start fresh"
    assert message in caplog.text


def test_cross_attention_starts_from_self_attention_if_asked_to(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path)
    dictionary = load_dictionary(str(directory))
    for init in ("random", "self"):
        model = started(options(bert_encoder=str(directory), cross_attention_init=init), dictionary, dictionary)
        for layer in model.decoder.layers:
            for part in ("attn", "attn_layer_norm"):
                own_state = layer.get_submodule(f"self_{part}").state_dict()
                for name, tensor in layer.get_submodule(f"encoder_{part}").state_dict().items():
                    assert torch.equal(tensor, own_state[name]) == (init == "self"), name


def test_resolved_options_build_the_same_model_without_the_bert(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path)
    dictionary = load_dictionary(str(directory))
    config = options(bert_encoder=str(directory), decoder_layers=2)
    model = started(config, dictionary, dictionary)
    config.bert_encoder = "a-directory-that-is-gone"
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    again = BnbTransformer.build_model(config, task).eval()
    again.load_state_dict(model.state_dict(), strict=True)
    tokens, lengths = torch.tensor([[3, 6, 8, 4]]), torch.tensor([4])
    assert torch.equal(again(tokens, lengths).logits, model(tokens, lengths).logits)
