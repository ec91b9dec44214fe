"""The whole machine learns two tasks whose answers are known: copying and reversing random digit strings."""

import pytest

from .conftest import BNB, UNSEEN, UPDATES, Learn, Strings

CTC, LENGTH = [*BNB, *UPDATES, "--length-control", "ctc"], [*BNB, *UPDATES, "--length-control", "length"]
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
    "ctc, glancing": [*CTC, "--canvas-tokens", "--glancing", "0:0.3@1000"],
    "length, no latent": [*LENGTH, "--latent-size", "0", "--label-smoothing", "0.1"],
    "length, vae": [*LENGTH, *VAE],
    "length, canvas tokens": [*LENGTH, "--canvas-tokens"],
    "length, axe": [*LENGTH, "--token-loss", "axe", "--axe-skip-target", "3"],
    "length, oaxe": [*LENGTH, "--token-loss", "oaxe", "--oaxe-warmup-updates", "1000", "--oaxe-margin", "0.1"],
}
RUNS = [*(("copy", model) for model in MODELS), ("reverse", "ctc"), ("reverse", "length")]


@pytest.mark.parametrize(("task", "model"), RUNS)
def test_unseen_strings(task: str, model: str, strings: Strings, learn: Learn) -> None:
    targets = {part: [s if task == "copy" else s[::-1] for s in sources] for part, sources in strings.items()}
    output = learn(strings, targets, MODELS[model])()
    correct = sum(output[i] == target for i, target in enumerate(targets["test"]))
    print(f"{task}, {model}: {correct} of {UNSEEN} unseen strings right")
    assert correct >= 0.99 * UNSEEN
