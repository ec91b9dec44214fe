"""bnb-export --onnx as a user runs it, and translating with the folder where torch is not installed."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bnb_fairseq.export.graph import Graph
from bnb_fairseq.export.model_folder import export
from bnb_fairseq.translator import Translator

from ..alike import check_alike
from ..conftest import ROOT
from . import forked
from .conftest import TRAIN, Setting, with_noise

pytest.importorskip("onnxscript")
SEARCH = '{"ctc_beam": 4, "ctc_token_bonus": 1.0, "ctc_lm_weight": 0.3}'
WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "fairseq", "transformers", "onnx", "onnxscript", "safetensors", "hydra"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = ["bnb-translate", *sys.argv[1:]]
from bnb_fairseq.cli.translate import main
main()
"""


class Exported:
    """A folder with a graph and without torch's weights, and what the command printed."""

    def __init__(self, folder: Path, printed: str) -> None:
        self.folder, self.printed = folder, printed


@pytest.fixture(scope="module")
def exported(setting: Setting, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    pytest.importorskip("kenlm")
    folder = tmp_path_factory.mktemp("exported")
    lm = [*("python", "-m", "bnb_fairseq.cli.ngram", str(setting.data_bin)), "--order", "2", "--output", "lm.arpa"]
    forked.run(lm, folder, folder / "log", [str(ROOT)])
    command = ["python", "-m", "bnb_fairseq.cli.export", "--checkpoint", checkpoint, "--data", setting.data_bin]
    command += ["--output", folder / "model", "--lm", folder / "lm.arpa", "--search", SEARCH]
    done = forked.capture(*command, "--onnx", "int8", "--no-torch-weights", "--force")
    assert done.returncode == 0, done.stderr[-3000:]
    return Exported(folder / "model", done.stdout)


def test_what_it_prints_and_writes(exported: Exported) -> None:
    title, head, *rows = exported.printed.splitlines()
    assert title == "model.int8.onnx on 100 sentences of valid"
    assert head.split() == ["equal", "tokens", "BLEU", "torch", "BLEU", "graph", "chrF", "torch", "chrF", "graph"]
    names = [re.split(r"\s{2,}", row.strip()) for row in rows[:2]]
    assert [name for name, *_ in names] == ["one pass", "the folder's search"]
    for _, equal, bleu, of_graph, *_ in names:
        assert 50 < float(equal.rstrip("%")) <= 100
        assert abs(float(bleu) - float(of_graph)) < 5
    files = {path.name for path in exported.folder.rglob("*") if path.is_file()}
    assert "model.safetensors" not in files
    assert {"model.int8.onnx", "config.json", "search.json", "lm.arpa.gz"} <= files
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    assert "With `bnb_fairseq[onnx]` installed:" in card
    assert "`model.int8.onnx`" in card


def translate_without_torch(folder: Path, lines: list[str], *options: str) -> list[str]:
    """A real start, of a process that cannot import torch."""
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder), *options]
    given = "".join(f"{line}\n" for line in lines)
    done = subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize("options", [["--search", "none"], [], ["--engine", "onnx", "--threads", "1", "--nbest", "2"]])
def test_translating_without_torch(options: list[str], exported: Exported, setting: Setting) -> None:
    lines = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()[:20]
    output = translate_without_torch(exported.folder, lines, *options)
    translator = Translator.load(exported.folder, threads=1)
    found = translator.translate(
        lines, search="none" if "none" in options else "auto", nbest=2 if "2" in options else 1
    )
    if "2" in options:
        output = [line.split(" ||| ")[1] for line in output if line]
        texts = [each.text for one in found for each in (one, *one.alternatives)]
    else:
        texts = [one.text for one in found]
    assert output == texts
    assert len(set(texts)) > 5


def test_a_glossary_without_torch(exported: Exported, setting: Setting, tmp_path: Path) -> None:
    """Terms of what the model writes elsewhere: after so short a training other words are too improbable."""
    lines = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()[:20]
    translator = Translator.load(exported.folder, threads=1)
    plain = [one.text for one in translator.translate(lines)]
    words = sorted({word for text in plain for word in re.findall(r"(?<=[a-z])[A-Z][a-z]+", text)})
    terms = {line.split()[0]: words[i % len(words)] for i, line in enumerate(lines)}
    path = tmp_path / "terms.tsv"
    path.write_text("".join(f"{source}\t{wanted}\n" for source, wanted in terms.items()), encoding="utf-8")
    output = translate_without_torch(exported.folder, lines, "--glossary", str(path))
    assert output == [one.text for one in translator.translate(lines, glossary=terms)]
    assert output != plain


