"""BERT folders of strangers: nothing in them runs or hangs, sizes ask for no memory, damage is named."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bnb_fairseq.data.bert_tokenizer import load_wordpiece
from bnb_fairseq.start.bert_checkpoint import open_bert
from bnb_fairseq.start.from_bert import resolve_berts

WriteBert = Callable[..., Path]
SIZES = [f"{side}_{name}" for side in ("encoder", "decoder") for name in ("layers", "embed_dim")]
SIZES += [f"{side}_{name}" for side in ("encoder", "decoder") for name in ("ffn_embed_dim", "attention_heads")]
SIZES += ["encoder_positions", "decoder_positions"]


def options(folder: Path) -> Any:
    chosen = {"bert_encoder": str(folder), "bert_decoder": None, "cross_attention_init": "random"}
    return SimpleNamespace(**chosen, **dict.fromkeys(SIZES), layer_norm_eps=None)


@pytest.fixture
def bert(tmp_path: Path, write_bert: WriteBert) -> Path:
    return write_bert(tmp_path / "bert")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 1.5),
        ("num_hidden_layers", True),
        ("hidden_size", "thirty-two"),
        ("hidden_size", 0),
        ("intermediate_size", -48),
        ("max_position_embeddings", [24]),
        ("layer_norm_eps", "small"),
        ("layer_norm_eps", 0),
    ],
)
def test_sizes_that_are_no_numbers(key: str, value: object, bert: Path, edit_config: Callable[..., None]) -> None:
    edit_config(bert, **{key: value})
    with pytest.raises(ValueError, match=rf"^--bert-encoder .*{key} must .*, but is ") as raised:
        open_bert(str(bert), "--bert-encoder")
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize(
    "content", [b"[1, 2]", b"{", "{'ü': 1}".encode("latin-1"), b"[" * 100_000, b"", b'{"hidden_size": ' + b"9" * 5000]
)
def test_a_broken_config_is_named(content: bytes, bert: Path) -> None:
    (bert / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^--bert-encoder \S+/config\.json: must "):
        open_bert(str(bert), "--bert-encoder")


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "intermediate_size", "max_position_embeddings"])
def test_sizes_beyond_the_weights(key: str, bert: Path, edit_config: Callable[..., None]) -> None:
    edit_config(bert, **{key: 10**9})
    with pytest.raises(ValueError, match=r"^--bert-encoder .* 1,000,000,000.* parameters, but the file has "):
        resolve_berts(options(bert))


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (lambda tensor: tensor * float("nan"), "must be finite, but .* are nan"),
        (lambda tensor: tensor.to(torch.int64), "must be of a floating type, but is int64"),
    ],
)
def test_weights_that_are_no_numbers(replace: Callable[[Tensor], Tensor], message: str, bert: Path) -> None:
    tensors = load_file(bert / "model.safetensors")
    name = next(name for name in tensors if name.endswith("query.weight"))
    save_file({**tensors, name: replace(tensors[name])}, bert / "model.safetensors")
    with pytest.raises(ValueError, match=rf"^--bert-encoder \S+: {name} {message}"):
        resolve_berts(options(bert))


def test_a_flipped_bit_in_a_pytorch_model(tmp_path: Path, write_bert: WriteBert) -> None:
    bert = write_bert(tmp_path / "bert", old=True)
    resolve_berts(options(bert))
    path = bert / "pytorch_model.bin"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: is damaged \(the checksum of"):
        resolve_berts(options(bert))


def test_a_program_beside_a_tokenizer(bert: Path, tmp_path: Path, edit_config: Callable[..., None]) -> None:
    """transformers would ask on standard input whether to run it."""
    marker = tmp_path / "marker"
    (bert / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    auto_map = {"AutoTokenizer": ["evil.Evil", "evil.Evil"], "AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"}
    edit_config(bert, auto_map=auto_map)
    (bert / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto_map, "tokenizer_class": "BertTokenizer"}))
    assert load_wordpiece(str(bert)).symbols
    resolve_berts(options(bert))
    (bert / "tokenizer_config.json").write_text(json.dumps({"auto_map": auto_map, "tokenizer_class": "EvilTokenizer"}))
    with pytest.raises(ValueError, match=r"vocab\.txt alone does not describe a EvilTokenizer"):
        load_wordpiece(str(bert))
    assert not marker.exists()


@pytest.mark.parametrize("name", ["config.json", "vocab.txt", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_never_ends(name: str, kind: str, bert: Path) -> None:
    (bert / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(bert / name)
    else:
        (bert / name).symlink_to("/dev/zero")
    if name == "tokenizer_config.json":  # a folder need not have one
        assert load_wordpiece(str(bert)).symbols
        return
    with pytest.raises(ValueError, match=rf"{name}|has no|holds neither"):
        load_wordpiece(str(bert)) if name == "vocab.txt" else resolve_berts(options(bert))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.txt", "[PAD]\nü\n".encode("latin-1")),
        ("tokenizer.json", b'{"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}'),
        ("added_tokens.json", b'{"token": [1]}'),
        ("tokenizer_config.json", b'{"added_tokens_decoder": {"99": "text"}}'),
    ],
)
def test_a_damaged_tokenizer_is_named(name: str, content: bytes, bert: Path) -> None:
    (bert / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{bert}"):
        load_wordpiece(str(bert))
