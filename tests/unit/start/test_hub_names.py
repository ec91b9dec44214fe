"""A BERT by its HuggingFace name, fetched by huggingface_hub's own code from a hub that runs on this computer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import NamedTuple

import pytest
from safetensors.torch import load_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
READ = """
import json, sys
from bnb_fairseq.data.dictionary import load_dictionary
from bnb_fairseq.start.bert_checkpoint import open_bert

bert = open_bert("bert-base-cased", "--bert-encoder")
found = {
    "layers": bert.sizes["layers"],
    "sums": {name: tensor.double().sum().item() for name, tensor in bert.tensors.items()},
    "bert": bert.tokenizer.symbols,
    "dictionary": load_dictionary("bert-base-cased").symbols,
}
print("found" + json.dumps(found))
"""


class Hub(NamedTuple):
    """Its address, the folder that it serves as ``bert-base-cased``, and the files that were downloaded."""

    address: str
    folder: Path
    downloads: list[str]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    folder, downloads = tmp_path / "served", list[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            repository, _, name = self.path.lstrip("/").partition("/resolve/main/")
            file = folder / name
            if repository != "bert-base-cased" or not name or not file.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            content = file.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{name}"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                downloads.append(name)
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield Hub(f"http://127.0.0.1:{server.server_port}", folder, downloads)
    server.shutdown()
    server.server_close()


def read_by_name(hub: Hub, cache: Path) -> dict[str, object]:
    line = [sys.executable, "-c", READ]
    proxies = {name: "" for name in os.environ if name.lower().endswith("_proxy")}
    variables = {**os.environ, **proxies, "HF_ENDPOINT": hub.address, "HF_HOME": str(cache)}
    done = subprocess.run(line, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout.split("found", 1)[1])
    return found


def test_bert_by_name(hub: Hub, write_bert: Callable[..., Path], tmp_path: Path) -> None:
    write_bert(hub.folder, num_hidden_layers=3)
    found = read_by_name(hub, tmp_path / "cache")
    assert {"config.json", "model.safetensors", "vocab.txt"} <= set(hub.downloads)
    assert len(hub.downloads) == len(set(hub.downloads))
    tensors = load_file(hub.folder / "model.safetensors")
    vocabulary = (hub.folder / "vocab.txt").read_text(encoding="utf-8").split()
    assert found == {
        "layers": 3,
        "sums": {name: tensor.double().sum().item() for name, tensor in tensors.items()},
        "bert": vocabulary,
        "dictionary": vocabulary,
    }