def test_torch_is_not_there(exported: Exported) -> None:
    with pytest.raises(ValueError, match=r"must have model.safetensors for engine torch, but was exported without it"):
        Translator.load(exported.folder, engine="torch")


@pytest.mark.slow
def test_a_graph_in_float32_says_the_same(
    setting: Setting, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(checkpoint, setting.data_bin, tmp_path / "model", {}, graph=Graph("float32", True, 0.3))
    lines = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()[:50]
    by_torch = Translator.load(tmp_path / "model", engine="torch").translate(lines)
    by_graph = Translator.load(tmp_path / "model").translate(lines)
    check_alike(dict(enumerate(one.text for one in by_graph)), dict(enumerate(one.text for one in by_torch)))
    pairs = [(one, other) for one, other in zip(by_graph, by_torch, strict=True) if one.text == other.text]
    assert [one.score for one, _ in pairs] == pytest.approx([other.score for _, other in pairs], abs=1e-4)
    monkeypatch.setattr("bnb_fairseq.engines.opening.is_installed", lambda name: False)
    assert type(Translator.load(tmp_path / "model")._engine).__name__ == "NarEngine"


@pytest.fixture(scope="module")
def refining(setting: Setting, fairseq: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A folder of a model that refines, with both graphs and torch's weights."""
    folder = tmp_path_factory.mktemp("refining")
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 1, "--decoder-layers", 1, "--canvas-tokens"]
    fairseq("train", setting.data_bin, *TRAIN, *options, "--max-update", 3, "--save-dir", folder)
    checkpoint = with_noise(folder / "checkpoint_last.pt", "embeddings", 1.0)
    checkpoint = with_noise(checkpoint, "decoder.layers", 0.3)  # so that what the decoder reads at a position counts
    command = ["python", "-m", "bnb_fairseq.cli.export", "--checkpoint", checkpoint, "--data", setting.data_bin]
    done = forked.capture(*command, "--output", folder / "model", "--onnx", "float32")
    assert done.returncode == 0, done.stderr[-3000:]
    return Exported(folder / "model", done.stdout)


def test_refinement_without_torch(refining: Exported, setting: Setting) -> None:
    """Two graphs, compared with torch after a refinement, too; what the page shows is the same."""
    title, _, one_pass, refinement, *_ = refining.printed.splitlines()
    assert title == "encoder.float32.onnx on 100 sentences of valid"
    for row, name in ((one_pass, "one pass"), (refinement, "1 refinement")):
        shown, equal, *_ = re.split(r"\s{2,}", row.strip())
        assert shown == name
        assert float(equal.rstrip("%")) > 99  # near ties fall either way, see check_alike
    names = {path.name for path in refining.folder.glob("*.onnx")}
    assert names == {"encoder.float32.onnx", "decoder.float32.onnx"}
    assert "`decoder.float32.onnx`" in (refining.folder / "README.md").read_text(encoding="utf-8")
    lines = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()[:30]
    by_torch = Translator.load(refining.folder, engine="torch")
    by_graph = Translator.load(refining.folder, engine="onnx", threads=1)
    texts = []
    for passes in (0, 3):
        texts.append([one.text for one in by_torch.translate(lines, iter_decode_max_iter=passes)])
        without_torch = translate_without_torch(refining.folder, lines, "--iter-decode-max-iter", str(passes))
        check_alike(dict(enumerate(without_torch)), dict(enumerate(texts[-1])))
    assert sum(first != last for first, last in zip(*texts, strict=True)) > 3
    found, expected = (
        [[(made.text, [slot[0::2] for slot in made.slots]) for made in one.passes] for (one,) in written]
        for written in (each.canvases(lines, iter_decode_max_iter=3) for each in (by_graph, by_torch))
    )
    check_alike(dict(enumerate(found)), dict(enumerate(expected)))


def test_a_decoder_that_nobody_checked(refining: Exported, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(refining.folder, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["files"]["decoder.float32.onnx"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"decoder\.float32\.onnx: it is not in config\.json"):
        Translator.load(folder, engine="onnx")


def test_a_shortlist(setting: Setting, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few symbols change the texts; all of them are the graph without a shortlist, on the command line, too."""
    monkeypatch.setattr("bnb_fairseq.export.counting.FREQUENT", 20)
    export(checkpoint, setting.data_bin, tmp_path / "short", {}, graph=Graph("float32", False, 100, shortlist=3))
    export(checkpoint, setting.data_bin, tmp_path / "all", {}, graph=Graph("float32", False, 0.3))
    lines = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()[:40]
    short, whole = (Translator.load(tmp_path / name, threads=1) for name in ("short", "all"))
    expected = [one.text for one in whole.translate(lines)]
    assert [one.text for one in short.translate(lines)] != expected
    off = Translator.load(tmp_path / "short", threads=1, shortlist=False)
    assert [one.text for one in off.translate(lines)] == expected
    assert translate_without_torch(tmp_path / "short", lines, "--no-shortlist", "--threads", "1") == expected
    by_command = translate_without_torch(tmp_path / "short", lines, "--threads", "1")
    assert by_command == [one.text for one in short.translate(lines)]


@pytest.mark.slow
def test_a_canvas_that_the_data_decide(
    setting: Setting, fairseq: Callable[..., str], translations: Callable[[str], dict[int, str]], tmp_path: Path
) -> None:
    """fairseq-generate, torch and the graph lay out the canvas that the training has chosen."""
    options = ["--bert-encoder", setting.bert, "--encoder-layers", 2, "--decoder-layers", 2, "--latent-size", 0]
    options += ["--ctc-upsample", "auto", "--max-update", 2, "--disable-validation", "--save-dir", tmp_path]
    log = fairseq("train", setting.data_bin, *TRAIN, *options)
    chosen = re.findall(r"--ctc-upsample auto is --ctc-upsample (\S+) --ctc-extra (\d+)", log)
    checkpoint = with_noise(tmp_path / "checkpoint_last.pt", "embeddings", 1.0)
    stored = torch.load(checkpoint)["cfg"]["model"]
    assert [(f"{stored['ctc_upsample']:g}", str(stored["ctc_extra"]))] == chosen
    assert stored["ctc_extra"] > 0, "else this test shows nothing of it"
    export(checkpoint, setting.data_bin, tmp_path / "model", {}, graph=Graph("float32", True, 0.3))
    lines = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()
    by_graph = [one.text for one in Translator.load(tmp_path / "model").translate(lines)]
    by_torch = [one.text for one in Translator.load(tmp_path / "model", engine="torch").translate(lines)]
    generated = translations(fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 64))
    check_alike(dict(enumerate(by_graph)), dict(enumerate(by_torch)))
    check_alike(dict(enumerate(by_torch)), generated)
    assert len(set(by_torch)) > 30


def test_a_graph_that_loses_too_much_is_not_kept(setting: Setting, checkpoint: Path, tmp_path: Path) -> None:
    """None loses less than -1 BLEU."""
    with pytest.raises(ValueError, match=r"--onnx float32 must lose at most -1 BLEU, but loses .*; --force keeps"):
        export(checkpoint, setting.data_bin, tmp_path / "model", {}, graph=Graph("float32", True, -1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--no-torch-weights"], "--no-torch-weights must stand beside --onnx"),
        (["--force"], "--force must stand beside --onnx"),
        (["--shortlist", "5"], "--shortlist must stand beside --onnx"),
        (["--shortlist", "0", "--onnx", "int8"], "--shortlist must be at least 1, but is 0"),
    ],
)
def test_options_without_a_graph(
    options: list[str], message: str, setting: Setting, checkpoint: Path, tmp_path: Path
) -> None:
    command = ["python", "-m", "bnb_fairseq.cli.export", "--checkpoint", checkpoint, "--data", setting.data_bin]
    done = forked.capture(*command, "--output", tmp_path / "model", *options)
    assert done.returncode == 1
    assert done.stderr == f"bnb-export: {message}\n"
