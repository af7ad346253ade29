"""`python -m mail_envs.adapters.isaacgym_probe`: two numbers of Isaac Gym that the native game has to assume.

It needs Isaac Gym (`mail_envs.adapters.isaacgym`) and runs the task door_open_outward there.

1. Whether the spring of the door acts: a leaf is opened to 0.2 rad, and let go. The original writes a stiffness of 5 N m/rad
   (`door_spring`) and a damping of 1 N m s/rad, but a drive mode under which they may have no effect.
2. The share of the nominal force that moves a hand (`wrench_scale`): from the final speed of a base under full force, given its
   mass and the links' damping of 100/s.
"""

from __future__ import annotations

from mail_envs.adapters.isaacgym import IsaacGym, IsaacProcess
from mail_envs.games.hands.model import DOOR_DAMPING, ROUND
from mail_envs.games.hands.rules import SPEED_OF_FORCE
from mail_envs.games.hands.tasks import TASKS

TASK = "door_open_outward"
MASS, DAMPING = 5.011, 100.0  # kg, 1/s, of a hand
INERTIA = 0.303  # kg m^2, of our own leaf about its hinge


def main() -> None:
    """Print both numbers, and what they mean."""
    process = IsaacProcess(IsaacGym(TASK), 1)
    try:
        found = process.probe()
    finally:
        process.close()
    spring, share = stiffness(found["angles"], found["leaf_speed"]), share_of(found["hand_speed"])
    print(
        f"door_spring: {spring:.2f} N m/rad if a leaf has an inertia of {INERTIA} kg m^2 (0: no spring acts)"
    )
    print(f"wrench_scale: {share:.3f} (the native game assumes {1 / 6:.3f})")


def stiffness(angles: list[float], speed: float) -> float:
    """N m/rad, of a leaf that was let go: its angle after each round, and its speed after the last, in rad/s.

    The spring's torque over time is the momentum that it gives, and what the hinge's damping has taken of that.
    """
    over_time = ROUND * (sum(angles) - (angles[0] + angles[-1]) / 2)
    return -(INERTIA * speed + DOOR_DAMPING * (angles[-1] - angles[0])) / over_time


def share_of(speed: float) -> float:
    """The share of the nominal force that gives a hand this final speed in m/s."""
    return speed * MASS * DAMPING / (TASKS[TASK].push * float(SPEED_OF_FORCE))


if __name__ == "__main__":
    main()
