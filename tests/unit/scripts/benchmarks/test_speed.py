"""The speed benchmark: its clock, its table, its options, and that all systems do the same work."""

import importlib
import json
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bnb_fairseq.evaluation.clock import Timing
from bnb_fairseq.models.bnb_transformer import BnbTransformer

from ....conftest import ROOT

SIZES = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 24, "attention_heads": 2, "positions": 40}
LoadScript = Callable[..., ModuleType]


@pytest.fixture(scope="module")
def benchmark(load_script: LoadScript) -> ModuleType:
    return load_script("speed", "scripts/benchmarks")


@pytest.fixture(scope="module")
def part(benchmark: ModuleType) -> Callable[[str], Any]:
    """One of the modules that the benchmark is made of."""
    return lambda name: importlib.import_module(f"timing.{name}")


@pytest.fixture
def workload(part: Callable[[str], Any]) -> Any:
    return part("workload").Workload("tiny", SIZES, None, 60, 6, 9, "cpu", "float32", 1)


@pytest.mark.slow
def test_all_systems_write_outputs_of_the_wanted_length(part: Callable[[str], Any], workload: Any) -> None:
    pytest.importorskip("ctranslate2")
    pytest.importorskip("kenlm")
    names = []
    for family, builder in part("families").FAMILIES.items():
        for system in builder(workload):
            outcome = system.translate(part("workload").make_sample(system.dictionary, 4, 6))
            names.append(system.name)
            if family.startswith("onnx"):
                check_onnx(system, outcome)
            if system.name == "bnb ctc, one pass":
                assert 6 <= outcome.tokens <= 11, system.name  # merged neighbours vary
            elif system.name == "bnb length, 5 lengths":
                assert 6 <= outcome.tokens <= 11, system.name
            elif family in ("nat", "cmlm") or "length" in system.name:
                assert 6 <= outcome.tokens <= 9, system.name  # a [PAD] that was predicted is dropped
            elif "ctc" not in system.name:
                assert outcome.tokens == 9, system.name
    assert len(names) == len(set(names)) == 32
    assert {part("systems").REFERENCE, "bnb ctc, ONNX int8, 3 decoder layers"} <= set(names)


@pytest.mark.parametrize(
    ("name", "passes"),
    [
        ("bnb length, one pass", 1),
        ("bnb length, 4 refinements", 5),
        ("bert2bert, greedy", 9),
        ("transformer, beam 5", 9),
    ],
)
def test_passes(name: str, passes: int, part: Callable[[str], Any], workload: Any) -> None:
    families = part("families").FAMILIES
    systems = [
        system
        for key in ("bnb-length", "bnb-refinement", "bert2bert", "transformer")
        for system in families[key](workload)
    ]
    (system,) = (system for system in systems if system.name == name)
    assert system.translate(part("workload").make_sample(system.dictionary, 2, 6)).passes == passes


def test_the_floor_is_the_forward_pass(part: Callable[[str], Any], workload: Any) -> None:
    """Its argmax is what one pass decides, before anything is made of it."""
    systems, sample = part("systems"), None
    task = systems.make_task(workload.dictionary(), workload)
    model = systems.ready(systems.bnb_model(workload, task, "length", refines=False), workload)
    sample = part("workload").make_sample(task.source_dictionary, 3, 6)
    seen = []
    model.decoder.head.register_forward_hook(lambda module, inputs, logits: seen.append(logits.whole().argmax(dim=-1)))
    systems.floor("floor", task, model, workload).translate(sample)
    hypotheses = task.inference_step(task.build_generator([model], Namespace()), [model], sample)
    assert seen[0].T.tolist() == [best[0]["tokens"].tolist() for best in hypotheses]


def test_balanced_blank(part: Callable[[str], Any], make_model: Callable[..., BnbTransformer]) -> None:
    model = make_model(ctc_upsample=3.0)
    sample = part("workload").make_sample(model.encoder.dictionary, 8, 10)
    for wanted in (6, 15, 30):
        part("fixed_length").balance_blank(model, sample, wanted)
        blanks = model(**sample["net_input"]).logits.argmax(dim=-1).eq(model.control.blank).float().mean()
        assert float(blanks) == pytest.approx(1 - wanted / 30, abs=0.02)
    with pytest.raises(ValueError, match=r"^--target-tokens must be at most 30, the canvas of a source, but is 31$"):
        part("fixed_length").balance_blank(model, sample, 31)


