"""Drawing participation vectors: the second launch of every round, after the game's.

Every agent's number u of round t is the (t N + i)-th of the episode's player stream; the agent takes part
in action set m where u falls into the m-th of the intervals that its probabilities cut out of [0, 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mail_envs.kernels import device_function, launch
from mail_envs.player_functions import ActionSets, PlayerFunction
from mail_envs.random import uniform_at

ZERO = np.float32(0.0)
CERTAIN = np.float32(1.000001)  # sums of probabilities may exceed 1 by rounding


class Participation:
    """Draws I_t for E environments and keeps the histories that the player function wants to see.

    Args:
        player: the player function.
        buffers: the view's arrays; this class writes `participation` and restricts `action_mask`.
        device: where they live.
        max_rounds: T, the length of the histories.
        action_dims: every agent's own number of discrete actions, or of continuous components.
        discrete: kind of actions; as_action: whether φ is the last discrete action, not counted above.
        has_action_mask: whether the game writes a mask of its own every round.
    """

    def __init__(
        self,
        player: PlayerFunction,
        buffers,
        device,
        *,
        max_rounds: int,
        action_dims: list[int],
        discrete: bool,
        as_action: bool,
        has_action_mask: bool,
    ):
        num_envs, num_agents = buffers.participation.shape
        num_actions = max(action_dims)
        player.check(num_agents, action_dims, discrete)
        self.player, self.buffers = player, buffers
        self.past_actions: Any = None
        self.history: Any = None
        self._remember = None
        clock, alive, participation = buffers.clock, buffers.alive, buffers.participation

        has_turns = buffers.turns.shape[1] > 0
        if has_turns != player.needs_turns:
            raise ValueError(
                f"this game has its own order of turns, which {player!r} cannot replace: use OwnOrder()"
                if has_turns
                else "OwnOrder() is for games that say whose turn it is; this one does not"
            )
        table = player.table(num_agents)
        if has_turns:
            kernel = launch(draw_from_turns, "turns, alive, participation", device.name)
            self._draw = device.bind(kernel, buffers.turns, alive, participation)
        elif table is not None:
            row = np.array([table[1], player.shared_coin], np.int32)
            kernel = launch(draw_from_table, "table, row, clock, alive, participation", device.name)
            self._draw = device.bind(
                kernel, device.put(table[0]), device.put(row), clock, alive, participation
            )
        else:
            if device.name == "cuda" and not player.compiled:
                raise ValueError(
                    f"{player!r} is a plain Python function; device='cuda' needs one "
                    "that is compiled with numba"
                )
            self.history = device.zeros((num_envs, max_rounds + 1, num_agents), np.uint8)
            rounds = max_rounds if player.needs_state else 1
            shape = (num_envs, rounds, num_agents) + (() if discrete else (num_actions,))
            self.past_actions = device.zeros(shape, np.int32 if discrete else np.float32)
            if player.needs_state:
                kernel = launch(
                    remember,
                    "clock, actions, participation, alive, action_mask, past_actions",
                    device.name,
                )
                self._remember = device.bind(
                    kernel,
                    clock,
                    buffers.actions,
                    participation,
                    alive,
                    buffers.action_mask,
                    self.past_actions,
                )
            if player.compiled:
                sets = device.put(np.array([player.num_sets], np.int32))
                self._draw = device.bind(
                    compiled_draw(player, device.name),
                    sets,
                    clock,
                    buffers.state,
                    alive,
                    self.past_actions,
                    participation,
                    self.history,
                    buffers.errors,
                )
            else:
                arguments = "probabilities, clock, alive, participation, history"
                self._draw_given = launch(draw_from_probabilities, arguments, device.name)
                self._draw = self._draw_in_python

        self._restrict = self._zero_components = None
        narrows = isinstance(player, ActionSets)
        if discrete and (narrows or as_action or has_action_mask):
            members = (
                player.membership(num_actions) if narrows else np.ones((1, num_actions), np.int8)
            )
            kernel = launch(
                restrict_masks,
                "members, own, flags, alive, participation, action_mask",
                device.name,
            )
            self._restrict = device.bind(
                kernel,
                device.put(members),
                device.put(np.array(action_dims, np.int32)),
                device.put(np.array([has_action_mask, as_action], np.int32)),
                alive,
                participation,
                buffers.action_mask,
            )
        elif narrows:
            kernel = launch(restrict_components, "members, participation, actions", device.name)
            self._zero_components = device.bind(
                kernel, device.put(player.membership(num_actions)), participation, buffers.actions
            )

    def before_step(self) -> None:
        """Note the actions of the round that is about to be played."""
        if self._zero_components is not None:
            self._zero_components()
        if self._remember is not None:
            self._remember()

    def draw(self) -> None:
        """Draw the participation vectors of the round that comes next."""
        self._draw()
        if self._restrict is not None:
            self._restrict()

    def _draw_in_python(self) -> None:
        b = self.buffers
        rounds = np.ascontiguousarray(b.clock["rounds"])
        self.history[rounds == 0] = 0
        probabilities = python_probabilities(
            self.player, rounds, b.state, self.past_actions, self.history, b.participation.shape
        )
        self._draw_given(probabilities, b.clock, b.alive, b.participation, self.history)


@device_function
def draw_from_table(e, table, row, clock, alive, participation):
    """`row`: [the row to which the last row returns, whether all agents share one number]."""
    rows, n = table.shape
    t = clock[e].rounds
    k = t if t < rows else row[0] + (t - row[0]) % (rows - row[0])
    for i in range(n):
        u = uniform_at(clock[e].players_key, t * n + (0 if row[1] != 0 else i))
        participation[e, i] = u < table[k, i] and alive[e, i]


@device_function
def draw_from_turns(e, turns, alive, participation):
    for i in range(participation.shape[1]):
        participation[e, i] = turns[e, i] != 0 and alive[e, i]


@device_function
def remember(e, clock, actions, participation, alive, action_mask, past_actions):
    t = clock[e].rounds
    if t >= past_actions.shape[1]:  # an ended game that is left as it is
        return
    for i in range(participation.shape[1]):
        acts = participation[e, i] != 0 and alive[e, i]
        if actions.ndim == 2:
            a = actions[e, i]
            legal = acts and 0 <= a < action_mask.shape[2] and action_mask[e, i, a] != 0
            past_actions[e, t, i] = a if legal else -1
        else:
            for k in range(actions.shape[2]):
                past_actions[e, t, i, k] = actions[e, i, k] if acts else ZERO


@device_function
def restrict_masks(e, members, own, flags, alive, participation, action_mask):
    """Narrow masks to the action set. Agents that wait may send anything, or only φ.

    What the game wrote for the dead stays, and for agents whose action set it leaves nothing of. `own`: (N,) numbers of actions without φ. `flags`: [whether
    the game wrote a mask, whether φ is the last action].
    """
    for i in range(participation.shape[1]):
        m = participation[e, i]
        open_actions = 0
        for a in range(own[i]):
            if m != 0 and flags[0] != 0:
                open_actions += action_mask[e, i, a] * members[min(m, members.shape[0]) - 1, a]
        for a in range(own[i]):
            if m == 0:
                if flags[0] == 0 or flags[1] != 0 or alive[e, i]:
                    action_mask[e, i, a] = 1 - flags[1]
            elif flags[0] == 0 or open_actions > 0:
                free = action_mask[e, i, a] if flags[0] != 0 else 1
                action_mask[e, i, a] = free * members[min(m, members.shape[0]) - 1, a]
        if flags[1] != 0:
            action_mask[e, i, own[i]] = m == 0


@device_function
def restrict_components(e, members, participation, actions):
    """Zero the components of continuous actions that the action set does not contain."""
    for i in range(participation.shape[1]):
        if participation[e, i] != 0:
            for k in range(members.shape[1]):
                actions[e, i, k] *= members[participation[e, i] - 1, k]


@device_function
def draw_from_probabilities(e, probabilities, clock, alive, participation, history):
    """Draw from probabilities (E, N, M) that a Python function computed, and extend the history."""
    t = clock[e].rounds
    n = probabilities.shape[1]
    for i in range(n):
        u = uniform_at(clock[e].players_key, t * n + i)
        total = ZERO
        drawn = 0
        for m in range(probabilities.shape[2]):
            total += probabilities[e, i, m]
            if drawn == 0 and u < total and alive[e, i]:
                drawn = m + 1
        participation[e, i] = history[e, t, i] = drawn


def python_probabilities(player, rounds, state, past_actions, history, shape) -> np.ndarray:
    """Ask the user's Python function; float32 (E, N, M). ValueError when they are no probabilities."""
    if player.needs_state:
        answer = player.function(state, history, past_actions, rounds)
    else:
        answer = player.function(history, rounds)
    probabilities = np.asarray(answer, np.float32)
    expected = (*shape, player.num_sets) if isinstance(player, ActionSets) else shape
    if probabilities.shape != expected:
        raise ValueError(
            f"{player!r} returned an array of shape {probabilities.shape}; expected {expected}"
        )
    probabilities = probabilities.reshape(*shape, player.num_sets)
    total = probabilities.sum(-1)
    wrong = ~((total <= CERTAIN) & np.all(probabilities >= 0, -1))
    if wrong.any():
        raise ValueError(
            f"{player!r} returned the probabilities {probabilities[wrong][0]} for an "
            "agent; they must be at least 0 and add up to at most 1"
        )
    return probabilities


