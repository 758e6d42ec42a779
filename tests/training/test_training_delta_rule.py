"""The chunked gated delta rule is the recurrent one, gradients included."""

# ruff: noqa: E402 (without PyTorch the module must be skipped before these imports)

import pytest

torch = pytest.importorskip("torch", reason="the training code needs PyTorch")

from training.delta_rule import UnitLowerInverse, chunked_delta_rule, recurrent_delta_rule

pytestmark = pytest.mark.training


def draw(length: int, decay: float = 2.0) -> list["torch.Tensor"]:
    """q, k, v, g, beta for 2 key heads and 4 value heads of 16."""
    generator = torch.Generator().manual_seed(length)

    def rand(*shape: int) -> "torch.Tensor":
        return torch.rand(*shape, generator=generator)

    q, k = (torch.nn.functional.normalize(rand(2, length, 2, 16) - 0.5, dim=-1) for _ in range(2))
    v = rand(2, length, 4, 16) - 0.5
    return [q, k, v, -decay * rand(2, length, 4), rand(2, length, 4)]


@pytest.mark.parametrize("length", [1, 5, 63, 64, 65, 150])
@pytest.mark.parametrize("chunk", [16, 64])
def test_chunks_give_what_the_recurrence_gives(length: int, chunk: int) -> None:
    inputs = draw(length)
    expected = recurrent_delta_rule(*inputs)
    assert torch.allclose(chunked_delta_rule(*inputs, chunk=chunk), expected, atol=1e-5)


def test_gradients_agree() -> None:
    inputs = draw(100)
    weights = torch.rand(2, 100, 4, 16, generator=torch.Generator().manual_seed(0))
    gradients = []
    for rule in (recurrent_delta_rule, chunked_delta_rule):
        leaves = [x.clone().requires_grad_() for x in inputs]
        (rule(*leaves) * weights).sum().backward()
        gradients.append([x.grad for x in leaves])
    for recurrent, chunked in zip(*gradients, strict=True):
        assert torch.allclose(recurrent, chunked, atol=1e-4)


def test_strong_decay_does_not_overflow() -> None:
    inputs = draw(128, decay=200.0)
    out = chunked_delta_rule(*inputs)
    assert torch.isfinite(out).all()
    assert torch.allclose(out, recurrent_delta_rule(*inputs), atol=1e-5)


def test_a_value_head_uses_the_key_head_of_its_index_modulo_the_key_heads() -> None:
    q, k, v, g, beta = draw(20)
    k[:, :, 1] = 0  # key head 1 writes nothing, so value heads 1 and 3 stay silent
    out = chunked_delta_rule(q, k, v, g, beta)
    assert (out[:, :, [1, 3]] == 0).all()
    assert (out[:, :, [0, 2]].abs().sum(-1) > 0).all()


def test_inverse_and_its_gradient() -> None:
    a = torch.rand(3, 32, 32, dtype=torch.float64).tril(-1).requires_grad_()
    inverse = UnitLowerInverse.apply(a)
    eye = torch.eye(32, dtype=torch.float64)
    assert torch.allclose(inverse @ (a + eye), eye.expand(3, 32, 32))
    small = (torch.rand(2, 4, 4, dtype=torch.float64)).tril(-1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: UnitLowerInverse.apply(x.tril(-1)), (small,))
