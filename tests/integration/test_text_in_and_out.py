"""Text comes out as it went in: a cased vocabulary, its spaces, and references with unknown words."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import sacrebleu
from tokenizers import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer

from .conftest import TRAIN, Command

Write = Callable[[Path, Sequence[str]], Path]
Data = Callable[[str, int], list[tuple[str, str]]]
PARTS = {"train": 1000, "valid": 50, "test": 100}
UNKNOWN = "Kyrillisch: \u0416\u0419, hier."  # no letter of it is in the vocabulary
SIZES = ["--encoder-layers", 1, "--decoder-layers", 1]
SIZES += [
    word for side in ("encoder", "decoder") for word in (f"--{side}-embed-dim", 16, f"--{side}-attention-heads", 2)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_data: Data, write: Write, fairseq: Command) -> Path:
    """A vocabulary whose case only ``tokenizer.json`` tells, and a data-bin folder of German on both sides."""
    folder = tmp_path_factory.mktemp("text")
    for part, pairs in PARTS.items():
        lines = [target for _, target in small_data(part, pairs)]
        lines = [*lines, UNKNOWN] if part == "test" else lines
        for language in ("en", "de"):
            write(folder / f"{part}.{language}", lines)
    tokenizer = BertWordPieceTokenizer(lowercase=False)
    tokenizer.train(str(folder / "train.de"), vocab_size=1000, show_progress=False)
    tokenizer._tokenizer.normalizer = BertNormalizer(lowercase=False)
    (folder / "bert").mkdir()
    tokenizer._tokenizer.save(str(folder / "bert" / "tokenizer.json"))
    preprocess(fairseq, folder, "bin", str(folder / "bert"))
    train(fairseq, folder, "bin", "checkpoint")
    return folder


def preprocess(fairseq: Command, folder: Path, name: str, vocabulary: str, *options: str) -> str:
    parts = [word for part in PARTS for word in (f"--{part}pref", folder / part)]
    dictionaries = ["--srcdict", vocabulary, "--tgtdict", vocabulary]
    return fairseq("preprocess", "-s", "en", "-t", "de", *parts, *dictionaries, "--destdir", folder / name, *options)


def train(fairseq: Command, folder: Path, data: str, save: str, *options: str | Path, fails: bool = False) -> str:
    more = ["--max-update", 1, "--disable-validation", "--save-dir", folder / save, *options]
    return fairseq("train", folder / data, *TRAIN, *SIZES, *more, fails=fails)


def generate(
    fairseq: Command, folder: Path, data: str = "bin", fails: bool = False, checkpoint: str = "checkpoint"
) -> str:
    path = folder / checkpoint / "checkpoint_last.pt"
    return fairseq("generate", folder / data, "--path", path, "--scoring", "sacrebleu", "--batch-size", 32, fails=fails)


def lines_of(output: str, tag: str) -> list[str]:
    found = [line[2:].split("\t") for line in output.splitlines() if line.startswith(f"{tag}-")]
    return [line[-1] for line in sorted(found, key=lambda line: int(line[0]))]


def test_references_are_raw_text_and_sources_have_case_accents_and_spaces(folder: Path, fairseq: Command) -> None:
    output = generate(fairseq, folder)
    raw = (folder / "test.de").read_text(encoding="utf-8").splitlines()
    assert lines_of(output, "T") == raw
    bleu = sacrebleu.corpus_bleu(lines_of(output, "D"), [raw])
    assert f"BLEU = {bleu.score:.2f} " in output
    sources = lines_of(output, "S")
    assert "[UNK]" in sources[-1]
    pairs = [(source, text) for source, text in zip(sources, raw, strict=True) if "[UNK]" not in source]
    assert len(pairs) > 90
    assert all("".join(source.split()) == "".join(text.split()) for source, text in pairs)
    assert sum(source == text for source, text in pairs) > 85
    assert any(text != text.lower() for _, text in pairs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lower_case", "config"),
    [
        (False, {"tokenizer_class": "BertTokenizer"}),
        (True, None),
        (True, {"do_lower_case": True, "strip_accents": False}),
    ],
    ids=["cased", "umlauts", "strip_accents"],
)
def test_letters_are_those_of_the_text(
    lower_case: bool, config: dict[str, object] | None, folder: Path, fairseq: Command, tmp_path: Path
) -> None:
    """Of BERTs whose files say nothing of case, nothing at all, or that accents stay."""
    tokenizer = BertWordPieceTokenizer(lowercase=lower_case, strip_accents=False)
    tokenizer.train(str(folder / "train.de"), vocab_size=1000, show_progress=False)
    tokenizer.save_model(str(tmp_path))
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    name = tmp_path.name
    preprocess(fairseq, folder, name, str(tmp_path))
    train(fairseq, folder, name, f"{name}-checkpoint")
    output = generate(fairseq, folder, name, checkpoint=f"{name}-checkpoint")
    raw = (folder / "test.de").read_text(encoding="utf-8").splitlines()
    assert lines_of(output, "T") == raw
    read = [text.lower() if lower_case else text for text in raw]
    pairs = [(source, text) for source, text in zip(lines_of(output, "S"), read, strict=True) if "[UNK]" not in source]
    assert len(pairs) > 90
    assert ["".join(source.split()) for source, _ in pairs] == ["".join(text.split()) for _, text in pairs]
    assert any("\u00e4" in source for source, _ in pairs)


def test_a_folder_of_an_earlier_version_writes_references_from_ids(folder: Path, fairseq: Command) -> None:
    kept = folder / "bin" / "test.en-de.de.txt"
    moved = kept.rename(folder / "kept")
    try:
        output = generate(fairseq, folder)
    finally:
        moved.rename(kept)
    assert "<[UNK]>" in lines_of(output, "T")[-1]
    assert [text.replace("<[UNK]>", "[UNK]") for text in lines_of(output, "T")] == lines_of(output, "S")


@pytest.mark.slow
def test_data_split_in_another_way_are_refused(folder: Path, fairseq: Command) -> None:
    """One vocabulary, read in small letters here and as it is there: no id is out of range."""
    preprocess(fairseq, folder, "lower", f"{folder / 'bert'}:lower_case=true")
    told = [str(folder / "lower" / "dict.en.txt"), str(folder / "bin" / "dict.en.txt"), "tokenizers"]
    checkpoint = folder / "checkpoint" / "checkpoint_last.pt"
    outputs = [generate(fairseq, folder, "lower", fails=True)]
    for option in ("--restore-file", "--finetune-from-model"):
        outputs.append(train(fairseq, folder, "lower", "other", option, checkpoint, fails=True))
    outputs.append(train(fairseq, folder, "lower", "checkpoint", fails=True))
    for output in outputs:
        assert all(words in output for words in told)
    pretrained = train(fairseq, folder, "lower", "pretrained", "--pretrained-checkpoint", checkpoint)
    assert all(words in pretrained for words in told)  # a warning: its dictionaries may be others


def test_a_test_set_with_the_trainings_dictionary_has_its_spaces(folder: Path, fairseq: Command) -> None:
    parts = ["--testpref", folder / "test", "--destdir", folder / "test-bin"]
    dictionaries = ["--srcdict", folder / "bin" / "dict.en.txt", "--tgtdict", folder / "bin" / "dict.de.txt"]
    fairseq("preprocess", "-s", "en", "-t", "de", *parts, *dictionaries)
    assert lines_of(generate(fairseq, folder, "test-bin"), "S") == lines_of(generate(fairseq, folder), "S")
