"""The pretraining strategies, worked out by hand and counted over many texts."""

from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch

from bnb_fairseq.data.dictionary import BnbDictionary
from bnb_fairseq.data.noise import CONTINUED, Masking, Noise, autoencoded, continued, masked, permuted

TEXT = torch.arange(100, 120)
MASK = 3
SYMBOLS = torch.tensor([7, 8, 9])
STRATEGIES: dict[str, Noise] = {
    "ae": autoencoded,
    "mlm": partial(masked, masking=Masking(0.3, 0.1, 0.1, MASK, SYMBOLS)),
    "plm": partial(permuted, share=0.5),
    "clm": partial(continued, least=0.2, most=0.3),
}


def apply(noise: Noise, seed: int, tokens: torch.Tensor = TEXT) -> tuple[list[int], list[int]]:
    source, target = noise(tokens, np.random.default_rng(seed))
    return source.tolist(), target.tolist()


def test_autoencoding() -> None:
    assert apply(autoencoded, 1) == (TEXT.tolist(), TEXT.tolist())


def test_masking_by_hand() -> None:
    """The generator's numbers, drawn in the same order, decide which of 20 tokens become what."""
    masking = Masking(0.4, 0.25, 0.25, MASK, SYMBOLS)
    source, target = apply(partial(masked, masking=masking), 12)
    random = np.random.default_rng(12)
    number = int(0.4 * 20 + random.random())
    positions = sorted(random.permutation(20)[:number].tolist())
    fates = random.random(number).tolist()
    drawn = [int(SYMBOLS[i]) for i in random.integers(3, size=number)]
    expected = TEXT.tolist()
    for position, fate, symbol in zip(positions, fates, drawn, strict=True):
        if fate < 0.25:
            expected[position] = symbol
        elif fate < 0.75:
            expected[position] = MASK
    assert source == expected
    assert target == TEXT.tolist()
    assert {MASK, *SYMBOLS.tolist()} & set(source) > {MASK}, "the example has both"


def test_shares_of_masking() -> None:
    found: Counter[str] = Counter()
    for seed in range(3000):
        source, target = apply(STRATEGIES["mlm"], seed)
        assert target == TEXT.tolist()
        for before, after in zip(TEXT.tolist(), source, strict=True):
            found["masked" if after == MASK else "same" if after == before else "random"] += 1
            assert after in {before, MASK, 7, 8, 9}
    share = {fate: number / (20 * 3000) for fate, number in found.items()}
    assert share["masked"] == pytest.approx(0.3 * 0.8, abs=0.006)
    assert share["random"] == pytest.approx(0.3 * 0.1, abs=0.004)


def test_masking_everything_and_short_texts() -> None:
    everything = partial(masked, masking=Masking(1.0, 0.0, 0.0, MASK, SYMBOLS))
    assert apply(everything, 1)[0] == [MASK] * 20
    one = torch.tensor([50])
    chosen = [apply(STRATEGIES["mlm"], seed, one)[0] != [50] for seed in range(2000)]
    assert np.mean(chosen) == pytest.approx(0.3 * 0.9, abs=0.03), "a text of one token is masked as often as any token"


def test_permutation_moves_tokens_among_the_chosen_positions() -> None:
    moved, kept = 0, Counter[int]()
    for seed in range(500):
        source, target = apply(STRATEGIES["plm"], seed)
        assert target == TEXT.tolist()
        assert sorted(source) == TEXT.tolist()
        same = [i for i in range(20) if source[i] == target[i]]
        moved += 20 - len(same)
        kept.update(same)
    assert moved / (500 * 20) == pytest.approx(0.5 - 1 / 20, abs=0.01), "of 10 chosen tokens one stays, on average"
    assert len(kept) == 20
    assert apply(partial(permuted, share=0.0), 1)[0] == TEXT.tolist()


def test_continuation() -> None:
    lengths = Counter[int]()
    for seed in range(2000):
        source, target = apply(STRATEGIES["clm"], seed)
        assert source + target == TEXT.tolist()
        lengths[len(target)] += 1
    assert set(lengths) == {4, 5, 6}
    assert lengths[5] / 2000 == pytest.approx(0.5, abs=0.04), (
        "4 and 6 are what 4.0 to 4.5 and 5.5 to 6.0 are rounded to"
    )


@pytest.mark.parametrize("length", [*range(2, 40)])
def test_no_part_of_a_short_text_is_empty(length: int) -> None:
    text = torch.arange(100, 100 + length)
    for seed in range(20):
        source, target = apply(STRATEGIES["clm"], seed, text)
        assert min(len(source), len(target)) >= 1
        if length >= 8 or length in (4, 5):  # some whole number lies between 20 and 30%, or next to them
            assert 0.2 * length - 0.5 <= len(target) <= 0.3 * length + 0.5
    assert 0.2 * CONTINUED <= 1 <= 0.3 * CONTINUED
    assert not 0.2 * (CONTINUED - 1) <= 1 <= 0.3 * (CONTINUED - 1)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_noise_depends_on_the_generator_alone(strategy: str) -> None:
    torch.manual_seed(1)
    first = apply(STRATEGIES[strategy], 5)
    torch.manual_seed(2)
    np.random.seed(3)
    assert apply(STRATEGIES[strategy], 5) == first
    assert TEXT.tolist() == list(range(100, 120)), "the text itself stays as it is"
    if strategy != "ae":
        assert len({str(apply(STRATEGIES[strategy], seed)) for seed in range(9)}) > 2


def test_random_symbols_are_no_special_ones() -> None:
    dictionary = BnbDictionary()
    for word in ("a", "b"):
        dictionary.add_symbol(word)
    dictionary.add_mask()
    masking = Masking.of(dictionary, 0.3, 0.1, 0.2)
    assert masking.symbols.tolist() == [dictionary.index("a"), dictionary.index("b")]
    assert masking.mask == dictionary.mask()
    assert (masking.share, masking.unchanged, masking.replaced) == (0.3, 0.1, 0.2)
