"""Games around other people's simulators: the contract of kernel games, one copy at a time, in Python.

A round of E copies is four strokes: `prepare` (compiled: who acts), the copies play (in this process, in
worker processes, or through the simulator's own batched interface), `settle` (compiled: rewards, returns,
time limit), and the copies that ended begin anew. The bookkeeping is that of `mail_envs.kernels`.

A simulator's record in `buffers.world` is the episode so far: every joint action and who acted. With the
episode's seed that is all there is to know, so a saved environment is restored by playing it again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.counts import at_least
from mail_envs.devices import Cpu
from mail_envs.kernels import INVALID_ACTION, chosen, device_function, in_space, launch
from mail_envs.markov_game import MarkovGame
from mail_envs.random import PLAYERS, next_seed, stream_key

RUNNING, TERMINATED, TRUNCATED, LOST = 0, 1, 2, 3  # `world.outcome` of a round
ZERO = np.float32(0.0)


class SimulatorGame(MarkovGame):
    """One copy of a simulator. A game's file implements these methods and the attributes of `MarkovGame`.

    Every other copy is made by the class with the same arguments, unless the game says otherwise: `factory`.

    Additional attributes:
        options: what `reset(options=...)` of the view was given, for `reset` to read, where `takes_options`.
    """

    options: dict[str, Any] | None = None

    def __new__(cls, *arguments: Any, **named: Any):
        game = super().__new__(cls)
        game.factory = partial(cls, *arguments, **named)
        return game

    def __reduce_ex__(self, protocol):
        """Copies and pickles are made anew, as simulators are seldom copied well; views play them on."""
        return super().__reduce_ex__(protocol) if self.factory is None else (_make, (self.factory,))

    def reset(self, seed: int) -> None:
        """Begin the episode of `seed`, in [0, 2**63)."""
        raise NotImplementedError

    def step(
        self, actions: np.ndarray, acts: np.ndarray, rewards: np.ndarray, metrics: np.ndarray
    ) -> tuple[bool, bool]:
        """Play a round; returns whether the episode has terminated, and whether it was truncated.

        Args:
            actions: int (N,), or float (N, A). Entries count where `acts` is not 0.
            acts: uint8 (N,), 0 for agents that take the null action, else the action set.
            rewards: float32 (N,), zeros, to be written.
            metrics: float32 (K,), to be written.
        """
        raise NotImplementedError

    def observe(
        self,
        observations: np.ndarray,
        action_mask: np.ndarray,
        alive: np.ndarray,
        state: np.ndarray,
    ) -> None:
        """Write observations (N, D), action_mask int8 (N, A), alive bool (N,) and state float32 (S,).

        `alive` is all True at the beginning of an episode; `action_mask` may be left alone where
        `has_action_mask` is False.
        """
        raise NotImplementedError

    def write_turns(self, turns: np.ndarray) -> None:
        """Write uint8 (N,), 1 for agents whose turn it is; where `has_turns`."""
        raise NotImplementedError

    def picture(self) -> np.ndarray:
        """The simulator's own image, uint8 (H, W, 3)."""
        raise NotImplementedError(f"{type(self).__name__} has no pictures")

    def infos(self) -> dict[str, dict[str, Any]]:
        """What the simulator itself tells agents, by name, in this round; where `has_infos`."""
        return {}

    def batch(self, num_envs: int) -> Callable[[Buffers], Any] | None:
        """Where the simulator has a batched interface: makes something like `Copies` from the buffers."""
        return None


def _make(factory: Callable[[], SimulatorGame]) -> SimulatorGame:
    game = factory()
    game.factory = factory
    return game


def record_dtype(max_rounds: int, num_agents: int, num_components: int) -> np.dtype:
    """A simulator's record: how the last round came out, and the episode so far.

    `num_components`: of continuous actions; 0: they are discrete.
    """
    joint = (max_rounds, num_agents) + ((num_components,) if num_components else ())
    return np.dtype(
        [
            ("outcome", "u1"),
            ("actions", "f4" if num_components else "i4", joint),
            ("acts", "u1", (max_rounds, num_agents)),
        ],
        align=True,
    )


class Copies:
    """E copies of a simulator, played one after the other in this process.

    `which`, bool (E,), says which copies; results go into the buffers. Worker processes and batched
    simulators offer the same methods.
    """

    def __init__(self, games: list[SimulatorGame], buffers: Buffers):
        self.games, self.buffers = games, buffers
        self.rows = [Row(buffers, e) for e in range(len(games))]

    def step(self, which: np.ndarray) -> None:
        for e, asked in enumerate(which.tolist()):
            if asked:
                play(self.games[e], self.rows[e])

    def reset(self, which: np.ndarray) -> None:
        for e, asked in enumerate(which.tolist()):
            if asked:
                begin(self.games[e], self.rows[e])

    def replay(self, which: np.ndarray) -> list[int]:
        """Bring copies to where their records and seeds say they are; returns those that came elsewhere."""
        return [e for e in which.nonzero()[0].tolist() if not replay(self.games[e], self.rows[e])]

    def take_options(self, options: dict[str, Any] | None) -> None:
        """Options of all episodes that begin, or are played again, from now on."""
        for game in self.games:
            game.options = options

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        return self.games[e].infos()

    def picture(self, e: int) -> np.ndarray:
        return self.games[e].picture()

    def close(self) -> None:
        for game in self.games:
            game.close()


