"""The whole machine learns two tasks whose answers are known: copying and reversing random digit strings."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

TRAINING, UNSEEN = 20_000, 500
LENGTHS = (3, 10)
BNB = ["--arch", "bnb_transformer_tiny", "--criterion", "bnb_loss", "--length-loss-factor", "1"]
BNB += ["--max-update", "1500", "--total-num-update", "1500"]
CTC, LENGTH = [*BNB, "--length-control", "ctc"], [*BNB, "--length-control", "length"]
LONGER = ["--max-update", "2500", "--total-num-update", "2500"]
VAE = ["--latent", "vae", "--kl-factor", "0.1"]
CYCLIC = ["--kl-schedule", "cyclic", "--kl-cycles", "2", "--kl-zero-share", "0.2", "--kl-increase-share", "0.4"]
BERT2BERT = ["--arch", "bert2bert_tiny", "--criterion", "label_smoothed_cross_entropy"]
MODELS = {
    "ctc": CTC,
    "length": LENGTH,
    "bert2bert": [*BERT2BERT, "--max-update", "200", "--total-num-update", "200"],
    # The original's model: 24 positions hold 12 tokens and the blanks between equal ones.
    "ctc, fixed canvas": [*CTC, "--ctc-canvas-length", "24", "--ctc-blank", "pad", "--label-smoothing", "0.1", *LONGER],
    "ctc, no latent": [*CTC, "--latent-size", "0", "--ctc-canvas", "repeat", "--ctc-blank", "mask"],
    "ctc, vae": [*CTC, *VAE, *CYCLIC],
    "length, no latent": [*LENGTH, "--latent-size", "0", "--label-smoothing", "0.1"],
    "length, vae": [*LENGTH, *VAE],
    "length, canvas tokens": [*LENGTH, "--canvas-tokens"],
    "length, axe": [*LENGTH, "--token-loss", "axe", "--axe-skip-target", "3"],
    "length, oaxe": [*LENGTH, "--token-loss", "oaxe", "--oaxe-warmup-updates", "1000", "--oaxe-margin", "0.1"],
}
RUNS = [*(("copy", model) for model in MODELS), ("reverse", "ctc"), ("reverse", "length")]
Command = Callable[..., str]


def digit_strings(count: int, seed: int) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices("0123456789", k=generator.randint(*LENGTHS))) for _ in range(count)]


@pytest.fixture(scope="module")
def strings() -> dict[str, list[str]]:
    """Training, validation and test strings without overlap."""
    distinct = list(dict.fromkeys(digit_strings(TRAINING + 4 * UNSEEN, seed=1)))
    longer = [string for string in distinct if len(string.split()) > 4]  # short ones are all seen in training
    test, valid = longer[:UNSEEN], longer[UNSEEN : 2 * UNSEEN]
    unseen = {*test, *valid}
    return {"test": test, "valid": valid, "train": [string for string in distinct if string not in unseen]}


@pytest.mark.parametrize(("task", "model"), RUNS)
def test_unseen_strings(
    task: str,
    model: str,
    tmp_path: Path,
    strings: dict[str, list[str]],
    fairseq: Command,
    translations: Callable[[str], dict[int, str]],
    write: Callable[[Path, Sequence[str]], Path],
) -> None:
    expected = {}
    for part, sources in strings.items():
        targets = [source if task == "copy" else source[::-1] for source in sources]
        write(tmp_path / f"{part}.in", sources)
        write(tmp_path / f"{part}.out", targets)
        expected[part] = targets
    prefixes = [x for part in strings for x in (f"--{part}pref", tmp_path / part)]
    fairseq("preprocess", "-s", "in", "-t", "out", *prefixes, "--destdir", tmp_path / "bin")
    options = ["--label-smoothing", "0", *MODELS[model], "--dropout", "0", "--attention-dropout", "0"]
    options += ["--batch-size", "64", "--optimizer", "adam", "--clip-norm", "1", "--seed", "1"]
    options += ["--lr", "1e-3", "--lr-scheduler", "polynomial_decay", "--warmup-updates", "100"]
    options += ["--data-buffer-size", "0", "--num-workers", "0"]
    options += ["--no-epoch-checkpoints", "--no-last-checkpoints", "--save-dir", str(tmp_path)]
    fairseq("train", tmp_path / "bin", *options)
    arguments = ["--path", str(tmp_path / "checkpoint_best.pt"), "--batch-size", "128", "--beam", "1"]
    output = translations(fairseq("generate", tmp_path / "bin", *arguments))
    correct = sum(output[i] == target for i, target in enumerate(expected["test"]))
    print(f"{task}, {model}: {correct} of {UNSEEN} unseen strings right")
    assert correct >= 0.99 * UNSEEN
