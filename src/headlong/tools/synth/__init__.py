"""Rehearsal files: real dimensions, made-up weights, a known next token and acceptance.

They answer what multi-token prediction would give on a machine before a large download.
"""

from headlong.models.rehearsal import Rehearsal, is_synthetic, read_rehearsal
from headlong.tools.synth.mixes import MIXES, Mix, find_mix
from headlong.tools.synth.sizes import SIZES, Size, find_size
from headlong.tools.synth.write import Written, plan_tensors, write_rehearsal

__all__ = [
    "MIXES",
    "SIZES",
    "Mix",
    "Rehearsal",
    "Size",
    "Written",
    "find_mix",
    "find_size",
    "is_synthetic",
    "plan_tensors",
    "read_rehearsal",
    "write_rehearsal",
]