class Row:
    """One copy's part of the buffers, as views; to slice them in every round takes microseconds."""

    def __init__(self, buffers: Buffers, e: int):
        self.buffers, self.e, b = buffers, e, buffers
        self.actions, self.acts = b.actions[e], b.acts[e]
        self.rewards, self.metrics = b.rewards[e], b.metrics[e]
        self.seen = (b.observations[e], b.action_mask[e], b.alive[e], b.state[e])
        self.alive, self.turns = b.alive[e], b.turns[e]
        self.outcome, self.seed = b.world["outcome"][e : e + 1], b.seeds[e : e + 1]
        self.record, self.clock = b.world[e : e + 1], b.clock[e : e + 1]

    def beside(self) -> Row:
        """Equal arrays elsewhere."""
        one = slice(self.e, self.e + 1)
        return Row(Buffers(**{k: np.copy(v[one]) for k, v in vars(self.buffers).items()}), 0)

    def shows(self) -> tuple[bytes, ...]:
        """Observations, who is alive, the state and whose turn it is. Masks depend on the player function, too."""
        observations, _, alive, state = self.seen
        return tuple(array.tobytes() for array in (observations, alive, state, self.turns))


def play(game: SimulatorGame, row: Row) -> None:
    """A round, from the buffers into the buffers."""
    terminated, truncated = game.step(row.actions, row.acts, row.rewards, row.metrics)
    row.outcome[0] = TERMINATED if terminated else TRUNCATED if truncated else RUNNING
    look(game, row)


def begin(game: SimulatorGame, row: Row) -> None:
    """Begin the episode of the copy's seed."""
    game.reset(int(row.seed[0]))
    row.alive[:] = True
    look(game, row)


def look(game: SimulatorGame, row: Row) -> None:
    game.observe(*row.seen)
    if game.has_turns:
        game.write_turns(row.turns)


def replay(game: SimulatorGame, row: Row) -> bool:
    """Play the copy's episode again up to its present round; the buffers stay as they are.

    Returns whether the simulator has come to what the buffers show.
    """
    again, record = row.beside(), row.record[0]
    again.seed[0], again.outcome[0] = row.clock["seed"][0], RUNNING
    begin(game, again)
    for t in range(int(row.clock["rounds"][0])):
        if again.outcome[0] != RUNNING:
            break
        again.actions[...], again.acts[...] = record["actions"][t], record["acts"][t]
        again.rewards[...] = 0
        play(game, again)
    return bool(row.clock["idle"][0]) or again.shows() == row.shows()


def open_copies(
    game: SimulatorGame,
    num_envs: int,
    allocate: Callable[[Any], Buffers],
    num_workers: int | None,
    worker_timeout: float,
    replayable: bool,
) -> Any:
    """E copies: `game` itself, batched by the simulator, or shared out among worker processes.

    `allocate` makes the buffers on a device.
    """
    if num_workers is None:
        batch = game.batch(num_envs) if num_envs > 1 and not replayable else None
        if batch is not None:
            return batch(allocate(Cpu(num_envs)))
        num_workers = min(num_envs, os.cpu_count() or 1) if num_envs > 1 else 0
    at_least(0, num_workers=num_workers)
    make = game.factory
    if (num_envs > 1 or num_workers) and make is None:
        raise ValueError(
            f"{type(game).__name__} was made from one environment, so there cannot be {num_envs} "
            "copies or workers: pass a function that makes the environment"
        )
    if num_workers == 0:
        buffers = allocate(Cpu(num_envs))
        return Copies([game, *(make() for _ in range(num_envs - 1) if make)], buffers)
    from mail_envs.processes import SharedMemory, Workers

    device = SharedMemory(num_envs)
    buffers = allocate(device)
    return Workers(game, buffers, device, min(num_workers, num_envs), worker_timeout)


