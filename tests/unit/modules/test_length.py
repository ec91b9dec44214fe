"""Length classes by hand, and the Gaussian resampling against loops."""

import math

import pytest
import torch

from bnb_fairseq.modules.length import GaussianLengthConverter, LengthHead, masked_mean


def test_masked_mean_by_hand() -> None:
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[5.0, -1.0], [1e30, 1e30], [1e30, 1e30]]])
    padding = torch.tensor([[False, False, True], [False, True, True]])
    assert masked_mean(states, padding).tolist() == [[2.0, 4.0], [5.0, -1.0]]


def test_masked_mean_is_float32_and_survives_pure_padding() -> None:
    states = torch.full((1, 3000, 1), 1.0, dtype=torch.bfloat16)
    assert masked_mean(states, torch.zeros(1, 3000, dtype=torch.bool)).tolist() == [[1.0]]  # bfloat16 stops at 256
    mean = masked_mean(states, torch.ones(1, 3000, dtype=torch.bool))
    assert mean.dtype == torch.float32
    assert mean.tolist() == [[0.0]]


def test_classes_by_hand() -> None:
    head = LengthHead(4, 3)
    source, target = torch.tensor([5, 5, 5, 5, 5, 9]), torch.tensor([5, 8, 2, 9, 1, 7])
    classes, outside = head.classes(source, target)
    assert classes.tolist() == [3, 6, 0, 6, 0, 1]  # differences 0, 3, -3, 4, -4, -2
    assert outside.tolist() == [False, False, False, True, True, False]


def test_lengths_undo_classes() -> None:
    head = LengthHead(4, 6)
    pairs = [(source, target) for source in range(2, 15) for target in range(2, 20)]
    source, target = torch.tensor(pairs).unbind(dim=1)
    classes, outside = head.classes(source, target)
    logits = torch.nn.functional.one_hot(classes, 13).float()
    chosen = head.lengths(logits, source, 100).squeeze(1)
    assert torch.equal(chosen[~outside], target[~outside])
    for i in outside.nonzero().flatten().tolist():
        if source[i] - 6 >= 2 or target[i] > source[i]:
            assert int(chosen[i]) == source[i] + (6 if target[i] > source[i] else -6)
    assert outside.tolist() == [abs(t - s) > 6 for s, t in pairs]


def test_the_most_probable_lengths_that_are_allowed() -> None:
    """N = 4, class c stands for source + c - 4."""
    head = LengthHead(4, 4)
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3, 2, 1], [1.0, 2, 3, 4, 5, 6, 7, 8, 9], [0.0, 5, 0, 9, 0, 7, 0, 6, 0]])
    source = torch.tensor([4, 9, 7])
    assert head.lengths(logits, source, longest=12, count=3).tolist() == [[2, 3, 4], [12, 11, 10], [6, 8, 10]]
    assert head.lengths(logits, source, longest=12).tolist() == [[2], [12], [6]]


def test_where_no_length_is_allowed_the_nearest_is_taken() -> None:
    head = LengthHead(4, 2)
    assert head.lengths(torch.zeros(1, 5), torch.tensor([20]), longest=12, count=2).tolist() == [[12, 12]]


def test_a_target_that_is_400_tokens_shorter_than_its_source() -> None:
    """N = 512: every pair of lengths up to 512 is a class of its own; with N = 128 it lies outside and is counted."""
    source, target = torch.tensor([512, 500, 2, 512, 129]), torch.tensor([100, 100, 512, 2, 2])
    wide, narrow = LengthHead(4, 512), LengthHead(4, 128)
    classes, outside = wide.classes(source, target)
    assert classes.tolist() == [100, 112, 1022, 2, 385]  # 512 + target - source
    assert not outside.any()
    logits = torch.nn.functional.one_hot(classes, 1025).float()
    assert wide.lengths(logits, source, 512).squeeze(1).tolist() == target.tolist()
    assert wide.lengths(logits, source, 64).squeeze(1).amax() <= 64
    classes, outside = narrow.classes(source, target)
    assert (classes.tolist(), outside.tolist()) == ([0, 0, 256, 0, 1], [True, True, True, True, False])


