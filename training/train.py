"""Train the bundled model within a time budget.

    OMP_WAIT_POLICY=PASSIVE nice -n 19 python -m training.train --minutes 200

The learning rate follows the clock, not the step count: a short warm-up, a plateau, then a straight
line to zero that ends with the budget, so a run anneals fully however fast the machine is. A run is
resumed from its checkpoint if there is one. SIGTERM and SIGINT write a checkpoint and end the run.
"""

import argparse
import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import torch

from training.batches import Batches
from training.checkpoint import Clock, read_checkpoint, save_checkpoint
from training.evaluate import held_out_losses
from training.losses import LOOK_AHEAD, joint_loss
from training.model import Config, Model
from training.muon import Muon
from training.prepare import DEFAULT_DATA

DEFAULT_RUN = Path("training/runs/tiny")
MUON_LR, MUON_DECAY = 0.02, 0.1
ADAM_LR = 4e-3
WARM_UP, PLATEAU_ENDS = 0.02, 0.30  # shares of the time budget
# (share of the budget from which it holds, rows, positions per row): short rows while the model
# learns words, then as many tokens in long ones, so that it has seen positions beyond 512. The long
# rows run uncompiled: compiling for a second shape takes longer than it would save.
SHAPES = ((0.0, 8, 512), (0.92, 2, 2048))
CLIP = 1.0
CHECKPOINT_SECONDS = 240
EVALUATE_SECONDS = 600
LOG_EVERY = 10


def learning_rate_share(progress: float) -> float:
    """Multiplier of the peak learning rate at `progress` (0..1) of the time budget."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.02)
    if progress < PLATEAU_ENDS:
        return 1.0
    return max(0.0, (1 - progress) / (1 - PLATEAU_ENDS))


def batch_shape(progress: float) -> tuple[int, int]:
    """(rows, positions per row) at `progress` of the time budget."""
    return [(rows, length) for start, rows, length in SHAPES if progress >= start][-1]


def build_optimisers(model: Model) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices; AdamW for the embedding table, vectors and very flat matrices."""
    matrices, rest = [], []
    for name, parameter in model.named_parameters():
        flat = parameter.ndim < 2 or min(parameter.shape) < 16
        (rest if flat or name.startswith("token_embd") else matrices).append(parameter)
    return [
        Muon(matrices, lr=MUON_LR, weight_decay=MUON_DECAY),
        torch.optim.AdamW(rest, lr=ADAM_LR, betas=(0.9, 0.97), eps=1e-10, weight_decay=0.0),
    ]


class Run:
    """A training run in a folder: checkpoint.pt and log.jsonl."""

    def __init__(self, folder: Path, data: Path, minutes: float, compiled: bool) -> None:
        self.folder, self.data, self.budget = folder, data, minutes * 60
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        self.model = Model(Config())
        self.optimisers = build_optimisers(self.model)
        self.clock = Clock()
        if self.checkpoint.exists():
            saved = read_checkpoint(self.checkpoint)
            self.model.load_state_dict(saved["model"])
            for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
                optimiser.load_state_dict(state)
            self.clock = Clock(**saved["clock"])
            print(f"resumed at step {self.clock.step}, {self.clock.seconds / 60:.1f} min")
        # A resumed run draws new rows: the seed moves with the step.
        self.batches = Batches(data, seed=self.clock.step)
        self.stopping = False
        if compiled:
            for block in self.model.blk:
                block.compile(dynamic=False)

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the checkpoint."""
        save_checkpoint(self.checkpoint, self.model, self.optimisers, self.clock)

    def log(self, entry: dict[str, object]) -> None:
        """One line on the screen, one in log.jsonl."""
        print(" ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                       for k, v in entry.items()), flush=True)  # fmt: skip
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def step(self) -> dict[str, object]:
        """One update; returns what to log about it."""
        began = time.monotonic()
        progress = min(1.0, self.clock.seconds / self.budget)
        share = learning_rate_share(progress)
        for optimiser, peak in zip(self.optimisers, (MUON_LR, ADAM_LR), strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * share
        rows, length = batch_shape(progress)
        tokens = self.batches.draw(rows, length + LOOK_AHEAD)
        stance = "default" if (rows, length) == SHAPES[0][1:] else "force_eager"
        with torch.compiler.set_stance(stance), torch.autocast("cpu", torch.bfloat16):
            losses = joint_loss(self.model, tokens, chained_rows=max(1, rows // 4))
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        if not torch.isfinite(norm):
            raise RuntimeError(f"the gradient is not finite at step {self.clock.step}")
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        seconds = time.monotonic() - began
        self.clock.step += 1
        self.clock.tokens += rows * length
        self.clock.seconds += seconds
        return {
            **asdict(self.clock),
            "lr_share": share,
            "loss": losses.next_token,
            "mtp": [round(m, 4) for m in losses.mtp],
            "norm": norm.item(),
            "tokens_per_second": rows * length / seconds,
        }

    def evaluate(self) -> None:
        """Log the loss on held-out files."""
        began = time.monotonic()
        with torch.compiler.set_stance("force_eager"):  # no compilation for its shapes
            held_out = held_out_losses(self.model, self.data, rows_per_stream=6)
        self.clock.seconds += time.monotonic() - began
        self.log({**asdict(self.clock), "held_out": held_out})

    def train(self) -> None:
        """Step until the budget is spent or a signal asks to stop."""
        saved_at = evaluated_at = time.monotonic()
        while self.clock.seconds < self.budget and not self.stopping:
            entry = self.step()
            if self.clock.step % LOG_EVERY == 0:
                self.log(entry)
            if time.monotonic() - evaluated_at > EVALUATE_SECONDS:
                self.evaluate()
                evaluated_at = time.monotonic()
            if time.monotonic() - saved_at > CHECKPOINT_SECONDS:
                self.save()
                saved_at = time.monotonic()
        self.save()
        self.evaluate()

    def stop(self, signum: int, frame: FrameType | None) -> None:
        """Signal handler: finish the step, save, end."""
        self.stopping = True


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--run", type=Path, default=DEFAULT_RUN)
    parser.add_argument("--minutes", type=float, default=100.0, help="time budget of the whole run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-compile", action="store_true", help="start at once, run slower")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    run = Run(options.run, options.data, options.minutes, compiled=not options.no_compile)
    signal.signal(signal.SIGTERM, run.stop)
    signal.signal(signal.SIGINT, run.stop)
    run.train()


if __name__ == "__main__":
    main()
