"""Finding a BERT in a directory or on HuggingFace's hub, and refusing what is none."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
import transformers.utils.hub
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from bnb_fairseq.start.bert_checkpoint import CONFIG_KEYS, open_bert, read_tensors

from ...facts import naming

WriteBert = Callable[..., Path]
Requests = list[tuple[str, str]]


def test_sizes_tensors_and_tokenizer(tmp_path: Path, write_bert: WriteBert) -> None:
    changes = {"num_hidden_layers": 3, "hidden_size": 8, "intermediate_size": 10, "num_attention_heads": 2}
    directory = write_bert(tmp_path, **changes, max_position_embeddings=12, layer_norm_eps=0.25)
    bert = open_bert(str(directory), "--bert-decoder")
    assert (bert.origin, bert.option) == (str(directory), "--bert-decoder")
    assert bert.sizes == {
        "layers": 3,
        "embed_dim": 8,
        "ffn_embed_dim": 10,
        "attention_heads": 2,
        "positions": 12,
    }
    assert bert.layer_norm_eps == 0.25
    saved = load_file(directory / "model.safetensors")
    assert list(bert.tensors) == list(saved)
    assert all(torch.equal(bert.tensors[name], tensor) for name, tensor in saved.items())
    assert bert.tokenizer.symbols == (directory / "vocab.txt").read_text().split()
    assert bert.tensors is bert.tensors  # read once


def test_weights_are_read_only_when_needed(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path)
    (directory / "model.safetensors").write_bytes(b"no weights")
    assert open_bert(str(directory), "--bert-encoder").sizes["layers"] == 4


def test_safetensors_come_before_pytorch_model_bin(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path)
    torch.save({"other": torch.ones(1)}, directory / "pytorch_model.bin")
    assert "other" not in open_bert(str(directory), "--bert-encoder").tensors
    (directory / "model.safetensors").unlink()
    assert list(open_bert(str(directory), "--bert-encoder").tensors) == ["other"]


def test_pytorch_model_bin_runs_no_code(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path)
    (directory / "model.safetensors").unlink()
    torch.save({"module": torch.nn.Linear(2, 2)}, directory / "pytorch_model.bin")
    message = f"--bert-encoder {directory}: {directory}/pytorch_model.bin: ... torch.nn.modules.linear.Linear"
    with pytest.raises(ValueError, match=naming(message)):
        _ = open_bert(str(directory), "--bert-encoder").tensors


class MakeFolder:
    """Pickled, it would make a folder when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_code_is_refused_and_does_not_run(zipped: bool, tmp_path: Path) -> None:
    file, made = tmp_path / "x.bin", tmp_path / "made"
    torch.save({"a": torch.ones(2), "b": MakeFolder(made)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=naming(f"{file}: ... {os.mkdir.__module__}.mkdir")):
        read_tensors(file)
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.ones(1), "b": 3, "c": "x"}, "b (int), c (str)"),
        ({"a": torch.ones(1), "n": np.ones(2)}, "n (ndarray)"),
        ({"model": {"a": torch.ones(1)}}, "model (dict)"),
        ({1: torch.ones(1)}, "dict"),
        ([torch.ones(1)], "list"),
        (torch.ones(1), "Tensor"),
    ],
)
def test_a_file_that_holds_other_things_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.bin")
    with pytest.raises(ValueError, match=naming(f"{tmp_path}/x.bin: ... {message}")):
        read_tensors(tmp_path / "x.bin")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.bin", b"garbage", "Unsupported operand 103"),
        ("x.bin", b"", "it ends too early"),
        ("x.safetensors", b"garbage", "Error while deserializing header: header too small"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=naming(f"{tmp_path}/{name}: ... ({reason})")):
        read_tensors(tmp_path / name)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1000)}, tmp_path / "x.bin")
    (tmp_path / "x.bin").write_bytes((tmp_path / "x.bin").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"x\.bin: must be a file of tensors, but cannot be read \(Pytorch"):
        read_tensors(tmp_path / "x.bin")


