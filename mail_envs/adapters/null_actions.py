"""The null action φ of agents in external environments.

It is, for every agent, the first of these that exists:

1. `noop`: one action for all agents, or a dict from agents to actions, in the environment's own format (a
   number, or an array for MultiDiscrete, MultiBinary and Box);
2. zeros, if the action space is a Box that contains them;
3. the entry of `KNOWN` for the environment.

Without any, player functions under which agents may be absent raise an error.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

# Discrete actions that do nothing, by the module of the environment's class. Verified in the sources of
# PettingZoo 1.27.0 and mpe2 1.1.1. Only scenarios of mpe2 without communication are listed, because 0 is a word for
# speakers. `make("mpe_simple_reference", backend="mpe2")` and similar ids keep absent speakers silent.
KNOWN = {
    "pettingzoo.butterfly.cooperative_pong.cooperative_pong": 0,  # paddle.py: `if action == 0: return`
    "pettingzoo.butterfly.knights_archers_zombies.knights_archers_zombies": 5,  # Actions.ACTION_NONE
    "pettingzoo.butterfly.pistonball.pistonball": 1,  # moves by `action - 1`
    "pettingzoo.sisl.pursuit.pursuit": 4,  # motion_range[4] == [0, 0]
    "mpe2.simple.simple": 0,  # simple_env.py: only 1 to 4 push
    "mpe2.simple_adversary.simple_adversary": 0,
    "mpe2.simple_push.simple_push": 0,
    "mpe2.simple_spread.simple_spread": 0,
    "mpe2.simple_tag.simple_tag": 0,
}


def null_actions(
    module: str, native: dict[str, gymnasium.Space], noop: Any = None
) -> tuple[dict[str, Any], str | None]:
    """Null actions in the environment's own format, and an error message if some are unknown.

    Args:
        module: the module of the environment's class.
        native: the environment's own action spaces.
        noop: null actions given by the user.
    """
    if isinstance(noop, dict):
        strangers = [a for a in noop if a not in native]
        if strangers:
            raise ValueError(
                f"noop names {', '.join(map(str, strangers))}; the agents are {', '.join(native)}"
            )
    named = noop if isinstance(noop, dict) else {a: noop for a in native if noop is not None}
    found = {a: _checked(a, space, named[a]) for a, space in native.items() if a in named}
    for agent, space in native.items():
        if agent not in found:
            action = _known(module, space)
            if action is not None:
                found[agent] = action
    missing = [a for a in native if a not in found]
    return found, _problem(missing, native) if missing else None


def _known(module: str, space: gymnasium.Space) -> Any:
    """The second and third case above; None if neither applies."""
    if isinstance(space, spaces.Box):
        zeros = np.zeros(space.shape, space.dtype)
        return zeros if space.contains(zeros) else None
    if module in KNOWN and isinstance(space, spaces.Discrete):
        return space.dtype.type(KNOWN[module])
    return None


def _checked(agent: str, space: Any, action: Any) -> Any:
    """`noop` of one agent as an element of its space; ValueError if it is not in it."""
    try:
        given = np.broadcast_to(action, space.shape)
        own = given.astype(space.dtype)[()]
        fits = space.contains(own) and (isinstance(space, spaces.Box) or np.array_equal(own, given))
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"noop={action!r} of {agent} is not in its action space, {space}")
    return own


def _problem(missing: list[str], native: dict[str, gymnasium.Space]) -> str:
    shown = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
    return (
        f"{shown} may be absent from a round, but no null action in {native[missing[0]]} "
        "is known: specify it, for example noop=0 or noop={" + f"{missing[0]!r}: 0" + "}"
    )
