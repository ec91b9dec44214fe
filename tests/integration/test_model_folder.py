"""Model folders: exported, they translate line by line as fairseq's commands do with checkpoint and data-bin folder."""

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from bnb_fairseq.translator import Translation, Translator

from ..alike import check_alike
from ..squad_files import make_articles, write_squad
from . import forked
from .conftest import TRAIN, Setting, make_bert, with_noise

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
Write = Callable[[Path, Sequence[str]], Path]
Options = dict[str, Any]
CTC = ("--encoder-layers", 2, "--decoder-layers", 2, "--max-update", 2)
MODELS: dict[str, tuple[object, ...]] = {
    "canvas-tokens": ("--canvas-tokens",),
    "latent": ("--latent-size", 8),
    "vae": ("--latent-size", 8, "--latent", "vae", "--ctc-blank", "mask"),
    "fixed-canvas": ("--ctc-canvas-length", 120, "--ctc-blank", "pad"),
    "untied-repeat": ("--untie-output", "--ctc-canvas", "repeat", "--ctc-upsample", 2.5),
    "length": ("--length-control", "length"),
    "length-canvas-tokens": ("--length-control", "length", "--canvas-tokens"),
}
LONGEST = 30
SEARCH: Options = {"ctc_beam": 5, "ctc_lm_weight": 0.5, "ctc_token_bonus": 1.0}


class Place(NamedTuple):
    """A checkpoint, the data-bin folder of its training, and the source text of its test part."""

    checkpoint: Path
    data_bin: Path
    sources: Path
    task: str = "translation_bnb"


