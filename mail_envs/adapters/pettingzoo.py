"""Any PettingZoo environment, parallel or AEC, as a game.

```python
env = mail_envs.make("pettingzoo:sisl/pursuit-v5", player_function=mail_envs.Stochastic(0.5))
vec = mail_envs.make_vec("pettingzoo:butterfly/pistonball-v6", 8, env_args={"continuous": False})
env = mail_envs.from_pettingzoo(my_env, noop=0)  # an environment, or a function that makes one
```

**Ids** are those of PettingZoo's registry (`classic/chess-v6`), or name a module with `parallel_env` or `env`
(`mpe2/simple_spread_v3`). `env_args` are passed to the environment. It is made with `render_mode="rgb_array"` if it
supports that: without it, cooperative_pong and pistonball draw nothing, not even the agents' observations.

**Rounds.** A parallel environment's step is a round; so is the cycle of an AEC environment whose metadata say
`is_parallelizable`. These can be used with any player function. Other AEC environments (chess, connect four) have
their own order of turns, which player functions cannot replace: each turn is a round, `participation` says whose turn
it is, and agents also get rewards in the turns of others.

**Observations.** A Box keeps its shape; its dtype stays uint8 if all agents observe bytes, and is float32
otherwise. Other spaces are flattened as `gymnasium.spaces.flatten` does it. A mask in `observation["action_mask"]` or
`info["action_mask"]` becomes the game's action mask and leaves the observation. Agents that have left the game
observe zeros. **State**: the environment's own `state()`, flattened, if it works, otherwise the observations of all
agents, concatenated. `global_state=False` leaves it empty, which saves memory if it is an image.

**Actions.** Discrete; MultiDiscrete and MultiBinary as one discrete action for all combinations; a Box of any
shape as a vector. All agents must have the same kind of actions, but not equally many.

**φ**, the action of an agent that does not participate: `noop` if it is given (a number, an array, or a dict from agents
to either); else zeros, if the action space is a Box that contains them; else the known no-op of the environments in
`mail_envs.adapters.null_actions.KNOWN`; else player functions under which agents may be absent raise an error that asks
for `noop`. A masked action also becomes φ, and is counted in `illegal_actions`; if φ is unknown, the environment
receives the action itself and applies its own rules: the classic games end, and the player that moved loses a
point.

**End.** The episode ends with the last agent: truncated if the environment truncated an agent then, otherwise
terminated. Agents that leave earlier are no longer `alive`; if they are truncated, they count as terminated. Agents
must not join later. The time limit is the environment's `max_cycles` where it has one (turns: times the number of
agents), at most 20,000, otherwise 1,000 rounds. A longer one than the environment's needs
`env_args={"max_cycles": ...}`, too. `limit_is_end=True` declares the time limit, including the environment's own, part of
the task: learners then use the value 0 after a truncation.

**Seeds and options.** The episode with seed s begins with `env.reset(seed=s % 2**31)`, which every random generator
accepts. `reset(options=...)` of all three views passes options to the environment, also in worker processes; they are
used for all episodes until the next call of `reset`.

**Infos.** The environment's infos are in `infos[agent]` of the AEC and parallel views. The keys `round`, `participation`,
`participates`, `illegal_actions`, `worker_restarted` and `action_mask` are replaced by those of the view. A vector's
`info` holds only arrays; `vec.own_infos(e)` returns the infos of copy e, also from a worker process if they can be
pickled. Of rounds in which nobody participates, which the AEC view plays at once, only the last infos are visible.

**Errors.** Results that PettingZoo does not allow raise a ValueError that names agent and value: a reward that is not
a single number (or an array with one), observations of a wrong shape or type, results for agents that do not exist, or
missing results of agents in the game. Bounds of a Box are not checked, because many environments violate them.

At construction the environment is reset once, to determine whether it has masks and a state.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pettingzoo
from pettingzoo import AECEnv

from mail_envs.adapters.null_actions import null_actions
from mail_envs.adapters.pettingzoo_ids import open_environment
from mail_envs.adapters.pettingzoo_rounds import Rounds, Turns, read_numbers, read_state
from mail_envs.adapters.spaces import Choice, Observations, is_image, make_actions
from mail_envs.simulator import SimulatorGame

SEEDS = 2**31
DEFAULT_ROUNDS, MOST_ROUNDS = 1_000, 20_000


class PettingZooGame(SimulatorGame):
    """One PettingZoo environment, including its options and infos.

    Args:
        env: an id, a function that makes an environment, or an environment.
        env_args: arguments for the environment, with an id or a function.
        noop: the null action: one for all agents, or a dict from agents to actions.
        global_state: False: the state is empty.
        limit_is_end: whether the time limit is part of the task.
    """

    takes_options = True
    has_infos = True

    def __init__(
        self,
        env: Any,
        env_args: dict[str, Any] | None = None,
        noop: Any = None,
        global_state: bool = True,
        limit_is_end: bool = False,
    ):
        opened = open_environment(env, dict(env_args or {}))
        if opened is env:
            self.factory = None
        self.has_turns = isinstance(opened, AECEnv) and not is_parallelizable(opened)
        self._play = Turns(opened) if self.has_turns else Rounds(opened)
        self.name = env if isinstance(env, str) else self._play.name
        self.limit_is_end = limit_is_end
        self.metadata = {"environment": self.name, "pettingzoo": pettingzoo.__version__}
        self._play.reset(0)
        self._set_agents(noop)
        self._set_state(global_state)
        self._alive = set(self._ids)

    def _set_agents(self, noop: Any) -> None:
        """Set names, spaces, masks, null actions and the time limit."""
        play = self._play
        self._ids = list(getattr(play.env, "possible_agents", None) or play.env.agents)
        self.agents = [str(a) for a in self._ids]
        if len(set(self.agents)) < len(self.agents):
            raise ValueError(f"agents have equal names: {self._ids}")
        self._index = {a: i for i, a in enumerate(self._ids)}
        seen: list[Any] = [play.env.observation_space(a) for a in self._ids]
        native = {str(a): play.env.action_space(a) for a in self._ids}
        images = all(map(is_image, seen))
        named = list(zip(self.agents, seen, strict=True))
        self._observations = [Observations(name, space, images) for name, space in named]
        self._actions: list[Any] = list(make_actions(native).values())
        self.observation_spaces = {
            name: o.box for name, o in zip(self.agents, self._observations, strict=True)
        }
        self.action_spaces = {a.agent: a.space for a in self._actions}
        self._native_null, problem = null_actions(self._module(), native, noop)
        self.null_problem = None if self.has_turns else problem
        masked = any(o.masked for o in self._observations)
        masked |= any("action_mask" in play.infos.get(a, {}) for a in self._ids)
        self.has_action_mask = masked and isinstance(self._actions[0], Choice)
        self.max_rounds = time_limit(play.env, len(self._ids) if self.has_turns else 1)

    def _module(self) -> str:
        """The module of the environment's class; "" if wrappers have changed the action spaces."""
        env = self._play.env
        bare = env.unwrapped
        same = all(bare.action_space(a) == env.action_space(a) for a in self._ids)
        return type(bare).__module__ if same else ""

    def _set_state(self, global_state: bool) -> None:
        own = None
        try:
            own = read_state(self._play.env) if global_state else None
        except Exception as error:  # whatever the environment's code may raise
            gymnasium.logger.warn(
                f"state() of {self.name} does not work ({type(error).__name__}: {error}): the state is all "
                "observations instead; global_state=False leaves it empty"
            )
        self._has_own_state = own is not None
        self._joint_state = global_state and own is None
        length = own.size if own is not None else 0
        if self._joint_state:
            length = sum(o.length for o in self._observations)
        self.state_space = gymnasium.spaces.Box(-np.inf, np.inf, (length,), np.float32)

    def reset(self, seed: int) -> None:
        self._play.reset(seed % SEEDS, self.reset_options)
        self._alive = set(self._play.env.agents)
        strangers = [a for a in self._play.env.agents if a not in self._index]
        if strangers:
            raise ValueError(
                f"{self.name} begins with {strangers[0]!r}, which is not one of its possible_agents: {self._ids}"
            )

    def infos(self):
        ours = ("action_mask",) if self.has_action_mask else ()
        return {
            name: {k: v for k, v in self._play.infos.get(agent, {}).items() if k not in ours}
            for name, agent in zip(self.agents, self._ids, strict=True)
        }

    def step(self, actions, acts, rewards, metrics):
        acting = self._play.acting()
        for agent in acting:
            if agent not in self._alive:
                raise RuntimeError(
                    f"{agent} is to act in {self.name}, but has left the episode or was "
                    "not there when it began: agents can leave a game, not come later"
                )
        chosen = {a: self._native_action(a, actions, acts) for a in acting}
        paid, terminated, truncated = self._play.step(chosen)
        staying = [a for a in self._play.env.agents if a in self._alive]
        for agent, reward in read_numbers(self.name, "reward", paid, self._ids, staying).items():
            rewards[self._index[agent]] = reward
        return self._end_of_round(
            read_numbers(self.name, "termination", terminated, self._ids),
            read_numbers(self.name, "truncation", truncated, self._ids),
        )

    def _native_action(self, agent: Any, actions: np.ndarray, acts: np.ndarray) -> Any:
        """The action that is passed to the environment for an agent."""
        i = self._index[agent]
        if acts[i] == 0 and self.agents[i] in self._native_null:
            return self._native_null[self.agents[i]]
        action, space = actions[i], self._actions[i].space
        if isinstance(space, gymnasium.spaces.Discrete) and action >= space.n:
            # φ as an action in an agent's own turn: an illegal move, or the first move if all are legal.
            action = int(np.argmin(self._mask(i)))
        return self._actions[i].native_action(action)

    def _end_of_round(self, terminated: dict, truncated: dict) -> tuple[bool, bool]:
        """Update the living agents; returns whether the episode was terminated, and whether it was truncated."""
        present = set(self._play.env.agents)
        left = {
            a
            for a in self._alive
            if a not in present or terminated.get(a, False) or truncated.get(a, False)
        }
        if left < self._alive:
            self._alive -= left
            return False, False
        cut_short = {a for a in left if truncated.get(a, False) and not terminated.get(a, False)}
        if cut_short:
            self._alive = cut_short
        return not cut_short, bool(cut_short)

    def observe(self, observations, action_mask, alive, state):
        for i, agent in enumerate(self._ids):
            alive[i] = agent in self._alive
            seen = self._play.observations.get(agent)
            if seen is not None:
                self._see(i, seen, observations[i])
            elif alive[i] and agent in self._play.env.agents:
                raise ValueError(
                    f"{self.name} gives {agent} no observation, although it is still in the episode"
                )
            else:
                observations[i] = 0
            if self.has_action_mask:
                mask = self._mask(i)
                action_mask[i, : mask.size] = mask
        self._write_state(observations, state)

    def _see(self, i: int, seen: Any, row: np.ndarray) -> None:
        try:
            self._observations[i].write(seen, row)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            space = self._play.env.observation_space(self._ids[i])
            raise ValueError(
                f"{self.name} shows {self.agents[i]} something that is not in its observation space {space}: "
                f"{error}"
            ) from error

    def _mask(self, i: int) -> np.ndarray:
        """Agent i's mask int8 (n,): all ones if there is none, or if the agent has left."""
        agent, choice = self._ids[i], self._actions[i]
        mask = None
        if agent in self._alive:
            if self._observations[i].masked:
                mask = self._play.observations.get(agent, {}).get("action_mask")
            if mask is None:
                mask = self._play.infos.get(agent, {}).get("action_mask")
        return np.ones(choice.space.n, np.int8) if mask is None else choice.read_mask(mask)

    def _write_state(self, observations: np.ndarray, state: np.ndarray) -> None:
        if self._joint_state:
            rows = zip(observations, self._observations, strict=True)
            np.concatenate([row[: o.length] for row, o in rows], out=state, casting="unsafe")
        elif self._has_own_state:
            try:
                own, problem = read_state(self._play.env), "fails"
            except Exception as error:
                own, problem = None, f"fails ({type(error).__name__}: {error})"
            if own is not None and own.size == state.size:
                state[:] = own
            elif not self._play.env.agents:  # some have no state after the end
                state[:] = 0
            else:
                raise ValueError(
                    f"state() of {self.name} gave {state.size} numbers at first, and "
                    f"{problem if own is None else f'gives {own.size}'} now: pass global_state=False"
                )

    def write_turns(self, turns):
        turns[:] = 0
        for agent in self._play.acting():
            turns[self._index[agent]] = 1

    def picture(self):
        try:
            image = self._play.env.render()
        except NotImplementedError:
            image = None
        if not isinstance(image, np.ndarray):
            raise NotImplementedError(
                f"{self.name} gives no pictures; make it with render_mode='rgb_array' if it has that"
            )
        if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype != np.uint8:
            raise ValueError(
                f"render() of {self.name} gives an array of {image.dtype} {image.shape}; a picture is uint8 "
                "(height, width, 3 or 4)"
            )
        return np.ascontiguousarray(image[..., :3])

    def close(self):
        self._play.env.close()


def is_parallelizable(env: Any) -> bool:
    return bool(env.metadata.get("is_parallelizable", False))


def time_limit(env: Any, per_cycle: int) -> int:
    """The environment's own time limit in rounds; a cycle has `per_cycle` rounds."""
    for holder in (env.unwrapped, getattr(env.unwrapped, "env", None)):
        limit = getattr(holder, "max_cycles", None)
        if isinstance(limit, (int, np.integer)) and limit > 0:
            return min(int(limit) * per_cycle, MOST_ROUNDS)
    return DEFAULT_ROUNDS
