"""E copies of a simulator as one game: in this process, in worker processes, or batched by the simulator.

A round has four steps: `prepare_round` (compiled: who acts), the simulators' steps, `finish_round` (compiled:
rewards, returns, time limit), and the reset of copies whose episodes ended. The rules that all games share are in
`mail_envs.rounds`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mail_envs.buffers import Buffers
from mail_envs.cores import usable_cores
from mail_envs.counts import at_least
from mail_envs.devices import Cpu, make_device
from mail_envs.kernels import INVALID_ACTION, device_function, launch
from mail_envs.processes import SharedMemory, Workers
from mail_envs.random import next_seed
from mail_envs.rounds import (
    LOST,
    RUNNING,
    acting_set,
    begin_clock,
    count_reward,
    end_round,
    in_space,
    is_left_ended,
    show_idle,
)
from mail_envs.simulator import Row, SimulatorGame, begin, play, replay


class Copies:
    """E copies of a simulator, played one after the other in this process.

    `which`, bool (E,), selects copies; results are written to the buffers. Worker processes and batched
    simulators have the same methods.
    """

    def __init__(self, games: list[SimulatorGame], buffers: Buffers):
        self.games, self.buffers = games, buffers
        self.rows = [Row(buffers, e) for e in range(len(games))]

    def step(self, which: np.ndarray) -> None:
        for e, plays in enumerate(which.tolist()):
            if plays:
                play(self.games[e], self.rows[e])

    def reset(self, which: np.ndarray) -> None:
        for e, begins in enumerate(which.tolist()):
            if begins:
                begin(self.games[e], self.rows[e])

    def replay(self, which: np.ndarray) -> list[int]:
        """Replay the episodes in the buffers up to now; returns the copies that gave other observations."""
        return [e for e in which.nonzero()[0].tolist() if not replay(self.games[e], self.rows[e])]

    def take_options(self, options: dict[str, Any] | None) -> None:
        """Set the options of all episodes that are begun or replayed from now on."""
        for game in self.games:
            game.reset_options = options

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        return self.games[e].infos()

    def picture(self, e: int) -> np.ndarray:
        return self.games[e].picture()

    def close(self) -> None:
        for game in self.games:
            game.close()


def open_copies(
    game: SimulatorGame,
    num_envs: int,
    allocate: Callable[[Any], Buffers],
    num_workers: int | None,
    worker_timeout: float,
    replayable: bool,
    device: str = "cpu",
) -> Any:
    """Make E copies: in this process, batched by the simulator, or divided among worker processes.

    `allocate` makes the buffers on a device.
    """
    if game.always_batched:
        if num_workers:
            raise ValueError(
                f"num_workers={num_workers!r}: {type(game).__name__} plays all copies in one process"
            )
        place = make_device(device, num_envs, 1)
        make_copies: Any = game.batch(num_envs)
        return make_copies(allocate(place))
    if num_workers is None:
        may = num_envs > 1 and (game.batch_replays or not replayable)
        batch = game.batch(num_envs) if may else None
        if batch is not None:
            return batch(allocate(Cpu(num_envs)))
        num_workers = min(num_envs, usable_cores()) if num_envs > 1 else 0
    at_least(0, num_workers=num_workers)
    make = game.factory
    if (num_envs > 1 or num_workers) and make is None:
        raise ValueError(
            f"{type(game).__name__} was made from a single environment, so num_envs={num_envs} and workers are "
            "not possible: pass a function that makes the environment"
        )
    if num_workers == 0:
        buffers = allocate(Cpu(num_envs))
        return Copies([game, *(make() for _ in range(num_envs - 1) if make)], buffers)
    memory = SharedMemory(num_envs)
    buffers = allocate(memory)
    return Workers(game, buffers, memory, min(num_workers, num_envs), worker_timeout)


class SimulatorLaunches:
    """`step` and `reset` of a view whose game is a simulator, like `kernels.KernelLaunches`."""

    def __init__(
        self, copies: Copies, buffers: Buffers, device: Any, settings: np.ndarray, has_turns: bool
    ):
        self.copies, self.buffers, self.device, b = copies, buffers, device, buffers
        settings, flags = device.put(settings), device.put(np.array([has_turns], np.int32))

        def bind(one, **arrays):
            return device.bind(launch(one, ", ".join(arrays), device.name), *arrays.values())

        self._prepare_round = bind(
            prepare_round,
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
        self._finish_round = bind(
            finish_round,
            settings=settings,
            flags=flags,
            clock=b.clock,
            outcome=b.world["outcome"],  # fields, because the record's dtype differs between games
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
        clocks = {"clock": b.clock, "seeds": b.seeds, "which": b.which}
        self._start_clocks = bind(start_clocks, **clocks, participation=b.participation)
        self._forget = bind(forget, clock=b.clock, which=b.which, participation=b.participation)
        self._keep_finals = bind(
            keep_finals,
            flags=flags,
            clock=b.clock,
            which=b.which,
            participation=b.participation,
            turns=b.turns,
            alive=b.alive,
            observations=b.observations,
            final_observations=b.final_observations,
            action_mask=b.action_mask,
            final_action_mask=b.final_action_mask,
            state=b.state,
            final_state=b.final_state,
        )

    def step(self) -> None:
        b, on_cpu = self.buffers, self.device.name == "cpu"
        if on_cpu:
            b.errors[INVALID_ACTION] = 0
        self._prepare_round()
        # On CUDA, the action is null, and the view looks later.
        if on_cpu and b.errors[INVALID_ACTION]:
            return
        self.copies.step(b.which)
        self._finish_round()
        # Episodes that ended. The bytes are looked through faster than by NumPy, for one copy and for many.
        if 1 in self.device.get(b.which).tobytes():
            self._keep_finals()
            self._start_clocks()
            self.copies.reset(b.which)

    def replay(self) -> list[int]:
        """After `set_state`: replay the saved episodes in the simulators.

        Returns the copies that gave other observations. Episodes that were lost with a worker are not replayed.
        """
        b = self.buffers
        return self.copies.replay((b.world["outcome"] != LOST) | (b.clock["rounds"] == 0))

    def take_options(self, options: dict[str, Any] | None) -> None:
        """Set the options of all episodes that are begun or replayed from now on."""
        self.copies.take_options(options)

    def infos(self, e: int) -> dict[str, dict[str, Any]]:
        """The infos that the simulator of copy e gives its agents in this round."""
        return self.copies.infos(e)

    def picture(self, e: int) -> np.ndarray:
        """Copy e's image, uint8 (H, W, 3)."""
        return self.copies.picture(e)

    def close(self) -> None:
        self.copies.close()

    def reset(self) -> None:
        b = self.buffers
        self._start_clocks()
        self._forget()
        b.restarted[...] = False
        self.copies.reset(b.which)


