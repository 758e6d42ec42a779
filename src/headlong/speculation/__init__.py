"""Guessing tokens ahead, and deciding how far: drafters, the rule of acceptance, draft length.

Nothing here can change the text: a draft is kept only where it equals what the target samples.
"""

from headlong.speculation.acceptance import Acceptance
from headlong.speculation.controller import choose
from headlong.speculation.costs import CostTable
from headlong.speculation.setting import Auto, DraftLength, Fixed
from headlong.speculation.stats import SpeculationStats
from headlong.speculation.verify import Verdict, verify

__all__ = [
    "Acceptance",
    "Auto",
    "CostTable",
    "DraftLength",
    "Fixed",
    "SpeculationStats",
    "Verdict",
    "choose",
    "verify",
]