def test_tensors_keep_types_and_order(tmp_path: Path) -> None:
    tensors = {"b": torch.ones(2, dtype=torch.float16), "a": torch.arange(3)}
    torch.save(tensors, tmp_path / "x.bin")
    read = read_tensors(tmp_path / "x.bin")
    assert list(read) == ["b", "a"]
    assert all(read[name].dtype == tensor.dtype and torch.equal(read[name], tensor) for name, tensor in tensors.items())


def test_no_weight_file(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path)
    (directory / "model.safetensors").unlink()
    bert = open_bert(str(directory), "--bert-decoder")
    message = f"--bert-decoder {directory}: holds neither model.safetensors nor pytorch_model.bin"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        _ = bert.tensors


def test_no_such_directory(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=f"^--bert-encoder {missing}: neither a directory with config.json nor"):
        open_bert(str(missing), "--bert-encoder")


def test_directory_without_config(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^--bert-encoder {tmp_path}: has no config.json$"):
        open_bert(str(tmp_path), "--bert-encoder")


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"model_type": "roberta"}, ["model_type ... 'bert' ... 'roberta'"]),
        ({"model_type": None}, ["model_type ... 'bert' ... None"]),
        ({"hidden_act": "relu"}, ["hidden_act ... 'gelu' ... 'relu'"]),
        (
            {"position_embedding_type": "relative_key"},
            ["position_embedding_type ... 'absolute' ... 'relative_key'"],
        ),
        ({"hidden_size": None}, ["hidden_size is missing"]),
        (
            {"model_type": "roberta", "hidden_act": "gelu_new", "num_hidden_layers": None, "intermediate_size": None},
            [
                "model_type ... 'bert' ... 'roberta'",
                "hidden_act ... 'gelu' ... 'gelu_new'",
                "num_hidden_layers is missing",
                "intermediate_size is missing",
            ],
        ),
    ],
)
def test_what_is_not_a_bert(
    changes: dict[str, object],
    problems: list[str],
    tmp_path: Path,
    write_bert: WriteBert,
    edit_config: Callable[..., None],
) -> None:
    directory = write_bert(tmp_path)
    edit_config(directory, **changes)
    with pytest.raises(ValueError, match=naming(f"--bert-encoder {directory}: ... {problems[0]}", *problems[1:])):
        open_bert(str(directory), "--bert-encoder")


def test_old_config_leaves_out_what_bert_always_has(
    tmp_path: Path, write_bert: WriteBert, edit_config: Callable[..., None]
) -> None:
    directory = write_bert(tmp_path)
    edit_config(directory, position_embedding_type=None, layer_norm_eps=None, hidden_act=None)
    bert = open_bert(str(directory), "--bert-encoder")
    assert bert.layer_norm_eps == 1e-12
    assert set(bert.sizes) == set(CONFIG_KEYS)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Requests]:
    """A hub that serves one directory, and what was asked of it; every other way to the network is closed."""
    served, cache = tmp_path / "served", tmp_path / "cache"
    commit = "0123456789abcdef0123456789abcdef01234567"
    requests: Requests = []

    def download(repo_id: str, filename: str, **options: object) -> str:
        requests.append((repo_id, filename))
        if not (served / filename).is_file():
            raise EntryNotFoundError(f"404: {filename}")
        home = cache / f"models--{repo_id.replace('/', '--')}"
        (home / "refs").mkdir(parents=True, exist_ok=True)
        (home / "refs" / "main").write_text(commit)
        copy = home / "snapshots" / commit / filename
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(served / filename, copy)
        return str(copy)

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(transformers.utils.hub, "hf_hub_download", download)
    return served, requests


def test_config_weights_and_tokenizer_come_from_the_hub(hub: tuple[Path, Requests], write_bert: WriteBert) -> None:
    served, requests = hub
    write_bert(served)
    bert = open_bert("bert-base-cased", "--bert-encoder")
    assert requests == [("bert-base-cased", "config.json")]
    assert bert.sizes["embed_dim"] == 32
    requests.clear()
    tensors = bert.tensors
    assert requests == [("bert-base-cased", "model.safetensors")]
    saved = load_file(served / "model.safetensors")
    assert all(torch.equal(tensors[name], tensor) for name, tensor in saved.items())
    requests.clear()
    assert bert.tokenizer.symbols == (served / "vocab.txt").read_text().split()
    assert {repo for repo, _ in requests} == {"bert-base-cased"}
    assert {"tokenizer_config.json", "tokenizer.json", "vocab.txt"} <= {name for _, name in requests}


