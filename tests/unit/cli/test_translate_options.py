"""How the options of ``bnb-translate`` reach the translator, and what is imported before."""

import argparse
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from bnb_fairseq.bulk.kept import alone
from bnb_fairseq.bulk.run import Settings
from bnb_fairseq.cli import command, translate

from ...facts import named, names, says
from ..bulk import fake_translator
from ..bulk.fake_translator import FakeTranslator


def parse(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    translate.add_options(parser)
    return parser.parse_args(list(map(str, words)))


def settings(*words: object) -> Settings:
    return translate.make_settings(parse("model", *words))


def test_the_folder_decides_by_default() -> None:
    assert settings() == Settings("plain", 1, "error", 4000, {})
    assert settings("--search", "auto") == settings()


def test_options_of_the_search() -> None:
    search = {"ctc_beam": 0, "ctc_lm_weight": 0.5, "ctc_token_bonus": -1.0, "ctc_blank_penalty": 0.7}
    search["iter_decode_max_iter"] = 3
    given = [word for name, value in search.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert settings(*given).options == search
    assert settings("--search", "none", "--batch-tokens", 100).options == {"search": "none", "batch_tokens": 100}


def test_forms() -> None:
    assert settings("--nbest", 3) == Settings("nbest", 3)
    assert settings("--nbest", 3, "--jsonl", "--flush") == Settings("jsonl", 3, window=1, options={"alignment": True})
    assert settings("--jsonl", "--too-long", "copy", "--window", 7) == Settings(
        "jsonl", 1, "copy", 7, {"alignment": True}
    )


def test_glossary(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("\ufeffopen file\tDatei öffnen\r\n\n cell \t Zelle\ncell\tZelle\n", encoding="utf-8")
    assert settings("--glossary", path).options == {"glossary": {"open file": "Datei öffnen", "cell": "Zelle"}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\tb\nc\n", "line 2 must be a term, a tab and its translation: 'c'"),
        ("a\tb\tc\n", "line 1 must be a term, a tab and its translation: 'a\\tb\\tc'"),
        ("a\t\n", "line 1 must be a term, a tab and its translation: 'a\\t'"),
        ("a\tb\na\tc\n", "line 2: 'a' has a translation already, 'b'"),
    ],
)
def test_bad_glossaries(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text(text)
    with pytest.raises(ValueError, match="--glossary") as caught:
        settings("--glossary", path)
    assert str(caught.value) == f"--glossary {path}, {said}"


def test_a_glossary_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "terms.tsv").write_bytes(b"a\t\xff\n")
    with pytest.raises(ValueError, match=r"--glossary .* must be UTF-8: .*byte 0xff"):
        settings("--glossary", tmp_path / "terms.tsv")


def test_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    made: list[FakeTranslator] = []

    class Kept(FakeTranslator):
        @classmethod
        def load(cls, *given: Any, **named: Any) -> FakeTranslator:
            made.append(super().load(*given, **named))
            return made[-1]

    module = types.ModuleType("bnb_fairseq.translator")
    monkeypatch.setattr(module, "Translator", Kept, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    (tmp_path / "model").touch()
    (tmp_path / "in").write_bytes(b"a\n")
    words = [tmp_path, "--input", tmp_path / "in", "--engine", "onnx", "--device", "cuda", "--threads", 2, "--nbest", 2]
    words.append("--no-shortlist")
    assert translate.run(parse(*words)) == 0
    assert made[0].loaded == (tmp_path, "onnx", "cuda", 2, False)
    assert made[0].options == {"nbest": 2}
    assert capfdbinary.readouterr().out == b"0 ||| A ||| -0.250000\n0 ||| A1 ||| -1.000000\n"


def test_zstandard_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "in.zst").touch()
    faults = translate.find_faults(parse(tmp_path, "--input", tmp_path / "in.zst"))
    path = tmp_path / "in.zst"
    assert faults == [f"--input {path} needs the package zstandard (pip install zstandard), but it is missing"]


def test_refusals_of_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    for name in ("in/a.txt", "in/b.txt", "in/deep/a.txt", "in/c.zst"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    inside, output = tmp_path / "in", ("--output", tmp_path / "out")

    def refused(*words: object) -> str:
        (fault,) = translate.find_faults(parse(tmp_path, *words))
        return fault

    assert translate.find_faults(parse(tmp_path, "--input", inside / "*.txt", *output)) == []
    assert named(refused("--input", inside / "*.md", *output), "--input", inside / "*.md")
    assert named(refused("--input", inside / "**" / "a.txt", *output), "--input", "a.txt", "2")
    assert named(refused("--input", inside / "*.txt"), "--output", "None")
    assert named(refused("--input", inside / "*.txt", "--output", inside / "b.txt"), "--output", inside / "b.txt")
    assert named(refused("--input", inside / "*.txt", "--output", inside), "--output", inside)
    assert named(refused("--input", inside / "*.txt", *output, "--flush"), "--flush")
    cluster = ("--input", inside / "b.txt", *output, "--engine-cluster", "ray")
    assert named(refused(*cluster), "--engine-cluster", "ray", "bnb_fairseq[ray]")
    assert named(refused("--input", inside / "*.txt", *output, "--actors", 2), "--actors", "--engine-cluster", "2")
    assert named(refused("--input", inside / "*.txt", *output, "--address", "auto"), "--address", "auto")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    assert named(refused("--input", inside / "*", *output), "--input", "zstandard")


def test_one_process_at_a_time_fills_a_folder(tmp_path: Path) -> None:
    for name in ("in/a.txt", "in/b.txt", "config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    given = parse(tmp_path, "--input", tmp_path / "in" / "*.txt", "--output", tmp_path / "out")
    folder = tmp_path / "out" / ".shards"
    with alone(folder), pytest.raises(ValueError, match=names("--output", "one process", folder)):
        translate.run(given)
    assert list(folder.iterdir()) == []


def test_a_name_with_a_bracket_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").touch()
    given = ("--input", tmp_path / "a[1].txt", "--output", tmp_path / "out.txt")
    assert translate.find_faults(parse(tmp_path, *given)) == []
    assert not translate._has_files(parse(tmp_path, *given))


def test_what_a_run_wrote_is_no_input_when_it_goes_on(tmp_path: Path) -> None:
    """The pattern finds it where the folder of translations lies below that of the input."""
    source, output = tmp_path / "in" / "a.txt", tmp_path / "out"
    for path in (source, output / "a.txt"):
        path.parent.mkdir()
        path.touch()
    given = parse(tmp_path, "--input", tmp_path / "**" / "*.txt", "--output", output)
    assert says("; ".join(translate.find_faults(given)), "--input ... a.txt is the name of 2; --output ... another")
    (output / ".shards").mkdir()
    assert translate.find_faults(given) == []
    assert translate.list_sources(given.input, output) == [source]


def test_nothing_slow_is_imported_before_the_arguments_are_checked(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(fake_translator.__file__).parent)!r})\n"
        "import fake_translator\n"
        "try:\n    fake_translator.main()\n"
        "except SystemExit as end:\n    print(end.code)\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    line = [sys.executable, "-c", program, str(tmp_path / "missing")]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    said, imported = done.stdout.splitlines()
    assert said.startswith("bnb-translate: FOLDER must be ")
    assert "bnb_fairseq" in imported
    assert not [name for name in ("torch", "fairseq", "transformers", "numpy", "omegaconf") if f"'{name}'" in imported]
