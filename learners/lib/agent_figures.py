"""Rewards and advantages of every agent during training: what a learner logs of them, and a figure per run.

Means and variances show which agents a discriminator pays; histograms, whether it pays them alike. A histogram counts
in standard deviations of the whole team around its mean, so that those of all agents and updates can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

EDGES = (
    -2.5,
    -2.0,
    -1.5,
    -1.0,
    -0.5,
    0.0,
    0.5,
    1.0,
    1.5,
    2.0,
    2.5,
)  # the first and last bins have no end
CENTERS = np.arange(len(EDGES) + 1) / 2 - 2.75
LATEST = 0.1  # share of the run, at its end, whose histograms are shown
NAMES = ("reward", "advantage")


def by_agent(name: str, values: Tensor, valid: Tensor) -> dict[str, float]:
    """Metrics of `values` (T, E, N) where `valid`: of all agents NAME and NAME_sd; of agent i NAME_i, NAME_var_i, and
    the shares NAME_share_i_b of the bins b of its histogram. Agents without valid entries have none.
    """
    if int(valid.sum()) < 2:
        return {}
    sd, mean = torch.std_mean(values[valid])
    metrics = {name: float(mean), f"{name}_sd": float(sd)}
    edges = torch.tensor(EDGES, device=values.device)
    for i in range(values.shape[2]):
        own = values[:, :, i][valid[:, :, i]]
        if len(own):
            bins = torch.bucketize((own - mean) / (sd + 1e-8), edges)
            shares = torch.bincount(bins, minlength=len(EDGES) + 1) / len(own)
            metrics[f"{name}_{i}"] = float(own.mean())
            metrics[f"{name}_var_{i}"] = float(own.var(correction=0))
            metrics |= {f"{name}_share_{i}_{b}": float(x) for b, x in enumerate(shares)}
    return metrics


def agents_in(lines: Sequence[Mapping[str, Any]]) -> int:
    """Number of agents with logged variances of rewards; 0: the run has none."""
    found = [re.fullmatch(r"reward_var_(\d{1,4})", key) for line in lines for key in line]
    return max((int(m[1]) + 1 for m in found if m), default=0)


def column(lines: Sequence[Mapping[str, Any]], key: str) -> np.ndarray:
    """A metric in all lines, float64; NaN where a line does not have it as a number."""
    values = [line.get(key) for line in lines]
    return np.array([x if type(x) in (int, float) else np.nan for x in values], np.float64)


def histogram(lines: Sequence[Mapping[str, Any]], name: str, agent: int) -> np.ndarray:
    """Mean shares of the bins in the last lines, (bins,); NaN if they have none."""
    last = lines[-max(1, round(LATEST * len(lines))) :]
    rows = np.array([column(last, f"{name}_share_{agent}_{b}") for b in range(len(CENTERS))])
    known = rows[:, ~np.isnan(rows).any(0)]
    return known.mean(1) if known.size else np.full(len(CENTERS), np.nan)


def draw(path: Path, title: str, lines: Sequence[Mapping[str, Any]], colors: Sequence[str]) -> None:
    """Write the figure of a run from its metrics: rewards, advantages, and the discriminator's loss."""
    from matplotlib.figure import Figure

    picture = Figure(figsize=(13, 7), layout="constrained")
    panels = picture.subplots(2, 4)
    steps = column(lines, "step")
    for row, name in enumerate(NAMES):
        mean, variance, shares = panels[row, :3]
        for i in range(agents_in(lines)):
            look: dict[str, Any] = {
                "color": colors[i % len(colors)],
                "label": f"agent {i}",
                "linewidth": 1.2,
            }
            mean.plot(steps, column(lines, f"{name}_{i}"), **look)
            variance.plot(steps, column(lines, f"{name}_var_{i}"), **look)
            shares.step(CENTERS, histogram(lines, name, i), where="mid", **look)
        mean.set(title=f"mean {name}", xlabel="environment steps")
        variance.set(title=f"variance of the {name}", xlabel="environment steps")
        shares.set(
            title=f"histogram of the {name}, at the end", xlabel="team's standard deviations"
        )
    loss, legend = panels[0, 3], panels[1, 3]
    loss.plot(steps, column(lines, "disc_loss"), color="black", linewidth=1.2)
    loss.set(title="loss of the discriminator", xlabel="environment steps")
    legend.axis("off")
    legend.legend(*panels[0, 0].get_legend_handles_labels(), loc="upper left", frameon=False)
    picture.suptitle(title)
    picture.savefig(path, dpi=150)