def test_fixed_length_class(part: Callable[[str], Any], make_model: Callable[..., BnbTransformer]) -> None:
    model = make_model(length_control="length", length_range=6)
    sample = part("workload").make_sample(model.encoder.dictionary, 4, 10)
    for difference in (-6, 0, 4):
        part("fixed_length").fix_length_classes(model, difference)
        assert model.canvas(model.encode(**sample["net_input"])).lengths.tolist() == [10 + difference] * 4
    encoded = model.encode(**sample["net_input"])
    _, canvases = model.canvases(encoded, 5)  # around what the last difference, 4, leads to
    assert [sorted(row) for row in canvases.lengths.view(4, 5).tolist()] == [[12, 13, 14, 15, 16]] * 4
    with pytest.raises(ValueError, match=r"^--target-tokens must be within 6 of --source-tokens, but differs by 7$"):
        part("fixed_length").fix_length_classes(model, 7)


@pytest.mark.parametrize(("limit", "largest"), [(300, 256), (64, 64), (16, 16)])
def test_largest_batch_on_a_cpu_is_the_limit(limit: int, largest: int, part: Callable[[str], Any]) -> None:
    assert part("memory").largest_batch(None, 6, "cpu", limit) == largest


def test_largest_batch_on_a_gpu_is_the_last_that_fitted(part: Callable[[str], Any]) -> None:
    tried = []

    def translate(sample: Any) -> None:
        tried.append(sample["nsentences"])
        if sample["nsentences"] > 200:
            raise torch.OutOfMemoryError

    system = part("systems").System("x", part("workload").plain_dictionary(30), translate)
    assert part("memory").largest_batch(system, 6, "cuda", 4096) == 128
    assert tried == [64, 128, 256]


def test_peak_memory_counts_what_translating_takes(part: Callable[[str], Any], workload: Any) -> None:
    held = []

    def system(megabytes: int) -> Any:
        def translate(sample: Any) -> None:
            held.append(torch.ones(megabytes << 18).sum())

        return part("systems").System("x", part("workload").plain_dictionary(30), translate)

    small, large = (part("memory").peak_memory(system(size), 1, 6, "cpu") for size in (1, 401))
    assert large - small == pytest.approx(400 * 1.048576, abs=30)


def check_onnx(system: Any, outcome: Any) -> None:
    assert 0 < system.size < 1
    assert outcome.passes == 1
    assert 3 < outcome.tokens <= 12


def test_onnx_runtime_does_the_work(part: Callable[[str], Any], workload: Any) -> None:
    pytest.importorskip("onnxscript")
    (system,) = part("families").FAMILIES["onnx-int8-shortlist"](workload)
    assert system.name == "bnb ctc, ONNX int8, shortlist of 3,000"
    check_onnx(system, system.translate(part("workload").make_sample(system.dictionary, 3, 6)))


def results(part: Callable[[str], Any]) -> list[Any]:
    report, timing, outcome = part("report"), Timing, part("systems").Outcome
    rows = [
        report.Row(
            "bnb",
            {"1": timing(1, [0.02, 0.01, 0.03], outcome(9, 1)), "largest": timing(64, [0.5], outcome(9, 1))},
            1234.4,
            180.2,
        ),
        report.Row(
            "bert2bert, beam 5",
            {"1": timing(1, [0.5], outcome(9, 9)), "largest": timing(32, [4.0], outcome(9, 9))},
            None,
        ),
        report.Row("too large", {"1": None, "largest": None}, None),
    ]
    return [report.Result("tiny", "float32", rows)]


def test_table(part: Callable[[str], Any]) -> None:
    lines = part("report").table(results(part)[0]).splitlines()
    assert lines[0].count("|") == 11
    assert lines[2] == "| bnb | 1 | 1,234 | 180 | 20.0 ±50% | 50.0 | 25.0 | 7.8 ±0% (64) | 128.0 | 16.0 |"
    assert lines[3] == "| bert2bert, beam 5 | 9 | - | - | 500.0 ±0% | 2.0 | 1.0 | 125.0 ±0% (32) | 8.0 | 1.0 |"
    assert lines[4] == "| too large | - | - | - | - | - | - | - | - | - |"


def test_json_holds_every_run(part: Callable[[str], Any]) -> None:
    written = json.loads(part("report").as_json(results(part), {"threads": 2}))
    assert written["settings"] == {"threads": 2}
    first = written["systems"][0]
    assert (first["size"], first["precision"], first["system"]) == ("tiny", "float32", "bnb")
    assert first["batches"]["1"] == {"batch": 1, "seconds": [0.02, 0.01, 0.03], "tokens": 9, "passes": 1}
    assert written["systems"][2]["batches"]["1"] is None


PAGE = """
## Speed

| one pass is so many times as fast as | batch 1 |
|---|---:|
| other | 7.3 |

### tiny, float32

| system | passes | batch 8: ms/sentence | sentences/s | ratio | batch largest: ms/sentence | sentences/s | ratio |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| bnb | 1 | 20.0 ±50% | 50.0 | 2.5 | 2.5 ±0% (64) | 400.0 | 16.0 |
| too large | 1 | 50.0 ±0% | 20.0 | 1.0 | - | - | - |

| another | 3 |
"""