def test_hub_model_of_before_safetensors(hub: tuple[Path, Requests], write_bert: WriteBert) -> None:
    served, requests = hub
    write_bert(served, old=True)
    bert = open_bert("someone/some-bert", "--bert-encoder")
    assert "bert.embeddings.LayerNorm.gamma" in bert.tensors
    assert requests == [
        ("someone/some-bert", "config.json"),
        ("someone/some-bert", "model.safetensors"),
        ("someone/some-bert", "model.safetensors.index.json"),
        ("someone/some-bert", "pytorch_model.bin"),
    ]


def test_hub_model_without_weights(hub: tuple[Path, Requests], write_bert: WriteBert) -> None:
    served, _ = hub
    (write_bert(served) / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"^--bert-encoder x/y: holds neither model\.safetensors nor"):
        _ = open_bert("x/y", "--bert-encoder").tensors


def test_hub_repository_without_config(hub: tuple[Path, Requests]) -> None:
    with pytest.raises(ValueError, match=r"^--bert-encoder x/y: has no config\.json$"):
        open_bert("x/y", "--bert-encoder")


def test_hub_out_of_reach(hub: tuple[Path, Requests], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*arguments: object, **options: object) -> str:
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(transformers.utils.hub, "hf_hub_download", unreachable)
    with pytest.raises(ValueError, match=r"^--bert-encoder bert-base-cased: neither a directory with config\.json nor"):
        open_bert("bert-base-cased", "--bert-encoder")


def in_shards(directory: Path, suffix: str = "safetensors") -> dict[str, str]:
    """Write the weights of a BERT into two files with an index, as transformers does."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    stem = "model" if suffix == "safetensors" else "pytorch_model"
    files = [f"{stem}-{number:05}-of-00002.{suffix}" for number in (1, 2)]
    places = {name: files[i % 2] for i, name in enumerate(tensors)}
    for file in files:
        part = {name: tensors[name] for name, place in places.items() if place == file}
        save = save_file if suffix == "safetensors" else torch.save
        save(part, directory / file)
    (directory / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_weights_in_shards(suffix: str, tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path / "bert")
    whole = dict(open_bert(str(directory), "--bert-encoder").tensors)
    in_shards(directory, suffix)
    found = open_bert(str(directory), "--bert-encoder").tensors
    assert list(found) == list(whole)
    assert all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    "elsewhere", ["../other.safetensors", "/tmp/other.safetensors", "sub/x.safetensors", ".", "x.py"]
)
def test_an_index_leads_nowhere_else(elsewhere: str, tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path / "bert")
    places = in_shards(directory)
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {**places, next(iter(places)): elsewhere}}))
    with pytest.raises(ValueError, match=rf"^--bert-encoder {directory}: .*names {re.escape(repr(elsewhere))}"):
        _ = open_bert(str(directory), "--bert-encoder").tensors


@pytest.mark.parametrize(
    ("index", "problem"),
    [("[]", "must hold a JSON object"), ("{}", "must hold a weight_map"), ('{"weight_map": {"a": 1}}', "must hold")],
)
def test_a_damaged_index_is_named(index: str, problem: str, tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path / "bert")
    in_shards(directory)
    (directory / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=rf"model\.safetensors\.index\.json: {problem}"):
        _ = open_bert(str(directory), "--bert-encoder").tensors


def test_what_shards_lack_is_named(tmp_path: Path, write_bert: WriteBert) -> None:
    directory = write_bert(tmp_path / "bert")
    places = in_shards(directory)
    index = directory / "model.safetensors.index.json"
    file = next(iter(places.values()))
    index.write_text(json.dumps({"weight_map": {**places, "bert.nowhere": file}}))
    with pytest.raises(ValueError, match=rf"{re.escape(file)} does not hold bert\.nowhere"):
        _ = open_bert(str(directory), "--bert-encoder").tensors
    (directory / file).unlink()
    with pytest.raises(ValueError, match=rf"has no {re.escape(file)}"):
        _ = open_bert(str(directory), "--bert-encoder").tensors