@device_function
def start_clocks(e, clock, seeds, which, participation):
    """Set the clocks of the copies that begin an episode."""
    if which[e]:
        begin_clock(seeds[e], clock[e])


@device_function
def forget(e, clock, which, participation):
    """Forget the earlier episodes of the copies that the user resets."""
    if which[e]:
        clock[e].illegal_actions = 0
        clock[e].begun = 0


@device_function
def keep_finals(
    e, flags, clock, which, participation, turns, alive, observations, final_observations,
    action_mask, final_action_mask, state, final_state,
):  # fmt: skip
    """Keep what ended copies show, before they begin anew. Who would act next: see `Participation`."""
    if not which[e]:
        return
    for k in range(state.shape[1]):
        final_state[e, k] = state[e, k]
    for i in range(participation.shape[1]):
        for k in range(observations.shape[2]):
            final_observations[e, i, k] = observations[e, i, k]
        for k in range(action_mask.shape[2]):
            final_action_mask[e, i, k] = action_mask[e, i, k]
        clock[e].last_alive[i] = alive[e, i]
        if flags[0] != 0:
            clock[e].last_participation[i] = turns[e, i] != 0 and alive[e, i]


@device_function
def prepare_round(
    e, settings, clock, actions, participation, alive, action_mask, acts, terminated, truncated,
    rewards, restarted, which, errors,
):  # fmt: skip
    """Decide which copies play, and which agents act in them."""
    which[e] = clock[e].idle == 0 and not is_left_ended(e, settings[0], terminated, truncated)
    restarted[e] = False
    for i in range(participation.shape[1]):
        rewards[e, i] = 0
        acts[e, i] = 0
        if participation[e, i] != 0:
            if in_space(actions, e, i, settings[0]):
                acts[e, i] = acting_set(actions, participation, alive, action_mask, e, i)
            else:
                errors[INVALID_ACTION] = 1


@device_function
def finish_round(
    e, settings, flags, clock, outcome, past_actions, past_acts, actions, participation, acts,
    rewards, terminated, truncated, observations, action_mask, state, seeds, which,
):  # fmt: skip
    """Account for the round. Afterwards `which` marks the copies to be reset, with `seeds`.

    `flags`: [whether the game has turns; then agents that do not participate get rewards, too].
    """
    now = clock[e]
    # The flags are still those of the previous round. A copy that idled until the limit is left, too.
    if is_left_ended(e, settings[0], terminated, truncated):
        return
    record_actions(e, now.rounds, actions, acts, past_actions, past_acts)
    for i in range(participation.shape[1]):
        paid = which[e] and (participation[e, i] != 0 or flags[0] != 0)
        count_reward(e, i, participation, acts, paid, rewards, now)
    result = outcome[e] if which[e] else RUNNING
    over = end_round(e, result, settings[0], now, terminated, truncated)
    which[e] = over and settings[0].autoreset != 0
    if over:
        seeds[e] = next_seed(now.seed)
    if now.idle != 0:
        show_idle(settings[0], observations[e], action_mask[e], state[e])


@device_function
def record_actions(e, t, actions, acts, past_actions, past_acts):
    """Write the actions of round t into the record of the episode."""
    for i in range(acts.shape[1]):
        past_acts[e, t, i] = acts[e, i]
        if actions.ndim == 2:
            past_actions[e, t, i] = actions[e, i]
        else:
            for k in range(actions.shape[2]):
                past_actions[e, t, i, k] = actions[e, i, k]
