"""The torch model: parallel and stepwise forms agree, nothing looks ahead, drafts chain."""

# ruff: noqa: E402 (without PyTorch the module must be skipped before these imports)

import pytest

torch = pytest.importorskip("torch", reason="the training code needs PyTorch")

from small_qwen35 import SMALL, small_model
from training.decode import Decoder, generate
from training.losses import LOOK_AHEAD, MTP_WEIGHTS, joint_loss

pytestmark = pytest.mark.training


def draw_tokens(batch: int, length: int) -> "torch.Tensor":
    generator = torch.Generator().manual_seed(length)
    return torch.randint(SMALL.vocab, (batch, length), generator=generator)


def test_decoding_token_by_token_gives_the_logits_of_the_parallel_pass() -> None:
    model, tokens = small_model(), draw_tokens(2, 80)
    with torch.no_grad():
        expected = model.logits(model.trunk(tokens))
    decoder = Decoder(model, 2)
    stepwise = torch.stack([decoder.step(column) for column in tokens.unbind(1)], dim=1)
    assert torch.allclose(stepwise, expected, atol=1e-3)


def test_generation_is_the_greedy_choice_at_every_position() -> None:
    model, prompts = small_model(), draw_tokens(2, 7)
    written = generate(model, prompts, 9)
    text = torch.cat([prompts, written], dim=1)
    with torch.no_grad():
        greedy = model.logits(model.trunk(text)).argmax(-1)
    assert written.shape == (2, 9)
    assert torch.equal(greedy[:, 6:-1], written)


def test_the_trunk_does_not_look_ahead() -> None:
    model, tokens = small_model(), draw_tokens(1, 40)
    changed = tokens.clone()
    changed[0, 25:] = (changed[0, 25:] + 1) % SMALL.vocab
    with torch.no_grad():
        before, after = model.trunk(tokens), model.trunk(changed)
    assert torch.allclose(before[:, :25], after[:, :25], atol=1e-5)
    assert not torch.allclose(before[:, 25], after[:, 25], atol=1e-2)


def test_mtp_rows_do_not_look_ahead() -> None:
    model, tokens = small_model(), draw_tokens(1, 20)
    with torch.no_grad():
        hidden = model.trunk(tokens)
        embedded = model.token_embd(tokens[:, 1:])
        before = model.mtp(embedded, hidden[:, :18], steps=2)
        embedded[:, 12] += 1  # token 13: first seen by row 12 in step 1 and by row 11 in step 2
        after = model.mtp(embedded, hidden[:, :18], steps=2)
    for step, seen_from in enumerate((12, 11)):
        same = torch.isclose(before[step], after[step], atol=1e-5).all(-1)[0]
        assert same[:seen_from].all()
        assert not same[seen_from]


def test_chained_mtp_rows_equal_drafting_one_row_at_a_time() -> None:
    """Row j of step s, alone: keys of the true rows 0..j, then of its own chain."""
    model, tokens = small_model(), draw_tokens(1, 16)
    row, steps = 9, 3
    mtp = model.mtp
    with torch.no_grad():
        hidden = model.trunk(tokens)
        embedded = model.token_embd(tokens[:, 1:])
        together = mtp(embedded[:, : 12 + steps - 1], hidden[:, :12], steps=steps)

        y = mtp.mix(embedded[:, : row + 1], hidden[:, : row + 1])
        q, gate, k, v = mtp.mixer.project(mtp.attn_norm(y), torch.arange(row + 1))
        m = mtp.complete(y, mtp.mixer.finish(q, gate, k, v, None))[:, -1:]
        alone = [m]
        for step in range(1, steps):
            y = mtp.mix(embedded[:, row + step : row + step + 1], m)
            q, gate, new_k, new_v = mtp.mixer.project(mtp.attn_norm(y), torch.tensor([row + step]))
            k, v = torch.cat([k, new_k], 2), torch.cat([v, new_v], 2)
            everything = torch.ones(1, k.shape[2], dtype=torch.bool)
            m = mtp.complete(y, mtp.mixer.finish(q, gate, k, v, everything))
            alone.append(m)
    for parallel, single in zip(together, alone, strict=True):
        assert torch.allclose(parallel[:, row], single[:, 0], atol=1e-4)


def test_loss_reaches_every_parameter() -> None:
    model = small_model(scale=0.05)
    losses = joint_loss(model, draw_tokens(3, 40 + LOOK_AHEAD), chained_rows=2)
    losses.total.backward()
    assert len(losses.mtp) == len(MTP_WEIGHTS)
    assert losses.next_token == pytest.approx(4.2, abs=1.0)  # ln 64 = 4.16
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_perfect_trunk_and_head_have_no_loss_against_the_text() -> None:
    model = small_model(scale=0.05)
    tokens = torch.full((2, 30 + LOOK_AHEAD), 5)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-2)
    for _ in range(25):
        optimiser.zero_grad()
        losses = joint_loss(model, tokens, chained_rows=1)
        losses.total.backward()
        optimiser.step()
    assert losses.next_token < 0.05
    assert max(losses.mtp) < 0.05