def test_head_is_linear_in_the_mean() -> None:
    head = LengthHead(2, 1)
    with torch.no_grad():
        head.projection.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
        head.projection.bias.copy_(torch.tensor([0.0, 10.0, 20.0]))
    states = torch.tensor([[[2.0, 1.0], [4.0, 3.0], [50.0, 50.0]]])
    logits = head(states, torch.tensor([[False, False, True]]))
    assert logits.tolist() == [[3.0, 12.0, 25.0]]  # the mean is (3, 2)
    assert LengthHead(2, 5).projection.out_features == 11


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, -1.7])
def test_gaussian_converter_against_loops(sigma: float) -> None:
    """Weights softmax over k of -(k - j S / T)^2 / (2 sigma^2), k over true source positions only."""
    converter = GaussianLengthConverter()
    with torch.no_grad():
        converter.sigma.fill_(sigma)
    sources, targets, longest = [6, 4, 1, 5], [4, 7, 3, 5], 7
    latent = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(1))
    for b, source in enumerate(sources):
        latent[b, source:] = 1e6  # what the padding holds must not matter
    ours = converter(latent, torch.tensor(sources), torch.tensor(targets), longest)
    assert ours.shape == (4, 7, 3)
    for b, (source, target) in enumerate(zip(sources, targets, strict=True)):
        for j in range(target):
            scores = [math.exp(-((k - j * source / target) ** 2) / (2 * sigma**2)) for k in range(source)]
            for z in range(3):
                mean = sum(score * float(latent[b, k, z]) for k, score in enumerate(scores)) / sum(scores)
                assert abs(float(ours[b, j, z]) - mean) < 1e-5


def test_gaussian_converter_by_hand() -> None:
    """S = 2, T = 1: weights 1 and exp(-1/2); S = T = 2: the same, mirrored at the second position."""
    latent = torch.tensor([[[0.0], [1.0]]])
    converter = GaussianLengthConverter()
    near = 1 / (1 + math.exp(-0.5))
    lengths = torch.tensor([2])
    assert converter(latent, lengths, torch.tensor([1]), 1).flatten().tolist() == pytest.approx([1 - near], abs=1e-6)
    two = converter(latent, lengths, torch.tensor([2]), 2).flatten().tolist()
    assert two == pytest.approx([1 - near, near], abs=1e-6)
    assert sum(p.numel() for p in converter.parameters()) == 1
    assert float(converter.sigma) == 1.0


def test_gaussian_converter_copies_where_sigma_is_small() -> None:
    converter = GaussianLengthConverter()
    with torch.no_grad():
        converter.sigma.fill_(0.05)
    latent = torch.arange(4.0).view(1, 4, 1)
    assert converter(latent, torch.tensor([4]), torch.tensor([4]), 4).flatten().tolist() == [0, 1, 2, 3]
    assert converter(latent, torch.tensor([4]), torch.tensor([2]), 2).flatten().tolist() == [0, 2]


def test_gaussian_converter_computes_weights_in_float32() -> None:
    """Centres beyond 256 are not whole numbers in bfloat16."""
    converter = GaussianLengthConverter()
    with torch.no_grad():
        converter.sigma.fill_(0.25)
    latent = torch.arange(400.0).view(1, 400, 1)
    exact = converter(latent, torch.tensor([400]), torch.tensor([400]), 400)
    rough = converter.bfloat16()(latent.bfloat16(), torch.tensor([400]), torch.tensor([400]), 400)
    assert rough.dtype == torch.bfloat16
    assert torch.allclose(rough.float(), exact, rtol=0.008, atol=0)  # the rounding of the values, nothing else


def test_gaussian_converter_learns_its_width() -> None:
    converter = GaussianLengthConverter().double()
    latent = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(2)).double()

    def total(sigma: float) -> torch.Tensor:
        with torch.no_grad():
            converter.sigma.fill_(sigma)
        return converter(latent, torch.tensor([5, 3]), torch.tensor([4, 6]), 6).square().sum()

    torch.autograd.backward(total(1.3))
    assert converter.sigma.grad is not None
    with torch.no_grad():
        slope = (total(1.3 + 1e-3) - total(1.3 - 1e-3)) / 2e-3
    assert float(converter.sigma.grad) == pytest.approx(float(slope), rel=1e-3)
