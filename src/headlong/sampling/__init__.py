"""From logits to tokens: settings, the sampler chain, and noise keyed by position.

Sampling is a pure function of (logits, settings, seed, tokens before, position), which is what
lets speculation be verified by plain equality of tokens.
"""

from headlong.sampling.chain import Logits, Sampler, most_needed
from headlong.sampling.confidence import probability
from headlong.sampling.history import TokenHistory
from headlong.sampling.params import MAX_DRAFT, SamplingParams
from headlong.sampling.subset import TokenSubset

__all__ = [
    "MAX_DRAFT",
    "Logits",
    "Sampler",
    "SamplingParams",
    "TokenHistory",
    "TokenSubset",
    "most_needed",
    "probability",
]