class SimulatorLaunches:
    """`step` and `reset` of a view whose game is a simulator, as `kernels.game_launches` has them."""

    def __init__(self, copies: Copies, buffers: Buffers, settings: np.ndarray, pay_absent: bool):
        self.copies, self.buffers = copies, buffers
        device, b = Cpu(len(buffers.which)), buffers
        flags = np.array([pay_absent], np.int32)

        def bind(one, **arrays):
            return device.bind(launch(one, ", ".join(arrays), "cpu"), *arrays.values())

        self._prepare = bind(
            prepare,
            settings=settings,
            clock=b.clock,
            actions=b.actions,
            participation=b.participation,
            alive=b.alive,
            action_mask=b.action_mask,
            acts=b.acts,
            terminated=b.terminated,
            truncated=b.truncated,
            rewards=b.rewards,
            restarted=b.restarted,
            which=b.which,
            errors=b.errors,
        )
        self._settle = bind(
            settle,
            settings=settings,
            flags=flags,
            clock=b.clock,
            outcome=b.world["outcome"],  # not the record, whose type differs from game to game
            past_actions=b.world["actions"],
            past_acts=b.world["acts"],
            actions=b.actions,
            participation=b.participation,
            acts=b.acts,
            rewards=b.rewards,
            terminated=b.terminated,
            truncated=b.truncated,
            observations=b.observations,
            action_mask=b.action_mask,
            state=b.state,
            seeds=b.seeds,
            which=b.which,
        )
        self._wind = bind(
            wind, clock=b.clock, seeds=b.seeds, which=b.which, participation=b.participation
        )

    def step(self) -> None:
        b = self.buffers
        b.errors[INVALID_ACTION] = 0
        self._prepare()
        if b.errors[INVALID_ACTION]:
            return
        self.copies.step(b.which)
        self._settle()
        if np.count_nonzero(b.which):  # ended, to begin anew
            b.final_observations[b.which] = b.observations[b.which]
            b.final_state[b.which] = b.state[b.which]
            self._wind()
            self.copies.reset(b.which)

    def replay(self) -> list[int]:
        """After `set_state`: bring the simulators to where their records say they are.

        Returns the copies that came to something else. What a lost copy was playing is left lost.
        """
        b = self.buffers
        return self.copies.replay((b.world["outcome"] != LOST) | (b.clock["rounds"] == 0))

    def take_options(self, options: dict[str, Any] | None) -> None:
        """Options of all episodes that begin, or are played again, from now on."""
        self.copies.take_options(options)

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        """What the simulator of copy e tells its agents in this round."""
        return self.copies.infos(e)

    def picture(self, e: int) -> np.ndarray:
        """Copy e's image, uint8 (H, W, 3)."""
        return self.copies.picture(e)

    def close(self) -> None:
        self.copies.close()

    def reset(self) -> None:
        b = self.buffers
        self._wind()
        b.clock["illegal_actions"][b.which] = 0
        b.restarted[...] = False
        self.copies.reset(b.which)


@device_function
def wind(e, clock, seeds, which, participation):
    """Set the clock of an episode's beginning."""
    if not which[e]:
        return
    now = clock[e]
    now.seed = seeds[e]
    now.players_key = stream_key(seeds[e], PLAYERS)
    now.rounds = 0
    now.idle = 0
    for i in range(participation.shape[1]):
        now.returns[i] = ZERO


@device_function
def prepare(
    e, settings, clock, actions, participation, alive, action_mask, acts, terminated, truncated,
    rewards, restarted, which, errors,
):  # fmt: skip
    """Which copies play, and who acts in them."""
    over = settings[0].autoreset == 0 and (terminated[e] or truncated[e])
    which[e] = clock[e].idle == 0 and not over
    restarted[e] = False
    for i in range(participation.shape[1]):
        rewards[e, i] = ZERO
        acts[e, i] = 0
        if participation[e, i] != 0:
            if in_space(actions, e, i, settings[0]):
                acts[e, i] = chosen(actions, participation, alive, action_mask, e, i)
            else:
                errors[INVALID_ACTION] = 1


@device_function
def settle(
    e, settings, flags, clock, outcome, past_actions, past_acts, actions, participation, acts,
    rewards, terminated, truncated, observations, action_mask, state, seeds, which,
):  # fmt: skip
    """What a round comes to. Afterwards `which` are the copies that begin anew, from `seeds`.

    `flags`: [whether agents that do not participate are paid].
    """
    now = clock[e]
    if not which[e] and now.idle == 0:  # ended, and left as it is
        return
    t = now.rounds
    came = outcome[e] if which[e] else RUNNING
    for i in range(participation.shape[1]):
        past_acts[e, t, i] = acts[e, i]
        if actions.ndim == 2:
            past_actions[e, t, i] = actions[e, i]
        else:
            for k in range(actions.shape[2]):
                past_actions[e, t, i, k] = actions[e, i, k]
        now.illegal_actions += participation[e, i] != 0 and acts[e, i] == 0
        paid = participation[e, i] != 0 or flags[0] != 0
        rewards[e, i] = rewards[e, i] + ZERO if paid and which[e] else ZERO  # + 0: no -0
        now.returns[i] += rewards[e, i]
    now.rounds += 1
    if settings[0].fixed_horizon != 0 and (came == TERMINATED or came == TRUNCATED):
        now.idle = 1
        came = RUNNING
    terminated[e] = came == TERMINATED
    over = came != RUNNING or now.rounds >= settings[0].max_rounds
    truncated[e] = over and not terminated[e]
    which[e] = over and settings[0].autoreset != 0
    if over:
        now.last_seed = now.seed
        now.last_length = now.rounds
        for i in range(participation.shape[1]):
            now.last_returns[i] = now.returns[i]
        seeds[e] = next_seed(now.seed)
    if now.idle != 0:
        for i in range(observations.shape[1]):
            for k in range(observations.shape[2]):
                observations[e, i, k] = 0
            for a in range(min(settings[0].num_actions[i], action_mask.shape[2])):
                action_mask[e, i, a] = 1
        for k in range(state.shape[1]):
            state[e, k] = ZERO
