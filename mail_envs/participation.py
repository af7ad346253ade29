"""Draws participation vectors, after the game's step in every round.

Agent i's random number u in round t is number t N + i of the episode's player stream. The agent participates in
action set m if u falls into the m-th of the consecutive intervals of [0, 1) that its probabilities define.

After the first round of an episode that replaced one that ended, the launch also draws who would have acted next
in that one, from its history and its player stream; no other draw changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mail_envs.kernels import device_function, launch
from mail_envs.player_functions import ActionSets, PlayerFunction
from mail_envs.random import PLAYERS, stream_key, uniform_at

ZERO = np.float32(0.0)
CERTAIN = np.float32(1.000001)  # 1, with room for rounding in sums of probabilities


class Participation:
    """Draws I_t for E environments and keeps the histories that the player function needs.

    Args:
        player: the player function.
        buffers: the view's arrays; this class writes `participation` and restricts `action_mask`, and where an
            episode ended `clock.last_participation` and `final_action_mask`.
        device: the device of the arrays.
        max_rounds: T, the length of the histories.
        action_dims: each agent's number of discrete actions (without φ), or of continuous components.
        discrete: whether actions are discrete. as_action: whether φ is the last discrete action.
        has_action_mask: whether the game itself writes action masks.
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
        player.check(buffers.participation.shape[1], action_dims, discrete)
        check_turns(player, has_turns=buffers.turns.shape[1] > 0)
        self.player, self.buffers, self._device = player, buffers, device
        self.history: Any = None  # uint8 (E, T + 1, N)
        self.past_actions: Any = None  # int32 (E, T, N) or float32 (E, T, N, A)
        if self._needs_history():
            self._make_histories(max_rounds, 0 if discrete else max(action_dims))
        self._draw = self._choose_draw()
        self._remember = self._bind_remember() if player.needs_state else None
        self._restrict = self._zero_components = None
        narrows = isinstance(player, ActionSets)
        if discrete and (narrows or as_action or has_action_mask):
            self._restrict = self._bind_restrict(action_dims, has_action_mask, as_action)
        elif narrows:
            self._zero_components = self._bind_zero_components(max(action_dims))

    def _needs_history(self) -> bool:
        """Whether probabilities depend on more than the number of the round."""
        turns = self.buffers.turns.shape[1] > 0
        return not turns and self.player.table(self.buffers.participation.shape[1]) is None

    def _make_histories(self, max_rounds: int, num_components: int) -> None:
        """Allocate the participation vectors so far and, if the player function needs them, the actions."""
        num_envs, num_agents = self.buffers.participation.shape
        rounds = max_rounds if self.player.needs_state else 1
        components = (num_components,) if num_components else ()
        self.history = self._device.zeros((num_envs, max_rounds + 1, num_agents), np.uint8)
        self.past_actions = self._device.zeros(
            (num_envs, rounds, num_agents, *components), np.float32 if components else np.int32
        )

    def _bind(self, function: Any, **arrays: Any) -> Callable[[], None]:
        """A compiled loop of `function` over environments, with `arrays` as its further arguments."""
        kernel = launch(function, ", ".join(arrays), self._device.name)
        return self._device.bind(kernel, *arrays.values())

    def _choose_draw(self) -> Callable[[], None]:
        """The function that draws the next participation vectors."""
        player, device, b = self.player, self._device, self.buffers
        if player.needs_turns:
            return self._bind(
                draw_from_turns, turns=b.turns, alive=b.alive, participation=b.participation
            )
        table = player.table(b.participation.shape[1])
        if table is not None:
            row = np.array([table[1], player.shared_coin], np.int32)
            return self._bind(
                draw_from_table, table=device.put(table[0]), row=device.put(row), clock=b.clock,
                alive=b.alive, participation=b.participation,
            )  # fmt: skip
        if player.compiled:
            sets = device.put(np.array([player.num_sets], np.int32))
            return device.bind(
                compiled_draw(player, device.name), sets, b.clock, b.state, b.final_state, b.alive,
                self.past_actions, b.participation, self.history, b.errors,
            )  # fmt: skip
        if device.name == "cuda":
            raise ValueError(
                f"{player!r} is a plain Python function; device='cuda' needs one compiled with numba"
            )
        arguments = "probabilities, clock, alive, participation, history"
        self._draw_given = launch(draw_from_probabilities, arguments, device.name)
        self._draw_final = launch(draw_final, "probabilities, clock, participation", device.name)
        return self._draw_in_python

    def _bind_remember(self) -> Callable[[], None]:
        b = self.buffers
        return self._bind(
            remember, clock=b.clock, actions=b.actions, participation=b.participation, alive=b.alive,
            action_mask=b.action_mask, past_actions=self.past_actions,
        )  # fmt: skip

    def _bind_restrict(
        self, action_dims: list[int], has_action_mask: bool, as_action: bool
    ) -> Callable[[], None]:
        put, b, num_actions = self._device.put, self.buffers, max(action_dims)
        members = np.ones((1, num_actions), np.int8)
        if isinstance(self.player, ActionSets):
            members = self.player.membership(num_actions)
        return self._bind(
            restrict_masks, members=put(members), own=put(np.array(action_dims, np.int32)),
            flags=put(np.array([has_action_mask, as_action], np.int32)), clock=b.clock, alive=b.alive,
            participation=b.participation, action_mask=b.action_mask, final_action_mask=b.final_action_mask,
        )  # fmt: skip

    def _bind_zero_components(self, num_components: int) -> Callable[[], None]:
        b = self.buffers
        members = self._device.put(self.player.membership(num_components))
        return self._bind(
            restrict_components, members=members, participation=b.participation, actions=b.actions
        )

    def before_step(self) -> None:
        """Apply action sets to the actions of the coming round, and add them to the history."""
        if self._zero_components is not None:
            self._zero_components()
        if self._remember is not None:
            self._remember()

    def draw(self) -> None:
        """Draw the participation vectors of the next round, also where an episode ended."""
        self._draw()
        if self._restrict is not None:
            self._restrict()

    def _draw_in_python(self) -> None:
        b = self.buffers
        rounds = np.ascontiguousarray(b.clock["rounds"])
        ended = b.clock["begun"] != 0
        if ended.any():
            lengths = np.where(ended, b.clock["last_length"], rounds)
            state = np.where(ended[:, None], b.final_state, b.state)
            self._draw_final(self._ask(lengths, state), b.clock, b.participation)
        self.history[rounds == 0] = 0
        self.past_actions[rounds == 0] = -1 if self.past_actions.dtype == np.int32 else 0
        probabilities = self._ask(rounds, b.state)
        self._draw_given(probabilities, b.clock, b.alive, b.participation, self.history)

    def _ask(self, rounds: np.ndarray, state: np.ndarray) -> np.ndarray:
        """The probabilities (E, N, M) after `rounds` (E,) in `state` (E, S), from a Python function."""
        shape = self.buffers.participation.shape
        return python_probabilities(
            self.player, rounds, state, self.past_actions, self.history, shape
        )


