"""One file holds everything a run needs to go on: weights, optimiser state, clock."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from training.model import Config, Model


@dataclass(slots=True)
class Clock:
    """How far a run is. `seconds` counts training time only, across resumes."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0


def save_checkpoint(
    path: Path, model: Model, optimisers: list[torch.optim.Optimizer], clock: Clock
) -> None:
    """Write atomically: a reader sees the old file or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "config": asdict(model.c),
            "model": model.state_dict(),
            "optimisers": [o.state_dict() for o in optimisers],
            "clock": asdict(clock),
        },
        partial,
    )
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The raw contents; tensors and plain values only, nothing executable."""
    return torch.load(path, map_location="cpu", weights_only=True)


def load_model(path: Path) -> tuple[Model, Clock]:
    """The model of a checkpoint, in evaluation mode, and how far it was trained."""
    saved = read_checkpoint(path)
    model = Model(Config(**saved["config"]))
    model.load_state_dict(saved["model"])
    return model.eval(), Clock(**saved["clock"])
