"""From a checkpoint to a model folder, and back."""

import bz2
import gzip
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bnb_fairseq.cli import convert
from bnb_fairseq.cli import export as command
from bnb_fairseq.folder.manifest import SEARCH, WEIGHTS, Manifest
from bnb_fairseq.generation.ngram import BINARY
from bnb_fairseq.translator import Translator

from ..folder.conftest import exported  # noqa: F401  # a fixture
from ..test_translator import ARPA
from .conftest import SENTENCES

Run = Callable[..., str]
SEARCHING = '{"ctc_beam": 4, "ctc_lm_weight": 2.0, "ctc_token_bonus": 3.0}'


@pytest.fixture
def run(trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Export a checkpoint into ``model``: the line with which the command ends; empty if it succeeds."""

    def start(name: str, *options: object, checkpoint: Path | None = None) -> str:
        line = [
            "--checkpoint",
            checkpoint or trained[name],
            "--data",
            trained[name].parent,
            "--output",
            tmp_path / "model",
        ]
        monkeypatch.setattr(sys, "argv", ["bnb-export", *map(str, (*line, *options))])
        try:
            command.main()
        except SystemExit as end:
            assert not (tmp_path / "model").exists()
            assert not list(tmp_path.glob(".model*"))
            said = str(end.code)
            assert "\n" not in said
            return said.removeprefix("bnb-export: ")
        return ""

    return start


@pytest.fixture
def lm(tmp_path: Path) -> Path:
    pytest.importorskip("kenlm")
    (tmp_path / "lm.arpa").write_text(ARPA)
    return tmp_path / "lm.arpa"


def texts(folder: Path, **options: Any) -> list[str]:
    return [one.text for one in Translator.load(folder).translate(SENTENCES, **options)]


@pytest.mark.parametrize("name", ["ctc", "autoregressive"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_types(name: str, dtype: str, run: Run, trained: dict[str, Path], tmp_path: Path) -> None:
    """Weights are stored in them and translate; nothing in the folder is pickled, and a second export is the same."""
    assert run(name, "--dtype", dtype) == ""
    folder = (tmp_path / "model").rename(tmp_path / "first")
    weights, state = load_file(folder / WEIGHTS), torch.load(trained[name])["model"]
    assert weights.keys() == state.keys()
    kind = getattr(torch, dtype)
    assert all(torch.equal(weights[each], state[each].to(kind)) for each in state)
    found = Translator.load(folder).translate(SENTENCES)
    assert all(one.error is None for one in found)
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.stat().st_mode == (folder / SEARCH).stat().st_mode
            content = path.read_bytes()
            assert not content.startswith(b"PK")  # torch's archives of pickles
            assert path.name == WEIGHTS or not content.startswith(b"\x80")
    assert run(name, "--dtype", dtype, "--name", "first") == ""
    for path in (path.relative_to(folder) for path in folder.rglob("*") if path.is_file()):
        same = (tmp_path / "model" / path).read_bytes() == (folder / path).read_bytes()
        assert same or path.name in ("config.json", "README.md"), path


@pytest.mark.parametrize("name", ["ctc", "refining", "autoregressive"])
def test_way_back(
    name: str,
    exported: dict[str, Path],  # noqa: F811
    trained: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """To a checkpoint with the same tensors and options, and dictionaries that it works with."""
    output = tmp_path / "back" / "model.pt"
    monkeypatch.setattr(sys, "argv", ["bnb-convert", "folder-to-fairseq", str(exported[name]), str(output)])
    assert convert.main() == 0
    assert capsys.readouterr().out.startswith(f"{output}: ")
    before, after = (torch.load(path)["model"] for path in (trained[name], output))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[each], after[each]) for each in before)
    configs = [torch.load(path)["cfg"]["model"] for path in (trained[name], output)]
    for option, value in configs[1].items():
        if option in configs[0] and not option.startswith(("bert", "_", "adam", "save", "tensorboard")):
            assert str(value) == str(configs[0][option]), option
    mine = Translator.load(exported[name]).translate(SENTENCES)
    options: dict[str, Any] = {"max_len_b": 8} if name == "autoregressive" else {}
    for data in (output.parent, trained[name].parent):
        assert Translator.load(output, data=data).translate(SENTENCES, **options) == mine


def test_way_back_leaves_others_dictionaries(
    exported: dict[str, Path],  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "dict.en.txt").write_text("another 1\n")
    for output, said in (
        (tmp_path / "model.pt", f"bnb-convert: {tmp_path}/dict.en.txt must not exist yet, but is another dictionary"),
        (tmp_path, f"bnb-convert: OUT.pt must not be a folder, but is {tmp_path}"),
    ):
        monkeypatch.setattr(sys, "argv", ["bnb-convert", "folder-to-fairseq", str(exported["ctc"]), str(output)])
        with pytest.raises(SystemExit) as end:
            convert.main()
        assert str(end.value.code).startswith(said)
    assert [path.name for path in tmp_path.iterdir()] == ["dict.en.txt"]
    monkeypatch.setattr(sys, "argv", ["bnb-convert", "folder-to-fairseq", str(tmp_path), str(tmp_path / "x.pt")])
    with pytest.raises(SystemExit) as end:
        convert.main()
    assert str(end.value.code).startswith(f"bnb-convert: {tmp_path}/config.json: must be a file of a model folder")


@pytest.mark.parametrize("pack", [None, gzip.compress, bz2.compress])
def test_language_models(pack: Callable[[bytes], bytes] | None, run: Run, lm: Path, tmp_path: Path) -> None:
    """Are in the folder, however they were compressed, and the search uses them."""
    if pack is not None:
        lm.write_bytes(pack(lm.read_bytes()))
    assert run("ctc", "--lm", lm, "--search", SEARCHING) == ""
    assert gzip.decompress((tmp_path / "model" / "lm.arpa.gz").read_bytes()).decode() == ARPA
    found = texts(tmp_path / "model")
    assert found != texts(tmp_path / "model", ctc_lm_weight=0.0)
    assert json.loads((tmp_path / "model" / SEARCH).read_text())["ctc_beam"] == 4


def test_search_from_a_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "search.json"
    path.write_text('{"ctc_beam": 3, "calibration": {"slope": 0.5, "intercept": 0}}')
    assert run("ctc", "--search", path, "--name", "mine", "--license", "mit", "--description", "Of words.") == ""
    assert Translator.load(tmp_path / "model").search["ctc_beam"] == 3
    assert Manifest.read(tmp_path / "model").name == "mine"
    card = (tmp_path / "model" / "README.md").read_text()
    assert 'license: "mit"' in card
    assert "# mine\n\nOf words.\n" in card


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("ctc", ["--lm", "LM"], "--lm .* must stand beside --search with a ctc_lm_weight that is not 0$"),
        (
            "ctc",
            ["--search", '{"ctc_beam": 2, "ctc_lm_weight": 1.0}'],
            "--search: ctc_lm_weight must be 0 without --lm, but is 1.0$",
        ),
        (
            "ctc",
            ["--lm", "LM", "--search", '{"ctc_lm_weight": 1.0}'],
            "--search: decoding: --ctc-lm-path must stand beside",
        ),
        ("ctc", ["--lm", "BINARY", "--search", SEARCHING], "--lm must be an ARPA file, .* is binary"),
        (
            "ctc",
            ["--lm", "OTHER", "--search", SEARCHING],
            "--lm .*other: --ctc-lm-path must be an n-gram model over .* knows none of them",
        ),
        ("ctc", ["--lm", "/missing", "--search", SEARCHING], "--lm must be a file, but there is none at /missing"),
        ("ctc", ["--search", "/missing"], "--search must be JSON or a file of it, but there is no file /missing"),
        ("ctc", ["--search", "{"], "--search must be JSON or a file of it, but is '{': "),
        ("ctc", ["--search", '{"beam": 5}'], "--search: there is no option beam; did you mean ctc_beam?"),
        ("ctc", ["--search", '{"ctc_beam": -5}'], "--search: decoding: --ctc-beam must not be negative, but is -5"),
        (
            "ctc",
            ["--search", '{"ctc_beam": 20000}'],
            "--search: numbers must be at most 10,000, but are ctc_beam 20000",
        ),
        (
            "ctc",
            ["--search", '{"iter_decode_max_iter": 2}'],
            "--search: --iter-decode-max-iter must be 0 for a model tr",
        ),
        (
            "ctc",
            ["--search", '{"calibration": 1}'],
            "--search: calibration must have the numbers slope and intercept, but",
        ),
        (
            "refining",
            ["--search", '{"ctc_beam": 2}'],
            "--search: --ctc-beam must be 0 for a model trained with --length-",
        ),
        ("autoregressive", ["--lm", "LM"], "--lm .* must stand beside --search with a ctc_lm_weight that is not 0$"),
        (
            "autoregressive",
            ["--search", '{"beam": 1, "ctc_token_bonus": 1.0}'],
            "--search: beam must be at least 2, but is 1",
        ),
        (
            "autoregressive",
            ["--search", '{"ctc_beam": 2}'],
            "--search: there is no option ctc_beam; did you mean beam?",
        ),
        ("autoregressive", ["--search", '{"beam": 0}'], "--search: beam must be at least 1, but is 0"),
        ("ctc", ["--name", "a\nb"], "--name must be one line, but is 'a.nb'"),
        ("ctc", ["--license", "a\nb"], "--license must be one line, but is 'a.nb'"),
    ],
)
def test_wrong_combinations(name: str, options: list[str], said: str, run: Run, lm: Path, tmp_path: Path) -> None:
    """Name the option, and leave nothing."""
    (tmp_path / "binary").write_bytes(BINARY + b"\0" * 100)
    (tmp_path / "other").write_text(ARPA.replace("die", "other"))
    files = {"LM": lm, "BINARY": tmp_path / "binary", "OTHER": tmp_path / "other"}
    found = run(name, *(files.get(option, option) for option in options))
    assert re.match(said, found), found


def test_files_that_do_not_fit(run: Run, tmp_path: Path, trained: dict[str, Path]) -> None:
    missing = tmp_path / "missing"
    assert run("ctc", "--data", missing, checkpoint=missing) == (
        f"--data must be a folder made by fairseq-preprocess, but is {missing}; "
        f"--checkpoint must be a file, but there is none at {missing}"
    )
    assert run("ctc", "--output", tmp_path) == ""  # it is empty
    assert "must be a new or empty folder" in run("ctc", "--output", tmp_path)
    (tmp_path / "x.pt").write_bytes(b"no checkpoint")
    assert str(tmp_path / "x.pt") in run("ctc", checkpoint=tmp_path / "x.pt")


def test_an_interruption(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last file leaves nothing."""

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bnb_fairseq.export.model_folder.write_card", interrupt)
    run("ctc")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_a_type_does_not_hold(run: Run, trained: dict[str, Path], tmp_path: Path) -> None:
    state = torch.load(trained["ctc"])
    name = "decoder.head.bias"
    state["model"][name][5] = 1e6
    state["task_state"].pop("tensors")  # their digest; they are others now
    torch.save(state, tmp_path / "large.pt")
    said = run("ctc", "--dtype", "float16", checkpoint=tmp_path / "large.pt")
    assert said == f"--dtype float16 must hold all weights, but {name} has numbers beyond it, or no numbers"
    assert run("ctc", "--dtype", "bfloat16", checkpoint=tmp_path / "large.pt") == ""
