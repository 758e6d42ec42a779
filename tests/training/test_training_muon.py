"""Muon's update has singular values near one and moves weights downhill."""

# ruff: noqa: E402 (without PyTorch the module must be skipped before these imports)

import pytest

torch = pytest.importorskip("torch", reason="the training code needs PyTorch")

from training.muon import Muon, orthogonalise

pytestmark = pytest.mark.training


@pytest.mark.parametrize("shape", [(64, 64), (96, 32), (32, 96)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    update = orthogonalise(torch.randn(shape))
    singular = torch.linalg.svdvals(update)
    assert update.shape == shape
    assert singular.max() < 1.3
    # A square random matrix has singular values near zero, which five steps do not lift.
    assert (singular > 0.5).float().mean() > 0.95


def test_direction_is_kept() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(32, 32)
    assert (orthogonalise(gradient) * gradient).sum() > 0
    assert torch.equal(orthogonalise(-gradient), -orthogonalise(gradient))


def test_step_length_does_not_depend_on_the_size_of_the_gradient() -> None:
    torch.manual_seed(0)
    gradient = torch.randn(16, 16)
    moved = []
    for scale in (2.0**-8, 2.0**8):  # powers of two: the same digits in bfloat16
        weight = torch.nn.Parameter(torch.zeros(16, 16))
        weight.grad = gradient * scale
        Muon([weight], lr=0.1).step()
        moved.append(weight.detach().clone())
    assert torch.equal(*moved)


def test_it_minimises_and_leaves_weights_without_gradient_alone() -> None:
    torch.manual_seed(0)
    target, inputs = torch.randn(8, 8), torch.randn(64, 8)
    weight, idle = torch.nn.Parameter(torch.zeros(8, 8)), torch.nn.Parameter(torch.ones(8, 8))
    optimiser = Muon([weight, idle], lr=0.05, weight_decay=0.1)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        loss = (inputs @ (weight - target).T).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    assert torch.equal(idle.detach(), torch.ones(8, 8))
