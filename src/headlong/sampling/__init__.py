"""From logits to tokens: settings, the sampler chain, and noise keyed by position.

Sampling is a pure function of (logits, settings, seed, tokens before, position), which is what
lets speculation be verified by plain equality of tokens.
"""

from headlong.sampling.chain import Logits, Sampler, most_needed
from headlong.sampling.confidence import probability
from headlong.sampling.grammar import Grammar
from headlong.sampling.history import TokenHistory
from headlong.sampling.logprobs import TokenLogprob
from headlong.sampling.mask import TokenMask
from headlong.sampling.params import MAX_DRAFT, SamplingParams
from headlong.sampling.subset import TokenSubset

__all__ = [
    "MAX_DRAFT",
    "Grammar",
    "Logits",
    "Sampler",
    "SamplingParams",
    "TokenHistory",
    "TokenLogprob",
    "TokenMask",
    "TokenSubset",
    "most_needed",
    "probability",
]
