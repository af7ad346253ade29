"""`python -m mail_envs.adapters.isaacgym_probe`: two numbers of Isaac Gym that the native game has to assume.

It needs Isaac Gym (`mail_envs.adapters.isaacgym`) and runs the task door_open_inward there.

1. Whether the spring of the door acts: a leaf is opened to 0.8 rad, and let go. The original writes a stiffness of 5 N m/rad
   (`door_spring`), but a drive mode under which it may have no effect.
2. The share of the nominal force that moves a hand (`wrench_scale`): from the final speed of a base under full force, given its
   mass and the links' damping of 100/s.
"""

from __future__ import annotations

from mail_envs.adapters.isaacgym import IsaacGym, IsaacProcess
from mail_envs.adapters.isaacgym_worker import OPENED
from mail_envs.games.hands.rules import SPEED_OF_FORCE

MASS, DAMPING = 5.011, 100.0  # kg, 1/s, of a hand
INERTIA = 0.29  # kg m^2, of our own leaf about its hinge


def main() -> None:
    """Print both numbers, and what they mean."""
    game = IsaacGym("door_open_inward")
    process = IsaacProcess(game, 1)
    found = process.probe()
    process.close()
    spring = -found["spring"] / OPENED * INERTIA
    share = found["speed"] * MASS * DAMPING / (game.task.push * float(SPEED_OF_FORCE))
    print(
        f"door_spring: {spring:.2f} N m/rad if a leaf has an inertia of {INERTIA} kg m^2 (0: no spring acts)"
    )
    print(f"wrench_scale: {share:.3f} (the native game assumes {1 / 6:.3f})")


if __name__ == "__main__":
    main()