def check_turns(player: PlayerFunction, has_turns: bool) -> None:
    """Raise ValueError unless `OwnOrder` is used exactly with games that have turns."""
    if has_turns and not player.needs_turns:
        raise ValueError(
            f"this game has its own order of turns, which {player!r} cannot replace: use OwnOrder()"
        )
    if player.needs_turns and not has_turns:
        raise ValueError("OwnOrder() is for games that say whose turn it is; this one does not")


@device_function
def draw_from_table(e, table, row, clock, alive, participation):
    """`row`: [the row that follows the last one, whether all agents share one random number]."""
    now = clock[e]
    if now.begun != 0:
        key = stream_key(now.last_seed, PLAYERS)
        take_row(table, row, key, now.last_length, now.last_alive, now.last_participation)
    take_row(table, row, now.players_key, now.rounds, alive[e], participation[e])


@device_function
def take_row(table, row, key, t, alive, participation):
    """Draw round t of the episode with the player stream `key`."""
    rows, n = table.shape
    k = t if t < rows else row[0] + (t - row[0]) % (rows - row[0])
    for i in range(n):
        u = uniform_at(key, t * n + (0 if row[1] != 0 else i))
        participation[i] = u < table[k, i] and alive[i]


@device_function
def draw_from_turns(e, turns, alive, participation):
    for i in range(participation.shape[1]):
        participation[e, i] = turns[e, i] != 0 and alive[e, i]


@device_function
def remember(e, clock, actions, participation, alive, action_mask, past_actions):
    t = clock[e].rounds
    if t >= past_actions.shape[1]:  # the episode has ended and is not reset
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
def restrict_masks(
    e, members, own, flags, clock, alive, participation, action_mask, final_action_mask
):
    now = clock[e]
    if now.begun != 0:
        restrict(members, own, flags, now.last_alive, now.last_participation, final_action_mask[e])
    restrict(members, own, flags, alive[e], participation[e], action_mask[e])


