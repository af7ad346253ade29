"""Many copies of one game at once: arrays in, arrays out, autoreset in the same step."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np

from mail_envs import saving
from mail_envs.actions import are_discrete, copy_actions, raise_invalid_action
from mail_envs.buffers import Buffers
from mail_envs.counts import at_least, seconds_above_zero
from mail_envs.devices import make_device
from mail_envs.kernels import INVALID_ACTION, INVALID_PROBABILITY, KernelLaunches
from mail_envs.markov_game import KernelGame, MarkovGame
from mail_envs.participation import Participation
from mail_envs.player_functions import OwnOrder, PlayerFunction, Synchronous
from mail_envs.random import check_seed, following_seeds
from mail_envs.rounds import settings_dtype

RENDER_FPS = 10
DEVICE_CHECK_EVERY = 1024  # steps between reads of the error flags on a CUDA device


class VectorGame:
    """E copies of a game under a player function, with Gymnasium's five return values as arrays.

    The arrays that `reset` and `step` return are the game's own buffers (or torch views of them): the
    next step overwrites them, so copy what you keep. Shapes: E environments, N agents, D the length of the
    longest observation (`observation_dims` has each agent's length), A the largest number of actions
    (`action_dims` has each agent's number, `null_actions` the index of φ where it is an action), S the
    length of the state.

    An environment whose episode ends is reset within the same step; its last observation, state and
    returns are in `info`.
    Environment e of `reset(seed=s)` plays the episode of seed s + e, and every later episode gets a seed
    derived from the last one's: `info["seed"]` is enough to replay any episode.
    `limit_is_end` says whether the time limit is part of the task (`MarkovGame`).

    Args:
        game: the game.
        player_function: draws who acts in each round.
        num_envs: E.
        max_rounds: time limit; None: the game's default.
        null_action: "null": the actions of agents that do not participate are ignored.
            "as_action": φ is one more discrete action, the last one, allowed exactly when the agent
            does not participate.
        fixed_horizon: a game that ends idles in an absorbing state (observations and state all zero,
            rewards zero) until the time limit.
        device: "cpu" or "cuda". array: "numpy" or "torch"; on CUDA always torch.
        num_threads: CPU threads; they pay off from about ten thousand environments.
        autoreset: False leaves ended environments as they are.
        num_workers: for simulators, the number of worker processes; 0: run in this process; None: 0 for a
            single copy, else one worker per CPU core.
        worker_timeout: seconds, finite and above 0, after which a worker that does not answer is restarted.
        replayable: avoid a simulator's batched interface if it cannot replay an episode from its seed
            (EnvPool); demonstrations and learners require this.
    """

    def __init__(
        self,
        game: MarkovGame,
        player_function: PlayerFunction,
        num_envs: int = 1,
        *,
        max_rounds: int | None = None,
        null_action: Literal["null", "as_action"] = "null",
        fixed_horizon: bool = False,
        device: Literal["cpu", "cuda"] = "cpu",
        array: Literal["numpy", "torch"] = "numpy",
        num_threads: int = 1,
        autoreset: bool = True,
        num_workers: int | None = None,
        worker_timeout: float = 60.0,
        replayable: bool = False,
    ):
        at_least(1, num_threads=num_threads, num_envs=num_envs)
        seconds_above_zero(worker_timeout=worker_timeout)
        if null_action not in ("null", "as_action"):
            raise ValueError(f"null_action={null_action!r} is not one of 'null', 'as_action'")
        if array not in ("numpy", "torch"):
            raise ValueError(f"array={array!r} is not one of 'numpy', 'torch'")
        self.game, self.player_function, self.num_envs = game, player_function, num_envs
        self.agents, self.num_agents = list(game.agents), len(game.agents)
        self.null_action, self.fixed_horizon = null_action, fixed_horizon
        self.autoreset = autoreset
        self.max_rounds = game.max_rounds if max_rounds is None else max_rounds
        at_least(1, max_rounds=self.max_rounds)
        self.limit_is_end = game.limit_is_end
        if not isinstance(self.limit_is_end, bool):
            raise TypeError(
                f"limit_is_end={self.limit_is_end!r} of {type(game).__name__} is neither True nor False"
            )
        self.id, self.arguments = type(game).__name__, {}
        self._set_spaces()
        self._array, self._started, self._steps = array, False, 0
        self._options: dict[str, Any] | None = None
        self._open_options = {
            "device": device,
            "num_threads": num_threads,
            "autoreset": autoreset,
            "num_workers": num_workers,
            "worker_timeout": worker_timeout,
            "replayable": replayable,
        }
        self._open(**self._open_options)

    def _open(
        self,
        device: str,
        num_threads: int,
        autoreset: bool,
        num_workers: int | None,
        worker_timeout: float,
        replayable: bool,
    ) -> None:
        """Make the arrays and everything that refers to them (`saving.OPENED`); copies make their own."""
        game = self.game
        if isinstance(game, KernelGame):
            if num_workers:
                raise ValueError(
                    f"num_workers={num_workers!r} is for simulators; {type(game).__name__} is a compiled game: "
                    "use num_threads"
                )
            if "max_rounds" in (game.params.dtype.names or ()):
                game.params["max_rounds"] = self.max_rounds
            self._device = make_device(device, self.num_envs, num_threads)
            self._allocate(game.state_dtype)
            name = _snake(type(game).__name__)
            settings = self._settings(autoreset)
            self.launches: Any = KernelLaunches(game, self.buffers, settings, self._device, name)
        else:
            if num_threads != 1 or (device != "cpu" and not game.on_cuda):
                raise ValueError(
                    f"{type(game).__name__} is a simulator: it runs on the CPU, in worker processes "
                    f"(num_workers); got device={device!r}, num_threads={num_threads!r}"
                )
            nobody_absent = isinstance(self.player_function, (Synchronous, OwnOrder))
            if game.null_problem and not (nobody_absent and self.null_action == "null"):
                raise ValueError(game.null_problem)
            self._open_simulators(autoreset, num_workers, worker_timeout, replayable, device)
            if game.takes_options:
                self.launches.take_options(self._options)
        self._make_participation()
        self._on_cpu = self._device.name == "cpu"
        self._errors = self.buffers.errors
        self._canvas = None
        self._wrap(self._array)

    # Copies, pickles and saved states: see `mail_envs.saving`.
    __copy__, __deepcopy__ = saving.copied, saving.deep_copied
    __reduce__ = saving.reduced  # pyright: ignore[reportAssignmentType]
    get_state, set_state = saving.get_state, saving.set_state

    def _set_spaces(self) -> None:
        game = self.game
        self.observation_spaces, self.state_space = game.observation_spaces, game.state_space
        self.observation_dims = [
            int(np.prod(game.observation_spaces[a].shape)) for a in self.agents
        ]
        self.action_spaces, self.metadata = dict(game.action_spaces), dict(game.metadata)
        spaces: list[Any] = [game.action_spaces[a] for a in self.agents]
        self.discrete = are_discrete(game)
        self.action_dims = [int(s.n if self.discrete else s.shape[0]) for s in spaces]
        self.null_actions: list[int] = []
        if self.null_action == "as_action":
            if not self.discrete:
                raise ValueError(
                    "null_action='as_action' needs discrete actions; these are continuous"
                )
            self.null_actions = self.action_dims
            self.action_dims = [n + 1 for n in self.action_dims]
            for agent, n in zip(self.agents, self.action_dims, strict=True):
                self.action_spaces[agent] = gymnasium.spaces.Discrete(n)
        self.num_actions = max(self.action_dims)

    def _allocate(self, world_dtype: np.dtype) -> None:
        self.buffers = Buffers.allocate(
            self.game, world_dtype, self._device, self.num_envs, self.action_dims, self.discrete
        )

    def _settings(self, autoreset: bool) -> np.ndarray:
        """The view's settings as the compiled functions read them, `rounds.settings_dtype` (1,)."""
        components = 0 if self.discrete else self.num_actions
        settings = np.zeros(1, settings_dtype(self.num_agents, components))
        settings["max_rounds"] = self.max_rounds
        settings["autoreset"], settings["fixed_horizon"] = autoreset, self.fixed_horizon
        settings["num_actions"] = self.action_dims
        if not self.discrete:
            settings["low"], settings["high"] = (
                -np.inf,
                np.inf,
            )  # components that an agent does not have
            for i, (agent, a) in enumerate(zip(self.agents, self.action_dims, strict=True)):
                space: Any = self.game.action_spaces[agent]
                settings["low"][0, i, :a], settings["high"][0, i, :a] = space.low, space.high
        return settings

    def _open_simulators(self, autoreset: bool, *workers: Any) -> None:
        """Make E copies of a simulator: in this process, in worker processes, or batched by the simulator."""
        from mail_envs.copies import SimulatorLaunches, open_copies
        from mail_envs.simulator import record_dtype

        game: Any = self.game
        components = 0 if self.discrete else self.num_actions
        record = record_dtype(self.max_rounds, self.num_agents, components)

        def allocate(device):
            self._device = device
            self._allocate(record)
            return self.buffers

        copies = open_copies(game, self.num_envs, allocate, *workers)
        self.launches = SimulatorLaunches(
            copies, self.buffers, self._device, self._settings(autoreset), game.has_turns
        )

    def _make_participation(self) -> None:
        self.participation = Participation(
            self.player_function,
            self.buffers,
            self._device,
            max_rounds=self.max_rounds,
            action_dims=self.null_actions or self.action_dims,
            discrete=self.discrete,
            as_action=self.null_action == "as_action",
            has_action_mask=self.game.has_action_mask,
        )

    def _wrap(self, array: str) -> None:
        """The arrays that the user sees: the buffers, or torch views of them."""
        b = self.buffers
        names = ("observations", "rewards", "terminated", "truncated")
        view = _torch_view if array == "torch" and self._device.name == "cpu" else (lambda a: a)
        self._out = tuple(view(getattr(b, n)) for n in names)
        info = {
            "participation": b.participation,
            "alive": b.alive,
            "state": b.state,
            "final_observation": b.final_observations,
            "final_state": b.final_state,
            "worker_restarted": b.restarted,
        }
        if self.discrete:
            info["action_mask"] = b.action_mask
            info["final_action_mask"] = b.final_action_mask
        self._fields = {
            "round": "rounds",
            "seed": "seed",
            "illegal_actions": "illegal_actions",
            "episode_return": "last_returns",
            "episode_length": "last_length",
            "episode_seed": "last_seed",
            "final_alive": "last_alive",
            "final_participation": "last_participation",
        }
        if isinstance(b.clock, np.ndarray):
            info.update({k: b.clock[f] for k, f in self._fields.items()})
        else:
            info.update(_device_fields(b.clock, self._fields))
        info["final_alive"] = _as_bool(info["final_alive"])
        info["metrics"] = {m: view(b.metrics[:, k]) for k, m in enumerate(self.game.metric_names)}
        self._info = {k: v if k == "metrics" else view(v) for k, v in info.items()}
        self.clock = b.clock
        self.metrics = info["metrics"]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode in every environment; environment e gets seed + e.

        Without a seed, the first call, or one after a call that failed, draws seeds from the operating system,
        and later calls derive them from the last episodes' seeds. `options` are passed to external environments
        that take some, for all episodes until the next call; games that take none ignore them with a warning.
        TypeError: the options cannot be sent to a worker process.
        """
        if self.game.takes_options:
            self.launches.take_options(options)
            self._options = options
        elif options:
            gymnasium.logger.warn(f"{self.id} takes no options; reset ignores options={options!r}")
        if seed is None and self._started:
            seeds = following_seeds(np.asarray(self._host("seed")))
        else:
            first = check_seed(seed)
            if first > 2**63 - self.num_envs:
                raise ValueError(
                    f"seed={seed!r}: environment e gets seed + e, which must stay below "
                    f"2**63 for all {self.num_envs} environments"
                )
            seeds = first + np.arange(self.num_envs, dtype=np.int64)
        return self.reset_to(seeds)

    def reset_to(self, seeds: np.ndarray) -> tuple[Any, dict[str, Any]]:
        """Begin the episodes with these seeds, int64 (E,)."""
        b = self.buffers
        b.seeds[...] = self._device.put(np.asarray(seeds, np.int64))
        b.which[...] = True
        b.terminated[...] = False
        b.truncated[...] = False
        b.metrics[...] = 0
        self._started = False  # until all copies have begun
        self.launches.reset()
        self._started = True
        self.participation.draw()
        if self._device.get(b.errors)[INVALID_PROBABILITY]:
            self._raise_invalid_probability()
        return self._out[0], dict(self._info)

    def own_infos(self, env: int = 0) -> dict[str, dict[str, Any]]:
        """The infos that the simulator of environment `env` itself gives its agents in this round, else {}.

        RuntimeError: the simulator runs in a worker process, and raised there or its infos cannot be sent.
        """
        return self.launches.infos(env) if self.game.has_infos else {}

    def step(self, actions) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Play one round in every environment.

        Args:
            actions: int (E, N), or float (E, N, A). Entries of agents that do not participate are
                ignored. A masked action becomes the null action and is counted in `illegal_actions`.

        Returns:
            observations float32 (E, N, D), rewards float32 (E, N), terminated bool (E,), truncated bool
            (E,) and info: `participation` uint8 (E, N), who acts next; `action_mask` int8 (E, N, A);
            `alive` bool (E, N); `state` float32 (E, S); `round`, `seed`, `illegal_actions` (E,); and,
            valid where an episode just ended: `episode_return` float32 (E, N), `episode_length`,
            `episode_seed` (E,), `metrics`, `worker_restarted` bool (E,): the copy's worker process died
            and cut the episode short; and what was seen last, before another episode began:
            `final_observation`, `final_state`, `final_action_mask`, `final_alive`, and
            `final_participation`, who would have acted next. They are shaped like `observations`,
            `state`, `action_mask`, `alive` and `participation`, which with autoreset=False go on to show
            the end themselves.

        Raises:
            RuntimeError: before the first reset, or before the next one after a round that the game itself or
                Ctrl-C broke off, because some copies have played it and others have not.
            TypeError, ValueError: wrong dtype or shape, or an action outside its space; no round is played.
        """
        copy_actions(self, actions)
        self.advance()
        observations, rewards, terminated, truncated = self._out
        return observations, rewards, terminated, truncated, dict(self._info)

    def advance(self) -> None:
        """Like `step`, with the actions that are already in `buffers.actions`; returns nothing."""
        if not self._started:
            raise RuntimeError(
                "step() was called before reset(), which is also needed after a round that failed"
            )
        self.participation.before_step()
        try:
            self.launches.step()
        except BaseException:
            self._started = False  # copies before the one that failed are a round ahead
            raise
        errors = self._errors if self._on_cpu else self._device_errors()
        if errors[INVALID_ACTION]:
            raise_invalid_action(self)
        self.participation.draw()
        if errors[INVALID_PROBABILITY]:
            self._raise_invalid_probability()

    def _device_errors(self) -> tuple[bool, bool]:
        """The device's error flags, read only now and then, because reading them synchronizes with the device."""
        self._steps += 1
        if self._steps % DEVICE_CHECK_EVERY:
            return False, False
        return tuple(self._device.get(self.buffers.errors).tolist())

    def _raise_invalid_probability(self) -> None:
        self.buffers.errors[INVALID_PROBABILITY] = 0
        raise ValueError(f"{self.player_function!r} gave a probability outside [0, 1]")

    def _host(self, name: str) -> np.ndarray:
        value: Any = self._info[name]
        return value.cpu().numpy() if hasattr(value, "cpu") else value

    def render(self, env: int = 0, mode: str = "rgb_array"):
        """Draw environment `env`: an image uint8 (H, W, 3), or None in the human window."""
        from mail_envs.rendering import Canvas, draw_game

        if self._canvas is None:
            self._canvas = Canvas(title=self.id)
        draw_game(self._canvas, self, env)
        return self._canvas.present(mode, fps=RENDER_FPS)

    def close(self) -> None:
        self.launches.close()
        self._started = False  # step() after close() is an error in every game
        if self._canvas is not None:
            self._canvas.close()
            self._canvas = None


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _torch_view(array: np.ndarray):
    import torch

    return torch.from_numpy(array)


def _as_bool(array: Any) -> Any:
    """The bytes of a record's field, uint8 because numba's records hold no bool, as bool."""
    if isinstance(array, np.ndarray):
        return array.view(np.bool_)
    import torch

    return array.view(torch.bool)


def _device_fields(clock, fields: dict[str, str]) -> dict[str, Any]:
    """Views of the fields of a device array of records, as torch tensors without a copy."""
    import torch

    return {k: torch.as_tensor(clock[f], device="cuda") for k, f in fields.items()}