def run(*words: object, stdin: str = "") -> str:
    """Run a command of the package: what it prints."""
    done = forked.capture(*words, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def export(place: Place, folder: Path, *options: object) -> Path:
    """Write a model folder; the table of its files is what is there."""
    printed = run(
        "bnb-export", "--checkpoint", place.checkpoint, "--data", place.data_bin, "--output", folder, *options
    )
    found = sorted(str(path) for path in folder.rglob("*") if path.is_file())
    assert [line.split()[2] for line in printed.splitlines()] == found
    return folder


def words_of(options: Options) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def translated(folder: Path, place: Place, *options: object) -> dict[int, str]:
    """Translate the test part with ``bnb-translate``: its lines by number."""
    text = place.sources.read_text(encoding="utf-8")
    lines = run("bnb-translate", folder, *options, stdin=text).split("\n")
    assert lines.pop() == ""
    assert len(lines) == text.count("\n")
    return dict(enumerate(lines))


def listed(folder: Path, place: Place, *options: object) -> dict[int, list[str]]:
    """Translate the test part with ``bnb-translate --nbest``: the texts by number."""
    found: dict[int, list[str]] = {}
    for line in translated_lines(folder, place, *options):
        number, text, score = line.split(" ||| ")
        assert float(score) <= 0
        found.setdefault(int(number), []).append(text)
    return found


def translated_lines(folder: Path, place: Place, *options: object) -> list[str]:
    text = place.sources.read_text(encoding="utf-8")
    return run("bnb-translate", folder, *options, stdin=text).removesuffix("\n").split("\n")


def several(output: str) -> dict[int, list[str]]:
    """Collect the ``D-`` lines of n-best lists by sentence number."""
    found: dict[int, list[str]] = {}
    for number, text in re.findall(r"(?m)^D-(\d+)\t\S+\t(.*)$", output):
        found.setdefault(int(number), []).append(text)
    return found


def in_python(translator: Translator, place: Place, **options: Any) -> list[Translation]:
    return translator.translate(place.sources.read_text(encoding="utf-8").splitlines(), **options)


def check_other_ways(folder: Path, place: Place, expected: dict[int, str], **options: Any) -> Translator:
    """Demand the same of the checkpoint with its data-bin folder, and of the way back to a checkpoint."""
    translator = Translator.load(folder)
    mine = in_python(translator, place, **options)
    check_alike({i: one.text for i, one in enumerate(mine)}, expected)
    direct = Translator.load(place.checkpoint, data=place.data_bin)
    assert direct.longest == translator.longest
    assert in_python(direct, place, **options) == mine
    back = folder.parent / f"{folder.name}-back" / "model.pt"
    run("bnb-convert", "folder-to-fairseq", folder, back)
    before, after = (torch.load(path)["model"] for path in (place.checkpoint, back))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for data in (place.data_bin, back.parent):
        assert in_python(Translator.load(back, data=data), place, **options) == mine
    return translator


@pytest.fixture(scope="module")
def ctc(setting: Setting, checkpoint: Path) -> Place:
    return Place(checkpoint, setting.data_bin, setting.text / "test.en")


@pytest.fixture(scope="module")
def lm(setting: Setting, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lm") / "lm.arpa"
    run("bnb-ngram", setting.data_bin, "--order", 3, "--output", path)
    return path


def test_ctc(
    ctc: Place, lm: Path, fairseq: Command, translations: Translations, tmp_path: Path, setting: Setting
) -> None:
    """One pass, the folder's search with a language model, fairseq-interactive, a checkpoint from the folder."""
    folder = export(ctc, tmp_path / "model", "--lm", lm, "--search", json.dumps(SEARCH))
    arguments = [ctc.data_bin, "--path", ctc.checkpoint, "--batch-size", 64]
    one_pass = translations(fairseq("generate", *arguments))
    assert len(set(one_pass.values())) > 30, "the model's outputs are too much alike for this test"
    check_alike(translated(folder, ctc, "--search", "none"), one_pass)
    found = translated(folder, ctc)
    check_alike(found, translations(fairseq("generate", *arguments, *words_of(SEARCH), "--ctc-lm-path", lm)))
    assert found != one_pass
    text = ctc.sources.read_text(encoding="utf-8")
    typed = translations(fairseq("interactive", *arguments, "--buffer-size", 400, stdin=text))
    check_alike(translated(folder, ctc, "--ctc-beam", 0), typed)
    check_other_ways(folder, ctc, one_pass, search="none")
    back = tmp_path / "model-back" / "model.pt"
    output = fairseq("generate", ctc.data_bin, "--path", back, "--batch-size", 64)
    assert translations(output) == one_pass


@pytest.mark.slow
def test_searches(ctc: Place, lm: Path, fairseq: Command, translations: Translations, tmp_path: Path) -> None:
    folder = export(ctc, tmp_path / "plain")
    plain, rows = translated_lines(folder, ctc), [json.loads(line) for line in translated_lines(folder, ctc, "--jsonl")]
    assert [row["text"] for row in rows] == plain
    assert all(len(row["confidence"]) == len(row["tokens"]) for row in rows)
    assert all(len(row["alignment"]) == len(row["text"].split()) for row in rows)
    arguments = [ctc.data_bin, "--path", ctc.checkpoint, "--batch-size", 64]
    for options in ({"ctc_beam": 5}, {"ctc_beam": 5, "ctc_token_bonus": 2.0}):
        expected = translations(fairseq("generate", *arguments, *words_of(options)))
        check_alike(translated(folder, ctc, *words_of(options)), expected)
    check_alike(listed(folder, ctc, "--nbest", 3), several(fairseq("generate", *arguments, "--nbest", 3)))
    folder = export(ctc, tmp_path / "search", "--lm", lm, "--search", json.dumps(SEARCH))
    output = fairseq("generate", *arguments, *words_of(SEARCH), "--ctc-lm-path", lm, "--nbest", 3)
    check_alike(listed(folder, ctc, "--nbest", 3), several(output))
    changed = {**SEARCH, "ctc_lm_weight": 0.2, "ctc_token_bonus": 0.0}
    expected = translations(fairseq("generate", *arguments, *words_of(changed), "--ctc-lm-path", lm))
    check_alike(translated(folder, ctc, "--ctc-lm-weight", 0.2, "--ctc-token-bonus", 0), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models(
    name: str, setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path, write: Write
) -> None:
    train = [setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *CTC, *MODELS[name], "--disable-validation"]
    fairseq("train", *train, "--save-dir", tmp_path)
    sources = setting.text / "test.en"
    place = Place(with_noise(tmp_path / "checkpoint_last.pt", "embeddings", 1.0), setting.data_bin, sources)
    folder = export(place, tmp_path / "model")
    arguments = [place.data_bin, "--path", place.checkpoint, "--batch-size", 64, "--iter-decode-max-iter"]
    one_pass = translations(fairseq("generate", *arguments, 0))
    assert len(set(one_pass.values())) > 30, "the model's outputs are too much alike for this test"
    check_alike(translated(folder, place), one_pass)
    if "canvas-tokens" in name:
        refined = translations(fairseq("generate", *arguments, 2))
        check_alike(translated(folder, place, "--iter-decode-max-iter", 2), refined)
        assert refined != one_pass
    translator = check_other_ways(folder, place, one_pass)
    if "length" in name:
        output = fairseq("generate", *arguments, 0, "--nbest", 3, "--iter-decode-with-beam", 5)
        found = in_python(translator, place, nbest=3, iter_decode_with_beam=5)
        texts = {i: [one.text, *(each.text for each in one.alternatives)] for i, one in enumerate(found)}
        check_alike(texts, several(output))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["wordpiece", "plain"])
def test_dictionaries(
    target: str, setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    """Beside the SentencePiece target of the others."""
    prefixes = [x for part in ("train", "valid", "test") for x in (f"--{part}pref", setting.text / part)]
    dictionaries: list[object] = ["--nwordssrc", 800, "--nwordstgt", 500]
    if target == "wordpiece":
        german = make_bert(tmp_path / "german", [setting.text / "train.de"], symbols=600, width=64, layers=1)
        dictionaries = ["--srcdict", setting.bert, "--tgtdict", german]
    data_bin = tmp_path / "data-bin"
    fairseq("preprocess", "-s", "en", "-t", "de", *prefixes, *dictionaries, "--destdir", data_bin)
    sizes = ["--arch", "bnb_transformer_tiny", "--encoder-layers", 2, "--decoder-layers", 1, "--max-update", 2]
    sizes += ["--encoder-positions", 200, "--decoder-positions", 400]
    fairseq("train", data_bin, *TRAIN, *sizes, "--disable-validation", "--save-dir", tmp_path)
    checkpoint = with_noise(tmp_path / "checkpoint_last.pt", "embeddings", 1.0)
    place = Place(checkpoint, data_bin, setting.text / "test.en")
    arguments = [data_bin, "--path", checkpoint, "--batch-size", 64]
    one_pass = translations(fairseq("generate", *arguments))
    assert len(set(one_pass.values())) > 30, "the model's outputs are too much alike for this test"
    folder = export(place, tmp_path / "model")
    check_alike(translated(folder, place), one_pass)
    check_other_ways(folder, place, one_pass)
    lm = tmp_path / "lm.arpa"
    run("bnb-ngram", data_bin, "--order", 2, "--output", lm)
    folder = export(place, tmp_path / "search", "--lm", lm, "--search", json.dumps(SEARCH))
    expected = translations(fairseq("generate", *arguments, *words_of(SEARCH), "--ctc-lm-path", lm))
    check_alike(translated(folder, place), expected)


@pytest.mark.slow
def test_bert2bert(setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path) -> None:
    """By beams of 1 and 5."""
    options = ["--arch", "bert2bert", "--criterion", "label_smoothed_cross_entropy", "--bert-encoder", setting.bert]
    options += ["--encoder-layers", 2, "--decoder-layers", 2, "--max-update", 20, "--disable-validation"]
    fairseq("train", setting.data_bin, *TRAIN, *options, "--save-dir", tmp_path)
    sources = tmp_path / "test.en"
    sources.write_text("".join((setting.text / "test.en").open(encoding="utf-8").readlines()[:100]), encoding="utf-8")
    checkpoint = with_noise(tmp_path / "checkpoint_last.pt", "encoder_attn", 0.5)
    place = Place(checkpoint, setting.data_bin, sources)
    folder = export(place, tmp_path / "model", "--search", json.dumps({"max_len_b": LONGEST}))
    arguments = [setting.data_bin, "--path", checkpoint, "--batch-size", 64, "--max-len-b", LONGEST]
    expected = {i: text for i, text in translations(fairseq("generate", *arguments, "--beam", 5)).items() if i < 100}
    assert len(set(expected.values())) > 30, "the model's outputs are too much alike for this test"
    check_alike(translated(folder, place), expected)
    output = fairseq(
        "interactive", *arguments, "--beam", 5, "--nbest", 3, "--buffer-size", 400, stdin=sources.read_text()
    )
    check_alike(listed(folder, place, "--nbest", 3), several(output))
    translator = check_other_ways(folder, place, expected, max_len_b=LONGEST)
    greedy = translations(
        fairseq("interactive", *arguments, "--beam", 1, "--buffer-size", 400, stdin=sources.read_text())
    )
    check_alike({i: one.text for i, one in enumerate(in_python(translator, place, beam=1))}, greedy)
    lm = tmp_path / "lm.arpa"
    run("bnb-ngram", setting.data_bin, "--order", 2, "--output", lm)
    search: Options = {"beam": 4, "max_len_b": LONGEST, "ctc_lm_weight": 0.5, "ctc_token_bonus": 1.0, "lenpen": 0.0}
    folder = export(place, tmp_path / "rescored", "--lm", lm, "--search", json.dumps(search))
    output = fairseq("generate", *arguments[:-2], *words_of(search), "--ctc-lm-path", lm)
    rescored = {i: text for i, text in translations(output).items() if i < 100}
    check_alike(translated(folder, place), rescored)
    assert sum(rescored[i] != expected[i] for i in rescored) > 10


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["bnb_transformer", "bert2bert"])
def test_question_generation(
    arch: str, fairseq: Command, translations: Translations, write: Write, tmp_path: Path
) -> None:
    """Two segments, the answer and its context, a tab between them."""
    for part, (count, first) in {"train": (40, 0), "valid": (5, 40), "test": (5, 45)}.items():
        write_squad(tmp_path / f"{part}.json", make_articles(count, first))
        run("python", "examples/squad_qg/squad_to_text.py", tmp_path / f"{part}.json", tmp_path / part)
    texts = [tmp_path / f"train.{side}" for side in ("answer", "question")]
    bert = make_bert(tmp_path / "bert", texts, symbols=200, width=32, layers=2)
    prefixes = [option for part in ("train", "valid", "test") for option in (f"--{part}pref", tmp_path / part)]
    pair = ["-s", "answer", "-t", "question", "--srcdict", bert, "--tgtdict", bert]
    task, data_bin = "question_generation_bnb", tmp_path / "bin"
    fairseq("preprocess", *pair, *prefixes, "--destdir", data_bin, task=task)
    options = ["--bert-encoder", bert, "--encoder-layers", 2, "--decoder-layers", 1, "--max-update", 3, "--arch", arch]
    options += ["--criterion", "bnb_loss" if arch == "bnb_transformer" else "label_smoothed_cross_entropy"]
    options += ["--truncate-source", "--disable-validation", "--save-dir", tmp_path]
    options += ["--ctc-upsample", "0.5"] if arch == "bnb_transformer" else []
    fairseq("train", data_bin, *TRAIN, *options, task=task)
    part = "embeddings" if arch == "bnb_transformer" else "encoder_attn"
    checkpoint = with_noise(tmp_path / "checkpoint_last.pt", part, 1.0)
    place = Place(checkpoint, data_bin, tmp_path / "test.answer", task)
    folder = export(place, tmp_path / "model", *(["--search", '{"max_len_b": 30}'] if arch == "bert2bert" else []))
    longest = ["--max-len-b", 30] if arch == "bert2bert" else []
    output = fairseq("generate", data_bin, "--path", checkpoint, "--batch-size", 7, *longest, task=task)
    expected = translations(output)
    assert len(set(expected.values())) > 2
    check_alike(translated(folder, place), expected)
    translator = check_other_ways(folder, place, expected, **({"max_len_b": 30} if arch == "bert2bert" else {}))
    answer, context = place.sources.read_text(encoding="utf-8").splitlines()[0].split("\t")
    texts_and_errors = translator.translate([f"{answer}\t{context}", context, "\t", f"{answer}\t{context}\t", ""])
    assert [one.error for one in texts_and_errors] == [
        None,
        *["the text must be an answer, one tab and the context"] * 4,
    ]


@pytest.mark.slow
def test_summarisation(
    setting: Setting,
    small_data: Callable[[str, int], list[tuple[str, str]]],
    write: Write,
    fairseq: Command,
    translations: Translations,
    tmp_path: Path,
) -> None:
    """Texts of five sentences to their first words, on a canvas that is shorter than the source."""
    for part, count in (("train", 100), ("valid", 20), ("test", 40)):
        lines = [source for source, _ in small_data("train", 400)]
        texts = [" ".join(lines[i : i + 5]) for i in range(count)]
        write(tmp_path / f"{part}.text", texts)
        write(tmp_path / f"{part}.summary", [" ".join(text.split()[:5]) for text in texts])
    prefixes = [option for part in ("train", "valid", "test") for option in (f"--{part}pref", tmp_path / part)]
    pair = ["-s", "text", "-t", "summary", "--srcdict", setting.bert, "--tgtdict", setting.bert]
    data_bin = tmp_path / "data-bin"
    fairseq("preprocess", *pair, *prefixes, "--destdir", data_bin)
    options = ["--bert-encoder", setting.bert, *CTC, "--ctc-upsample", "0.5", "--truncate-source"]
    fairseq("train", data_bin, *TRAIN, *options, "--disable-validation", "--save-dir", tmp_path)
    checkpoint = with_noise(tmp_path / "checkpoint_last.pt", "embeddings", 1.0)
    place = Place(checkpoint, data_bin, tmp_path / "test.text")
    folder = export(place, tmp_path / "model")
    expected = translations(fairseq("generate", data_bin, "--path", checkpoint, "--batch-size", 7, "--truncate-source"))
    found = Translator.load(folder)
    fits = [found.count_tokens(text) <= found.longest for text in place.sources.read_text().splitlines()]
    assert sum(fits) > 10
    mine = translated(folder, place)
    check_alike({i: mine[i] for i in mine if fits[i]}, {i: expected[i] for i in expected if fits[i]})