def test_picture_s_curves_are_those_of_the_tables(part: Callable[[str], Any]) -> None:
    (panel,) = part("picture").read_panels(PAGE)
    assert panel.title == "tiny, float32"
    assert panel.curves == {"bnb": [(8, 50.0), (64, 400.0)], "too large": [(8, 20.0)]}
    written = "### tiny, float32\n\n" + part("report").table(results(part)[0])
    curves = part("picture").read_panels(written)[0].curves
    assert curves == {"bnb": [(1, 50.0), (64, 1000 / 7.8)], "bert2bert, beam 5": [(1, 2.0), (32, 8.0)], "too large": []}


def test_picture_shows_six_systems_the_usual_ones_first(part: Callable[[str], Any]) -> None:
    usual = part("picture").FIRST
    assert part("picture").choose(["a", *reversed(usual), "b"]) == list(usual)
    assert part("picture").choose(["a", *usual[4:], "b", "c", "d", "e"]) == [*usual[4:], "a", "b", "c", "d"]


def test_usual_systems_of_a_picture_are_measured(part: Callable[[str], Any]) -> None:
    """And stand in the tables of the documentation, one panel each."""
    page = (ROOT / "docs" / "results" / "speed-cpu.md").read_text(encoding="utf-8")
    panels = part("picture").read_panels(page)
    assert [panel.title for panel in panels] == ["Six layers of width 384, float32", "bert-base, float32"]
    for panel in panels:
        assert set(part("picture").FIRST) <= set(panel.curves)
        assert [batch for batch, _ in panel.curves["bnb ctc, one pass"]] == [1, 8, 32, 64]


def test_draw(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    line = ["speed.py", "--draw", str(tmp_path / "page.md"), str(tmp_path / "speed.png")]
    monkeypatch.setattr("sys.argv", line)
    benchmark.main()
    assert (tmp_path / "speed.png").read_bytes()[:4] == b"\x89PNG"
    (tmp_path / "page.md").write_text("no table", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^speed: --draw needs"):
        benchmark.main()
    (tmp_path / "page.md").unlink()
    with pytest.raises(SystemExit, match=r"^speed: .*page\.md"):
        benchmark.main()


def test_presets_can_be_overridden(benchmark: ModuleType) -> None:
    options = benchmark.parse(["--device", "cpu", "--preset", "full", "--runs", "2"])
    assert (options.runs, options.batches, len(options.sizes)) == (2, ["1", "8", "32", "largest"], 2)
    assert options.precisions == ["float32"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runs", "0"], "--runs must be at least 1, but is 0"),
        (["--threads", "-1"], "--threads must be at least 1, but is -1"),
        (["--target-tokens", "2"], "--target-tokens must be at least 3, but is 2"),
        (["--batches", "1", "x", "0"], "--batches must be positive numbers or 'largest', but has x, 0"),
        (["--memory-batch", "-1"], "--memory-batch must not be negative, but is -1"),
        (["--systems", "nothing"], "invalid choice: 'nothing'"),
    ],
)
def test_bad_options(
    arguments: list[str], message: str, benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.parse(["--device", "cpu", *arguments])
    assert message in capsys.readouterr().err


def test_unknown_size(part: Callable[[str], Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^--sizes must be bert-base or directories that hold a BERT, but has 'large'$"
    ):
        part("workload").make_workload("large", (6, 9), "cpu", "float32", 1)


def test_unknown_size_ends_with_a_message(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["speed.py", "--device", "cpu", "--sizes", "large"])
    with pytest.raises(SystemExit, match=r"^speed: --sizes must be bert-base or directories"):
        benchmark.main()


def test_missing_bert_is_fetched(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(command: list[str], **_: object) -> None:
        assert Path(command[1]).is_file()
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["speed.py", "--device", "cpu"])
    monkeypatch.setattr(benchmark.subprocess, "run", fail)
    with pytest.raises(SystemExit, match=r"^speed: Command .*fetch_bert\.py', 'demo/bert'\]' returned non-zero"):
        benchmark.main()


def test_figures_are_written_after_every_size(
    benchmark: ModuleType, part: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finished,) = results(part)
    arguments = [
        "speed.py",
        "--device",
        "cpu",
        "--sizes",
        "bert-base",
        "bert-base",
        "--output",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    calls = iter([finished])
    monkeypatch.setattr(benchmark, "measure", lambda workload, options: next(calls))
    with pytest.raises(StopIteration):  # the second size fails
        benchmark.main()
    assert part("report").table(finished) in (tmp_path / "table.md").read_text(encoding="utf-8")
    assert len(json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["systems"]) == 3
