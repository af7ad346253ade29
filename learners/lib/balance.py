"""Warnings when adversarial training goes wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

LOST_LOSS = 0.3  # sum of both cross-entropies; 2 log 2 = 1.386 for a discriminator at chance level
PATIENCE = 50  # updates
DECAY = 0.98  # per update, of the weight of past episodes
ENOUGH = 20  # episodes in an average before it is compared
SMALL = 0.1  # a smaller fall, as a share of the best return, is never a collapse
WINS_LOST = (
    0.2  # such a fall of the win rate is a collapse, and so is losing half of a small win rate
)
NOISE = 3.0  # least fall of a win rate that is a collapse, in standard errors


class Balance:
    """Warns once each time the discriminator's loss stays too low, or the policies collapse.

    The criterion is the win rate in games that report who won, elsewhere the true return: a policy has collapsed
    when its running average is below the best average by more than the standard deviation of episode returns at
    that time. The first `settled` updates are ignored, because short episodes end first.
    Updates before `moving`, the first one that trains the actors, can only raise the best average.
    """

    def __init__(self, say: Callable[[str], None], settled: int, moving: int):
        self.say, self.settled, self.moving = say, settled, moving
        self.won = 0  # updates in a row that the discriminator has won
        # Sums over past episodes, discounted: their number, values and squared values.
        self.episodes = self.values = self.squares = 0.0
        self.best: float | None = None
        self.spread = 0.0  # standard deviation over episodes when the best average was reached
        self.collapsed = False

    def observe(self, update: int, metrics: dict[str, float]) -> None:
        """Check the metrics of one update: `disc_loss`, and those of `Rollout.episodes`."""
        self.won = self.won + 1 if metrics.get("disc_loss", 1.0) < LOST_LOSS else 0
        if self.won == PATIENCE:
            self.say(
                f"warning: update {update}: the discriminator's loss has been below {LOST_LOSS} for "
                f"{PATIENCE} updates: it separates expert and policy almost perfectly, so its rewards "
                "carry little information (try a smaller --disc-kl-clip)"
            )
        if update >= self.settled and metrics.get("episodes"):
            self._judge(update, metrics)

    def _judge(self, update: int, metrics: dict[str, float]) -> None:
        """Add the finished episodes of one update to the averages, and compare with the best."""
        wins, count = "win_rate" in metrics, metrics["episodes"]
        value = metrics["win_rate" if wins else "return"]
        variance = value * (1 - value) if wins else metrics["return_sd"] ** 2
        self.episodes = DECAY * self.episodes + count
        self.values = DECAY * self.values + count * value
        self.squares = DECAY * self.squares + count * (variance + value**2)
        if self.episodes < ENOUGH:
            return
        average = self.values / self.episodes
        spread = math.sqrt(max(self.squares / self.episodes - average**2, 0.0))
        if self.best is None or average > self.best:
            self.best, self.spread = average, spread
        allowed = self._allowed_fall(wins)
        fall = self.best - average
        if update >= self.moving and fall > allowed and not self.collapsed:
            self.collapsed = True
            show = "{:.1%}".format if wins else "{:.1f}".format
            what = "win rate" if wins else "return"
            self.say(
                f"warning: update {update}: the {what} collapsed from {show(self.best)} to {show(average)}"
            )
        elif fall < allowed / 2:
            self.collapsed = False

    def _allowed_fall(self, wins: bool) -> float:
        """Largest fall below the best average that is not a collapse."""
        assert self.best is not None
        if not wins:
            return max(self.spread, SMALL * abs(self.best))
        noise = NOISE * self.spread / math.sqrt(self.episodes)
        return max(noise, min(WINS_LOST, self.best / 2))

    def state_dict(self) -> dict:
        names = ("won", "episodes", "values", "squares", "best", "spread", "collapsed")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict) -> None:
        for name in self.state_dict():
            setattr(self, name, state[name])
