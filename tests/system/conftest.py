"""Random digit strings, and a tiny model that learns what to make of them."""

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

TRAINING, UNSEEN = 20_000, 500
SHORTEST, LONGEST = 3, 10
SMALLEST = ("--arch", "bnb_transformer_tiny", "--criterion", "bnb_loss")
BNB = {  # by length control
    "ctc": (*SMALLEST, "--length-control", "ctc"),
    "length": (*SMALLEST, "--length-control", "length", "--length-loss-factor", "1"),
}


def width(size: int, rate: float) -> tuple[str, ...]:
    """Options for a width, below BERT-tiny's 128, and a learning rate."""
    sides = ("encoder", "decoder")
    sizes = (x for side in sides for x in (f"--{side}-embed-dim", str(size), f"--{side}-ffn-embed-dim", str(2 * size)))
    return (*sizes, "--lr", str(rate))


# Narrow models learn digits at high rates, in a fraction of the time.
NARROW, NARROWEST = width(64, 5e-3), width(32, 1e-2)
SMALL_BATCHES = ("--batch-size", "32")  # half as large as usual: as many updates in half the time


def updates(count: int) -> tuple[str, ...]:
    """Options for so many updates, over which the learning rate falls to zero."""
    return ("--max-update", str(count), "--total-num-update", str(count))


Strings = dict[str, list[str]]
Command = Callable[..., str]
Prepare = Callable[[Strings, Mapping[str, Sequence[str]]], Path]
# Trains on sources and targets with options of fairseq-train, and returns what translates the test part.
Learn = Callable[[Strings, Mapping[str, Sequence[str]], Sequence[str]], Callable[..., dict[int, str]]]


def digit_strings(longest: int) -> Strings:
    """Training, validation and test strings without overlap."""
    generator = random.Random(1)
    drawn = (generator.choices("0123456789", k=generator.randint(SHORTEST, longest)) for _ in range(TRAINING + 2000))
    distinct = list(dict.fromkeys(map(" ".join, drawn)))
    longer = [string for string in distinct if len(string.split()) > 4]  # short ones are all seen in training
    test, valid = longer[:UNSEEN], longer[UNSEEN : 2 * UNSEEN]
    unseen = {*test, *valid}
    return {"test": test, "valid": valid, "train": [string for string in distinct if string not in unseen]}


@pytest.fixture(scope="session")
def strings() -> Strings:
    return digit_strings(LONGEST)


@pytest.fixture(scope="session")
def prepare(
    tmp_path_factory: pytest.TempPathFactory, fairseq: Command, write: Callable[[Path, Sequence[str]], Path]
) -> Prepare:
    """Preprocess sources and targets, once for all models that learn the same."""
    made: dict[str, Path] = {}

    def preprocess(sources: Strings, targets: Mapping[str, Sequence[str]]) -> Path:
        key = "\n".join(line for part in sources for line in (*sources[part], *targets[part]))
        if key not in made:
            folder = tmp_path_factory.mktemp("strings")
            for part in sources:
                write(folder / f"{part}.in", sources[part])
                write(folder / f"{part}.out", targets[part])
            prefixes = [x for part in sources for x in (f"--{part}pref", folder / part)]
            fairseq("preprocess", "-s", "in", "-t", "out", *prefixes, "--destdir", folder / "bin")
            made[key] = folder / "bin"
        return made[key]

    return preprocess


@pytest.fixture
def learn(tmp_path: Path, fairseq: Command, translations: Callable[[str], dict[int, str]], prepare: Prepare) -> Learn:
    def train(
        sources: Strings, targets: Mapping[str, Sequence[str]], options: Sequence[str]
    ) -> Callable[..., dict[int, str]]:
        data_bin = prepare(sources, targets)
        common = ["--dropout", "0", "--attention-dropout", "0"]
        common += ["--batch-size", "64", "--optimizer", "adam", "--clip-norm", "1", "--seed", "1"]
        common += ["--lr", "1e-3", "--lr-scheduler", "polynomial_decay", "--warmup-updates", "100"]
        common += ["--data-buffer-size", "0", "--num-workers", "0"]
        common += ["--no-epoch-checkpoints", "--no-last-checkpoints", "--save-dir", str(tmp_path)]
        fairseq("train", data_bin, "--label-smoothing", "0", *common, *options)
        decoding = ["--path", str(tmp_path / "checkpoint_best.pt"), "--batch-size", "128", "--beam", "1"]
        return lambda *more: translations(fairseq("generate", data_bin, *decoding, *more))

    return train
