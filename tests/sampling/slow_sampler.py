"""The sampler chain again, slow and obvious: Python lists, full sorts, one token at a time.

The oracle for the real one. It shares nothing with it but the noise.
"""

import math
from collections.abc import Sequence

import numpy as np

from headlong import _native
from headlong.sampling import SamplingParams


def best_first(logits: Sequence[float]) -> list[int]:
    """Columns that are not -inf, by (logit descending, column ascending)."""
    alive = [i for i, x in enumerate(logits) if x > -math.inf]
    return sorted(alive, key=lambda i: (-logits[i], i))


def softmax(logits: Sequence[float]) -> list[float]:
    peak = max(logits)
    weights = [math.exp(x - peak) for x in logits]
    total = math.fsum(weights)
    return [w / total for w in weights]


def prefix_reaching(probabilities: Sequence[float], p: float) -> int:
    """Length of the shortest prefix with a sum of p or more."""
    total = 0.0
    for count, probability in enumerate(probabilities, 1):
        total += probability
        if total >= p:
            return count
    return len(probabilities)


def slow_top_p(logits: Sequence[float], p: float) -> int:
    return prefix_reaching(softmax(logits), p)


def slow_min_p(logits: Sequence[float], p: float) -> int:
    probabilities = softmax(logits)
    return max(1, sum(q >= p * probabilities[0] for q in probabilities))


def slow_typical_p(logits: Sequence[float], p: float) -> list[int]:
    probabilities = softmax(logits)
    entropy = -math.fsum(q * math.log(q) for q in probabilities if q > 0)
    distance = [abs(-math.log(q) - entropy) if q > 0 else math.inf for q in probabilities]
    order = sorted(range(len(logits)), key=lambda i: distance[i])
    return sorted(order[: prefix_reaching([probabilities[i] for i in order], p)])


def slow_penalised(
    logits: Sequence[float], window: Sequence[int], p: SamplingParams
) -> list[float]:
    row = list(logits)
    for token in set(window):
        x = row[token]
        x = x / p.repeat_penalty if x > 0 else x * p.repeat_penalty
        row[token] = x - (window.count(token) * p.frequency_penalty + p.presence_penalty)
    return row


def slow_sample(
    logits: Sequence[float],
    history: Sequence[int],
    params: SamplingParams,
    seed: int,
    banned: frozenset[int] = frozenset(),
) -> int:
    """The whole chain for the position after `history`."""
    row = [float(x) for x in logits]
    for token, bias in params.bias_pairs:
        row[token] += bias
    n = params.repeat_last_n
    window = list(history) if n < 0 else list(history[-n:]) if n else []
    row = slow_penalised(row, window, params)
    row = [-math.inf if i in banned else float(np.float32(x)) for i, x in enumerate(row)]
    ids = best_first(row)
    if params.temperature <= 0:
        return ids[0]
    if params.top_k > 0:
        ids = ids[: params.top_k]
    if params.typical_p < 1:
        ids = [ids[i] for i in slow_typical_p([row[i] for i in ids], params.typical_p)]
    if params.top_p < 1:
        ids = ids[: slow_top_p([row[i] for i in ids], params.top_p)]
    if params.min_p > 0:
        ids = ids[: slow_min_p([row[i] for i in ids], params.min_p)]
    noise = [_native.gumbel(seed, len(history), i) for i in ids]
    peak = max(row[i] for i in ids)
    scores = [(row[i] - peak) / params.temperature + g for i, g in zip(ids, noise, strict=True)]
    best = max(scores)
    return min(i for i, score in zip(ids, scores, strict=True) if score == best)