@device_function
def restrict(members, own, flags, alive, participation, action_mask):
    """Restrict masks to the action set. Agents that do not participate may send any action, or only φ.

    The game's masks are kept for dead agents, and for agents whose action set has no legal action.

    `own`: (N,) numbers of actions without φ. `flags`: [whether the game writes masks, whether φ is the last
    action].
    """
    for i in range(len(participation)):
        m = participation[i]
        open_actions = 0
        for a in range(own[i]):
            if m != 0 and flags[0] != 0:
                open_actions += action_mask[i, a] * members[min(m, members.shape[0]) - 1, a]
        for a in range(own[i]):
            if m == 0:
                if flags[0] == 0 or flags[1] != 0 or alive[i]:
                    action_mask[i, a] = 1 - flags[1]
            elif flags[0] == 0 or open_actions > 0:
                free = action_mask[i, a] if flags[0] != 0 else 1
                action_mask[i, a] = free * members[min(m, members.shape[0]) - 1, a]
        if flags[1] != 0:
            action_mask[i, own[i]] = m == 0


@device_function
def restrict_components(e, members, participation, actions):
    """Set the components of continuous actions that are not in the action set to 0."""
    for i in range(participation.shape[1]):
        if participation[e, i] != 0:
            for k in range(members.shape[1]):
                actions[e, i, k] *= members[participation[e, i] - 1, k]


@device_function
def draw_from_probabilities(e, probabilities, clock, alive, participation, history):
    """Draw from probabilities (E, N, M) that a Python function returned, and extend the history."""
    t = clock[e].rounds
    take_given(probabilities[e], clock[e].players_key, t, alive[e], participation[e])
    for i in range(probabilities.shape[1]):
        history[e, t, i] = participation[e, i]


@device_function
def draw_final(e, probabilities, clock, participation):
    """`draw_from_probabilities` for episodes that ended; `participation` only says how many there are."""
    now = clock[e]
    if now.begun != 0:
        key = stream_key(now.last_seed, PLAYERS)
        take_given(probabilities[e], key, now.last_length, now.last_alive, now.last_participation)


@device_function
def take_given(probabilities, key, t, alive, participation):
    """Draw round t of the episode with the player stream `key`."""
    n = probabilities.shape[0]
    for i in range(n):
        u = uniform_at(key, t * n + i)
        total = ZERO
        drawn = 0
        for m in range(probabilities.shape[1]):
            total += probabilities[i, m]
            if drawn == 0 and u < total and alive[i]:
                drawn = m + 1
        participation[i] = drawn


def python_probabilities(player, rounds, state, past_actions, history, shape) -> np.ndarray:
    """Call the user's Python function; float32 (E, N, M). ValueError if the values are not probabilities."""
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


# --- player functions compiled with numba --------------------------------------------------

_DRAW = """
import numpy as np

from mail_envs.kernels import INVALID_PROBABILITY, device_function
from mail_envs.participation import CERTAIN, ZERO
from mail_envs.random import PLAYERS, stream_key, uniform_at


@device_function
def one(e, sets, clock, state, final_state, alive, past_actions, participation, history, errors):
    now = clock[e]
    if now.begun != 0:
        t, key = now.last_length, stream_key(now.last_seed, PLAYERS)
        draw(sets, key, t, final_state[e], now.last_alive, past_actions[e, :t], now.last_participation,
             history[e, :t], errors)
    t = now.rounds
    draw(sets, now.players_key, t, state[e], alive[e], past_actions[e, :t], participation[e],
         history[e, :t], errors)
    for i in range(participation.shape[1]):
        history[e, t, i] = participation[e, i]


@device_function
def draw(sets, key, t, state, alive, past_actions, participation, past, errors):
    n = len(participation)
    for i in range(n):
        u = uniform_at(key, t * n + i)
        total = ZERO
        drawn = 0
        for m in range(1, sets[0] + 1):
            p = np.float32(CALL)
            if not p >= ZERO:
                errors[INVALID_PROBABILITY] = 1
            total += p
            if drawn == 0 and u < total and alive[i]:
                drawn = m
        if total > CERTAIN:
            errors[INVALID_PROBABILITY] = 1
        participation[i] = drawn
"""


def compiled_draw(player: Any, device: str):
    """A compiled loop that draws from the user's compiled function."""
    if isinstance(player, ActionSets):
        call = "probability(i, m, past)"
    elif player.needs_state:
        call = "probability(i, state, past, past_actions)"
    else:
        call = "probability(i, past)"
    arguments = (
        "sets, clock, state, final_state, alive, past_actions, participation, history, errors"
    )
    functions = {"probability": player.function}
    return launch(player.function, arguments, device, _DRAW.replace("CALL", call), functions)
