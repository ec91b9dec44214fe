"""The latent is a linear map, or nothing at all."""

import torch

from bnb_fairseq.modules.latent import DeterministicLatent


def test_projection_by_hand() -> None:
    latent = DeterministicLatent(3, 2)
    assert latent.output_size == 2
    assert isinstance(latent.projection, torch.nn.Linear)
    assert latent.projection.bias.tolist() == [0.0, 0.0]
    with torch.no_grad():
        latent.projection.weight.copy_(torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]))
        latent.projection.bias.copy_(torch.tensor([0.5, 0.0]))
    states = torch.tensor([[[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]]])
    assert latent(states).tolist() == [[[6.5, 0.0], [7.5, -1.0]]]


def test_no_latent_is_the_state_itself() -> None:
    latent = DeterministicLatent(5, 0)
    assert latent.output_size == 5
    assert list(latent.parameters()) == []
    states = torch.randn(2, 3, 5)
    assert torch.equal(latent(states), states)


def test_dropout_only_in_training() -> None:
    for size in (0, 4):
        latent = DeterministicLatent(6, size, dropout=0.5)
        states = torch.randn(2, 50, 6)
        expected = latent.eval()(states)
        torch.manual_seed(1)
        dropped = latent.train()(states)
        zero = dropped.eq(0)
        assert 0.35 < float(zero.float().mean()) < 0.65
        assert torch.allclose(dropped[~zero], 2 * expected[~zero], rtol=0, atol=1e-6)


def test_fresh_projection_keeps_the_scale_of_its_input() -> None:
    """BERT's deviation of 0.02 would shrink a narrow latent to nothing beside the position embeddings."""
    torch.manual_seed(1)
    latent = DeterministicLatent(400, 64)(torch.randn(2, 300, 400))
    assert 0.9 < float(latent.detach().std()) < 1.1
