"""A model small enough to build in a test."""

import torch
from training.model import Config, Model

SMALL = Config(
    vocab=64,
    hidden=32,
    layers=4,
    interval=2,
    ffn=32,
    heads=2,
    kv_heads=1,
    head_dim=16,
    rope_dim=8,
    key_heads=2,
    value_heads=4,
    state=16,
)


def small_model(config: Config = SMALL, scale: float = 0.3) -> Model:
    """Random weights everywhere, output projections and norms included; evaluation mode."""
    torch.manual_seed(0)
    model = Model(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif parameter.ndim == 2:
                parameter.normal_(std=scale)
    return model.eval()
