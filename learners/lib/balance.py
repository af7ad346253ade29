"""Warnings when the adversarial training of a run goes wrong."""

from __future__ import annotations

LOST_LOSS = 0.3  # sum of both cross-entropies; 2 log 2 = 1.386 for a discriminator at chance level
PATIENCE = 50  # updates
DECAY = 0.98


class Balance:
    """Warns once each time the discriminator's loss stays too low, or the return collapses."""

    def __init__(self, say, patience_at_start: int):
        """`patience_at_start`: first updates, whose returns are ignored: short episodes end first."""
        self.say, self.patience_at_start = say, patience_at_start
        self.won = 0
        self.average: float | None = None
        self.best: float | None = None
        self.collapsed = False

    def observe(self, update: int, metrics: dict[str, float]) -> None:
        """Check the metrics of one update: `disc_loss`, and `return` if episodes ended."""
        self.won = self.won + 1 if metrics.get("disc_loss", 1.0) < LOST_LOSS else 0
        if self.won == PATIENCE:
            self.say(
                f"warning: update {update}: the discriminator's loss has been below {LOST_LOSS} for "
                f"{PATIENCE} updates: it separates expert and policy almost perfectly, so its rewards "
                "carry little information (try a smaller --disc-kl-clip)"
            )
        if "return" not in metrics or update < self.patience_at_start:
            return
        value = metrics["return"]
        self.average = value if self.average is None else DECAY * self.average + (1 - DECAY) * value
        self.best = self.average if self.best is None else max(self.best, self.average)
        fallen = self.average < self.best - max(10.0, 0.5 * abs(self.best))
        if fallen and not self.collapsed:
            self.say(
                f"warning: update {update}: the return collapsed "
                f"from {self.best:.1f} to {self.average:.1f}"
            )
        self.collapsed = fallen

    def state_dict(self) -> dict:
        return {
            "won": self.won,
            "average": self.average,
            "best": self.best,
            "collapsed": self.collapsed,
        }

    def load_state_dict(self, state: dict) -> None:
        self.__dict__.update(state)
