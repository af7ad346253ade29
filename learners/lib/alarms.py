"""Warnings when inverse Q-learning goes wrong: values that run away, or rewards that say nothing."""

from __future__ import annotations

from collections.abc import Callable

LARGEST = 10.0  # of |V|, times the largest sum of discounted rewards of size 1
SMALLEST = 1e-3  # spread of a reward that still tells rounds apart
PATIENCE = 10  # observations in a row


class Alarms:
    """Warns once when values diverge, and once when the learned reward collapses to a constant.

    Args:
        say: prints a line.
        gamma: discount.
        advice: what to change, when values diverge and when rewards collapse.
    """

    def __init__(self, say: Callable[[str], None], gamma: float, advice: tuple[str, str]):
        self.say, self.limit, self.advice = say, LARGEST / max(1 - gamma, 1e-3), advice
        self.flat = 0  # observations in a row with a constant reward
        self.diverged = self.collapsed = -1  # step of the warning

    def observe(self, step: int, largest: float, spread: float) -> None:
        """Check one update: the `largest` |V| of the team, and the `spread` of its rewards on demonstrations."""
        if self.diverged < 0 and not largest <= self.limit:  # also when it is not a number
            self.diverged = step
            self.say(
                f"warning: step {step}: values diverge: |V| is {largest:.4g}, beyond {self.limit:.4g}; "
                f"{self.advice[0]}"
            )
        self.flat = self.flat + 1 if spread < SMALLEST else 0
        if self.collapsed < 0 and self.flat == PATIENCE:
            self.collapsed = step
            self.say(
                f"warning: step {step}: the learned reward is constant on the demonstrations (standard deviation "
                f"{spread:.2g} for {PATIENCE} updates), so it teaches nothing; {self.advice[1]}"
            )

    @property
    def results(self) -> dict[str, float]:
        """The steps of the warnings, for evaluation.json."""
        steps = {"diverged_at_step": self.diverged, "collapsed_at_step": self.collapsed}
        return {name: step for name, step in steps.items() if step >= 0}

    def state_dict(self) -> dict:
        return {name: getattr(self, name) for name in ("flat", "diverged", "collapsed")}

    def load_state_dict(self, state: dict) -> None:
        for name in self.state_dict():
            setattr(self, name, state[name])
