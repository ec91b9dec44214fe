"""The whole machine learns two tasks whose answers are known: copying and reversing random digit strings."""

import pytest

from .conftest import BNB, NARROW, NARROWEST, SMALL_BATCHES, UNSEEN, Learn, Strings, updates, width

COPY = (*NARROWEST, *updates(250))  # options that stand behind others take their place
CTC, LENGTH = ([*BNB[control], *COPY, *SMALL_BATCHES] for control in ("ctc", "length"))
LATENT = ["--latent-size", "8"]
VAE = [*LATENT, "--latent", "vae", "--kl-factor", "0.1"]
CYCLIC = ["--kl-schedule", "cyclic", "--kl-cycles", "2", "--kl-zero-share", "0.2", "--kl-increase-share", "0.4"]
# The original's model: 24 positions hold 12 tokens and the blanks between equal ones.
FIXED = [*LATENT, "--ctc-canvas-length", "24", "--ctc-blank", "pad"]
REPEATED = ["--ctc-canvas", "repeat", "--ctc-blank", "mask"]
BERT2BERT = ["--arch", "bert2bert_tiny", "--criterion", "label_smoothed_cross_entropy"]
MODELS = {
    "ctc": CTC,
    "length": LENGTH,
    "bert2bert": [*BERT2BERT, *COPY],
    "ctc, fixed canvas": [*BNB["ctc"], *FIXED, "--label-smoothing", "0.1", *NARROW, *updates(1600)],
    "ctc, latent": [*BNB["ctc"], *LATENT, *REPEATED, *NARROW, *updates(400)],
    "ctc, vae": [*CTC, *VAE, *CYCLIC],
    "ctc, glancing": [*CTC, "--canvas-tokens", "--glancing", "0:0.3@200"],
    "length, latent": [*LENGTH, *LATENT, "--label-smoothing", "0.1"],
    "length, vae": [*BNB["length"], *VAE, *SMALL_BATCHES, *updates(600)],
    "length, axe": [*LENGTH, "--token-loss", "axe", "--axe-skip-target", "3"],
    "length, oaxe": [*LENGTH, "--token-loss", "oaxe", "--oaxe-warmup-updates", "150", "--oaxe-margin", "0.1"],
}
REVERSE = {
    "ctc": [*BNB["ctc"], *NARROW, *updates(450)],
    "length": [*BNB["length"], *width(64, 2e-3), "--adam-betas", "(0.9, 0.98)", *updates(700)],
}
QUICK = ("ctc", "length", "bert2bert")
RUNS = [
    *(("copy", model) for model in QUICK),
    *(pytest.param("copy", model, marks=pytest.mark.slow) for model in MODELS if model not in QUICK),
    *(pytest.param("reverse", model, marks=pytest.mark.slow) for model in REVERSE),
]


@pytest.mark.parametrize(("task", "model"), RUNS)
def test_unseen_strings(task: str, model: str, strings: Strings, learn: Learn) -> None:
    targets = {part: [s if task == "copy" else s[::-1] for s in sources] for part, sources in strings.items()}
    output = learn(strings, targets, (REVERSE if task == "reverse" else MODELS)[model])()
    correct = sum(output[i] == target for i, target in enumerate(targets["test"]))
    print(f"{task}, {model}: {correct} of {UNSEEN} unseen strings right")
    assert correct >= 0.99 * UNSEEN
