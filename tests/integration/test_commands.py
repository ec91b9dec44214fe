"""fairseq's commands, as a user types them."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from ..alike import check_alike
from .conftest import TRAIN, Setting

Command = Callable[..., str]
Translations = Callable[[str], dict[int, str]]
Write = Callable[[Path, Sequence[str]], Path]
QUICK = ("--encoder-layers", 2, "--decoder-layers", 1, "--max-update", 4)


def test_generate_does_not_depend_on_batches(
    setting: Setting, checkpoint: Path, fairseq: Command, translations: Translations
) -> None:
    outputs = []
    for size in (1, 7, 64):
        output = fairseq(
            "generate", setting.data_bin, "--path", checkpoint, "--batch-size", size, "--scoring", "sacrebleu"
        )
        assert "BLEU" in output
        outputs.append(translations(output))
    assert len(outputs[0]) == 300
    assert len(set(outputs[0].values())) > 30, "the model's outputs are too much alike for this test"
    check_alike(outputs[1], outputs[0])
    check_alike(outputs[2], outputs[0])


@pytest.mark.slow
def test_generate_does_not_depend_on_order(
    setting: Setting, checkpoint: Path, fairseq: Command, translations: Translations, write: Write, tmp_path: Path
) -> None:
    sources = (setting.text / "test.en").read_text(encoding="utf-8").splitlines()
    order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(1)).tolist()
    write(tmp_path / "shuffled.en", [sources[i] for i in order])
    write(tmp_path / "shuffled.de", ["-"] * len(sources))
    dictionaries = [
        x for s, t in (("src", "en"), ("tgt", "de")) for x in (f"--{s}dict", setting.data_bin / f"dict.{t}.txt")
    ]
    pair = ["-s", "en", "-t", "de", "--testpref", tmp_path / "shuffled"]
    fairseq("preprocess", *pair, *dictionaries, "--destdir", tmp_path / "bin")
    shuffled = translations(fairseq("generate", tmp_path / "bin", "--path", checkpoint, "--batch-size", 16))
    straight = translations(fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 64))
    check_alike(shuffled, {place: straight[i] for place, i in enumerate(order)})


def test_interactive_equals_generate_and_needs_no_bert(
    setting: Setting, checkpoint: Path, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    hidden = setting.bert.rename(tmp_path / "gone")
    try:
        generated = translations(fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 32))
        text = (setting.text / "test.en").read_text(encoding="utf-8")
        arguments = ["--path", checkpoint, "--buffer-size", 100, "--batch-size", 20]
        arguments += ["--post-process", "sentencepiece"]  # changes nothing: the data-bin's own tokenizer joins the text
        interactive = translations(fairseq("interactive", setting.data_bin, *arguments, stdin=text))
    finally:
        hidden.rename(setting.bert)
    check_alike(interactive, generated)


def test_empty_line_gets_an_empty_translation(
    setting: Setting, checkpoint: Path, fairseq: Command, translations: Translations
) -> None:
    arguments = ["--path", checkpoint, "--buffer-size", 3, "--batch-size", 3]
    output = translations(fairseq("interactive", setting.data_bin, *arguments, stdin="Open the file.\n\nThe cell.\n"))
    assert output[1] == ""
    assert output[0] != "" != output[2]


def test_validate_and_score(setting: Setting, checkpoint: Path, fairseq: Command, tmp_path: Path) -> None:
    output = fairseq("validate", setting.data_bin, "--path", checkpoint, "--batch-size", 50)
    assert re.search(r"nll_loss [\d.]+ .*canvas_overflow", output), output
    generated = fairseq("generate", setting.data_bin, "--path", checkpoint, "--batch-size", 50)
    for letter, name in (("D", "hypothesis"), ("T", "reference")):
        found = {int(i): t for i, t in re.findall(rf"(?m)^{letter}-(\d+)\t(?:-?[\d.]+\t)?(.*)$", generated)}
        (tmp_path / name).write_text("".join(f"{found[i]}\n" for i in range(300)), encoding="utf-8")
    scored = fairseq("score", "--sys", tmp_path / "hypothesis", "--ref", tmp_path / "reference", plugin=False)
    assert re.search(r"BLEU4 = [\d.]+", scored)


def test_eval_bleu_selects_the_best_checkpoint_and_training_resumes(
    setting: Setting, fairseq: Command, tmp_path: Path
) -> None:
    options = ["--bert-encoder", setting.bert, *QUICK, "--eval-bleu", "--best-checkpoint-metric", "bleu"]
    options += ["--maximize-best-checkpoint-metric", "--eval-bleu-print-samples", "--save-dir", tmp_path]
    first = fairseq("train", setting.data_bin, *TRAIN, *options)
    assert re.search(r"valid \| .*bleu [\d.]+", first), first[-3000:]
    assert "example translation" in first
    assert (tmp_path / "checkpoint_best.pt").is_file()
    second = fairseq("train", setting.data_bin, *TRAIN, *options, "--max-update", 6)
    assert "Loaded checkpoint" in second
    assert "@ 4 updates" in second


@pytest.mark.parametrize(
    "option",
    [
        ("--ctc-canvas", "repeat"),
        *(pytest.param(x, marks=pytest.mark.slow) for x in (("--ctc-blank", "mask"), ("--ctc-upsample", "1.5"))),
    ],
)
def test_ctc_options(option: tuple[str, str], setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    fairseq("train", setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *QUICK, *option, "--save-dir", tmp_path)
    fairseq("generate", setting.data_bin, "--path", tmp_path / "checkpoint_last.pt", "--batch-size", 100)


def test_refinement(setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path) -> None:
    options = ["--length-control", "length", "--canvas-tokens", "--latent-dropout", "0.1", "--save-dir", tmp_path]
    fairseq("train", setting.data_bin, *TRAIN, "--bert-encoder", setting.bert, *QUICK, *options, "--max-update", 30)
    arguments = ["--path", tmp_path / "checkpoint_last.pt", "--batch-size", 64, "--iter-decode-max-iter", 3]
    arguments += ["--print-step", "--retain-iter-history", "--iter-decode-force-max-iter"]
    output = fairseq("generate", setting.data_bin, *arguments)
    assert set(re.findall(r"(?m)^I-\d+\t(\d+)$", output)) == {"4"}
    assert len(re.findall(r"(?m)^E-7_\d\t", output)) == 4
    for size in (1, 50):
        arguments = ["--path", tmp_path / "checkpoint_last.pt", "--batch-size", size, "--iter-decode-max-iter", 3]
        shorter = translations(fairseq("generate", setting.data_bin, *arguments))
        if size == 1:
            alone = shorter
    check_alike(alone, shorter)
    arguments[arguments.index("--batch-size") + 1] = 2
    arguments += ["--buffer-size", 2, "--retain-iter-history", "--iter-decode-force-max-iter"]
    told = fairseq("interactive", setting.data_bin, *arguments, stdin="Open the file.\nThe cell.\n")
    assert re.findall(r"(?m)^E-(.)\t", told) == [*"S0123S0123"]
    assert sorted(re.findall(r"(?m)^E-S\t(.*)$", told)) == ["open the file.", "the cell."]
    last = re.findall(r"(?m)^E-3\t(.*)$", told)
    assert sorted(re.findall(r"(?m)^D-\d+\t\S+\t(.*)$", told)) == sorted(last)


@pytest.mark.slow
def test_autoregressive_architecture(
    setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    sizes = ["--encoder-embed-dim", 32, "--decoder-embed-dim", 32, "--encoder-layers", 1, "--decoder-layers", 1]
    sizes += ["--encoder-ffn-embed-dim", 64, "--decoder-ffn-embed-dim", 64]
    sizes += ["--encoder-attention-heads", 2, "--decoder-attention-heads", 2]
    options = [*TRAIN, "--arch", "transformer", "--criterion", "label_smoothed_cross_entropy", *sizes]
    fairseq("train", setting.data_bin, *options, "--max-update", 20, "--save-dir", tmp_path)
    arguments = ["--path", tmp_path / "checkpoint_last.pt", "--batch-size", 64, "--beam", 2, "--max-len-b", 10]
    generated = translations(fairseq("generate", setting.data_bin, *arguments))
    assert len(generated) == 300
    assert not any("[CLS]" in text for text in generated.values())


@pytest.mark.parametrize("kind", ["sentencepiece", pytest.param("plain", marks=pytest.mark.slow)])
def test_other_dictionaries(
    kind: str, setting: Setting, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    """Both sides SentencePiece, or both fairseq's own ``dict.txt`` over already split text."""
    prefixes = [x for part in ("train", "valid", "test") for x in (f"--{part}pref", setting.text / part)]
    chosen = ["--srcdict", setting.sentencepiece, "--tgtdict", setting.sentencepiece] if kind == "sentencepiece" else []
    fairseq("preprocess", "-s", "en", "-t", "de", *prefixes, *chosen, "--destdir", tmp_path / "bin")
    if kind == "plain":  # and once more with the dictionaries that this made
        made = ["--srcdict", tmp_path / "bin" / "dict.en.txt", "--tgtdict", tmp_path / "bin" / "dict.de.txt"]
        fairseq("preprocess", "-s", "en", "-t", "de", *prefixes, *made, "--destdir", tmp_path / "again")
        for name in ("dict.de.txt", "test.en-de.de.bin"):
            assert (tmp_path / "bin" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    # English in German pieces is long, and length control leaves all of the decoder's positions to the source.
    options = [*TRAIN, "--bert-encoder", setting.bert, *QUICK, "--length-control", "length", "--save-dir", tmp_path]
    trained = fairseq("train", tmp_path / "bin", *options)
    matched = re.findall(r"embedding rows: ([\d,]+) of [\d,]+ \([\d.]+%\) matched by text", trained)
    assert len(matched) == 2
    assert all(int(count.replace(",", "")) > 100 for count in matched), matched
    bpe = ["--bpe", "sentencepiece", "--sentencepiece-model", setting.sentencepiece] if kind == "plain" else []
    arguments = ["--path", tmp_path / "checkpoint_last.pt", "--batch-size", 64, *bpe]
    generated = fairseq("generate", tmp_path / "bin", *arguments)
    assert len(translations(generated)) == 300
    references = re.findall(r"(?m)^T-\d+\t(.*)$", generated)
    assert any(" " in text for text in references) == (kind == "sentencepiece")  # fairseq's BPE takes spaces away


def test_workers_do_not_change_the_data(setting: Setting, fairseq: Command, tmp_path: Path) -> None:
    arguments = ["--testpref", setting.text / "train", "--srcdict", setting.bert, "--tgtdict", setting.sentencepiece]
    for workers in (1, 4):
        destination = tmp_path / str(workers)
        fairseq("preprocess", "-s", "en", "-t", "de", *arguments, "--destdir", destination, "--workers", workers)
    for name in ("test.en-de.en.bin", "test.en-de.de.bin", "test.en-de.de.idx"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()


@pytest.mark.slow
def test_data_bin_can_be_moved(
    setting: Setting, checkpoint: Path, fairseq: Command, translations: Translations, tmp_path: Path
) -> None:
    shutil.copytree(setting.data_bin, tmp_path / "moved")
    arguments = ["--path", checkpoint, "--batch-size", 64]
    moved = translations(fairseq("generate", tmp_path / "moved", *arguments))
    assert moved == translations(fairseq("generate", setting.data_bin, *arguments))