# --- player functions that the user wrote with numba --------------------------------------------------

_DRAW = """
import numpy as np

from mail_envs.kernels import INVALID_PROBABILITY, device_function
from mail_envs.participation import CERTAIN, ZERO
from mail_envs.random import uniform_at


@device_function
def one(e, sets, clock, state, alive, past_actions, participation, history, errors):
    t = clock[e].rounds
    n = participation.shape[1]
    past = history[e, :t]
    for i in range(n):
        u = uniform_at(clock[e].players_key, t * n + i)
        total = ZERO
        drawn = 0
        for m in range(1, sets[0] + 1):
            p = np.float32(CALL)
            if not p >= ZERO:
                errors[INVALID_PROBABILITY] = 1
            total += p
            if drawn == 0 and u < total and alive[e, i]:
                drawn = m
        if total > CERTAIN:
            errors[INVALID_PROBABILITY] = 1
        participation[e, i] = drawn
    for i in range(n):
        history[e, t, i] = participation[e, i]
"""


def compiled_draw(player: Any, device: str):
    """The launch that draws from the user's compiled function."""
    if isinstance(player, ActionSets):
        call = "probability(i, m, past)"
    elif player.needs_state:
        call = "probability(i, state[e], past, past_actions[e, :t])"
    else:
        call = "probability(i, past)"
    arguments = "sets, clock, state, alive, past_actions, participation, history, errors"
    return launch(
        player.function,
        arguments,
        device,
        _DRAW.replace("CALL", call),
        {"probability": player.function},
    )
