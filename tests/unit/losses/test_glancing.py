"""What is shown in training: by hand, and chance by counting."""

import torch

from bnb_fairseq.losses.glancing import choose, glanced_count, uniform_count


def test_choose_takes_candidates_only_and_as_many_as_asked() -> None:
    torch.manual_seed(1)
    candidates = torch.tensor([[True, False, True, True, False], [False, True, False, False, True]]).repeat(500, 1)
    counts = torch.tensor([2, 1]).repeat(500)
    chosen = choose(counts, candidates)
    assert chosen.dtype == torch.bool
    assert not (chosen & ~candidates).any()
    assert torch.equal(chosen.sum(dim=1), counts)
    assert choose(torch.tensor([0, 2]), candidates[:2]).tolist() == [[False] * 5, candidates[1].tolist()]


def test_every_set_is_equally_likely() -> None:
    """Bounds are 5 standard errors."""
    torch.manual_seed(1)
    draws = 20_000
    candidates = torch.tensor([True, False, True, True, True, True]).expand(draws, -1)
    sets = torch.bincount(choose(torch.full((draws,), 2), candidates).long() @ torch.tensor([1, 2, 4, 8, 16, 32]))
    sets = sets[sets > 0].double()
    assert len(sets) == 10
    assert float((sets / draws - 0.1).abs().max()) < 5 * (0.1 * 0.9 / draws) ** 0.5


def test_each_sentence_is_drawn_for_itself() -> None:
    torch.manual_seed(1)
    rows = choose(torch.full((50,), 6), torch.ones(50, 12, dtype=torch.bool)).tolist()
    assert len({tuple(row) for row in rows}) > 40


def test_uniform_count() -> None:
    torch.manual_seed(1)
    draws = 60_000
    for size in (1, 5):
        counts = torch.bincount(uniform_count(torch.full((draws,), size)), minlength=size + 1)
        assert counts[0] == 0
        assert len(counts) == size + 1
        error = (counts[1:].double() / draws - 1 / size).abs().max()
        assert float(error) <= 5 * (1 / size * (1 - 1 / size) / draws) ** 0.5
    assert uniform_count(torch.tensor([0, 0])).tolist() == [0, 0]


def test_glanced_count_by_hand() -> None:
    """Three and four of the positions inside the canvas are wrong."""
    truth = torch.tensor([[1, 2, 3, 4, 5], [1, 1, 1, 1, 9]])
    guess = torch.tensor([[1, 0, 0, 0, 5], [0, 0, 0, 0, 0]])
    inside = torch.tensor([[True] * 5, [True] * 4 + [False]])
    counts = [glanced_count(guess, truth, inside, share).tolist() for share in (0.0, 0.3, 0.5, 0.7, 1.0)]
    assert counts == [[0, 0], [0, 1], [1, 2], [2, 2], [3, 4]]
