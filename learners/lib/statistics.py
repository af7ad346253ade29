"""Means with intervals, and the interquartile mean over runs and tasks (Agarwal et al., 2021). NumPy only.

The runs of an algorithm on several tasks are a mapping from task to an array with one score per seed. The
number of seeds may differ between tasks. The bootstrap is stratified: it resamples seeds within each task,
because tasks are fixed and seeds are random.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Scores = Mapping[Any, Sequence[float]]

CONFIDENCE = 0.95
RESAMPLES = 2000
CHUNK = 1_000_000  # numbers drawn at once by the bootstrap


def mean_interval(
    values: Sequence[float] | np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float, tuple[float, float] | None]:
    """Mean, standard deviation and Student's t interval of the mean; no interval for a single value."""
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not len(x):
        raise ValueError(f"values of shape {x.shape}: expected a 1-D array of one or more numbers")
    mean = float(x.mean())
    if len(x) < 2:
        return mean, 0.0, None
    sd = float(x.std(ddof=1))
    half = half_width(sd, len(x), confidence)
    return mean, sd, (mean - half, mean + half)


def half_width(sd: float, count: int, confidence: float = CONFIDENCE) -> float:
    """Half the width of Student's t interval of a mean of `count` values; 0 for a single value."""
    if count < 2:
        return 0.0
    from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, count - 1)) * sd / math.sqrt(count)


def wilson_interval(rate: float, count: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval for a share `rate` of `count` trials; it lies inside [0, 1]."""
    from scipy.stats import norm

    z2 = float(norm.ppf((1 + confidence) / 2)) ** 2 / count
    center = (rate + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * rate * (1 - rate) + z2 * z2 / 4) / (1 + z2)
    return max(center - half, 0.0), min(center + half, 1.0)


def iqm(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Interquartile mean: the mean without the lowest and the highest quarter of the scores."""
    ordered = np.sort(np.asarray(scores, np.float64), axis=axis)
    count = ordered.shape[axis]
    cut = int(0.25 * count)
    return np.take(ordered, range(cut, count - cut), axis=axis).mean(axis=axis)


def pooled(scores: Scores) -> np.ndarray:
    """All scores of all tasks in one array."""
    return np.concatenate([np.asarray(v, np.float64).ravel() for v in scores.values()])


def stratified_bootstrap(
    scores: Scores,
    statistic: Callable[..., np.ndarray] = iqm,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> tuple[float, tuple[float, float]]:
    """The statistic of the pooled scores, and its percentile interval.

    Args:
        scores: task -> one score per seed.
        statistic: of arrays (..., scores) along `axis=-1`.
        resamples: number of bootstrap samples.
        confidence: share of the samples inside the interval.
        seed: of the resampling; the same scores give the same interval.
    """
    strata = [np.asarray(v, np.float64).ravel() for v in scores.values()]
    if not strata or min(len(s) for s in strata) == 0:
        raise ValueError(f"scores: every task needs at least one, got {dict(scores)!r}")
    rng = np.random.default_rng(seed)
    drawn = []
    step = max(1, CHUNK // sum(len(s) for s in strata))
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        sample = [s[rng.integers(0, len(s), (count, len(s)))] for s in strata]
        drawn.append(statistic(np.concatenate(sample, axis=1), axis=-1))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.concatenate(drawn), [tail, 100 - tail])
    return float(statistic(np.concatenate(strata), axis=-1)), (float(low), float(high))


def probability_of_improvement(x: Scores, y: Scores) -> float:
    """Probability that a run of x beats a run of y (ties count half), averaged over their common tasks."""
    shared = [task for task in x if task in y]
    if not shared:
        raise ValueError("the two algorithms have no task in common")
    rates = []
    for task in shared:
        difference = np.asarray(x[task], float)[:, None] - np.asarray(y[task], float)
        rates.append(np.mean((difference > 0) + 0.5 * (difference == 0)))
    return float(np.mean(rates))
