"""What every game promises, as functions that check it: for tests and for `python -m mail_envs check`.

Each check takes a `Subject` (an id with arguments) and returns nothing, or raises `ConformanceError`
with what is wrong and what usually mends it, or `NotApplicable` with the reason.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

import mail_envs

SEEDS = (0, 1, 2)
FREQUENCY_ENVS = 4000
STANDARD_ERRORS = 5.0  # participation frequencies may be off by this much


class ConformanceError(AssertionError):
    """A game breaks its promise. `fix` says what usually mends it."""

    def __init__(self, message: str, fix: str) -> None:
        """Say what is wrong and how to mend it."""
        super().__init__(f"{message}\n  fix: {fix}")
        self.message, self.fix = message, fix


class NotApplicable(Exception):
    """The check says nothing about this game or on this machine."""


@dataclass(frozen=True)
class Subject:
    """The game under test: an id, and keywords for `make` and `make_vec`."""

    id: str
    keywords: dict[str, Any] = field(default_factory=dict)

    def vector(self, num_envs: int = 1, **more: Any) -> Any:
        """`num_envs` copies as a `VectorGame`."""
        return mail_envs.make_vec(self.id, num_envs, **self.keywords, **more)

    def view(self, api: str, **more: Any) -> Any:
        """One copy as a PettingZoo environment."""
        return mail_envs.make(self.id, api=api, **self.keywords, **more)


def require(holds: Any, message: str, fix: str) -> None:
    """Raise ConformanceError unless `holds`."""
    if not holds:
        raise ConformanceError(message, fix)


def random_actions(vector: Any, info: dict[str, Any]) -> np.ndarray:
    """Legal actions (E, N[, A]) that depend only on each environment's seed, round and mask."""
    actions = np.zeros_like(vector.buffers.actions)
    for e in range(vector.num_envs):
        rng = np.random.default_rng([int(info["seed"][e]), int(info["round"][e])])
        for i, agent in enumerate(vector.agents):
            if vector.discrete:
                allowed = np.flatnonzero(info["action_mask"][e, i])
                actions[e, i] = allowed[rng.integers(len(allowed))]
            else:
                space = vector.action_spaces[agent]
                actions[e, i] = rng.uniform(space.low, space.high)
    return actions


# -- the page and the spaces ----------------------------------------------------------------------


def check_page(subject: Subject) -> None:
    """The game's module has a page, and can be told about by `info`."""
    module = sys.modules[mail_envs.spec(subject.id).load().__module__]
    require(
        len((module.__doc__ or "").split()) >= 20,
        f"{module.__name__} has no page (its docstring is {module.__doc__!r})",
        "write the module's docstring: observation, action, reward, end of an episode",
    )


def check_agents_and_spaces(subject: Subject) -> None:
    """Agents are `role_k` in order, and agents of one role have equal spaces."""
    vector = subject.vector()
    roles: dict[str, int] = {}
    for agent in vector.agents:
        role, _, number = agent.rpartition("_")
        require(
            role and number.isdigit() and int(number) == roles.get(role, 0),
            f"agent {agent!r} is not named role_k with k counting from 0",
            "set `agents` to names such as prey_0, adversary_0, adversary_1",
        )
        first = f"{role}_0"
        roles[role] = roles.get(role, 0) + 1
        for spaces in (vector.observation_spaces, vector.action_spaces):
            require(
                spaces[agent] == spaces[first],
                f"{agent} has the space {spaces[agent]}, {first} has {spaces[first]}",
                "agents of one role need equal spaces: pad observations, or give them other roles",
            )
    require(
        isinstance(vector.state_space, gymnasium.spaces.Box),
        f"state_space is {vector.state_space!r}",
        "set `state_space` to a float32 Box (S,)",
    )


def check_observations_in_spaces(subject: Subject) -> None:
    """Observations and the global state lie in their spaces, finite, during whole episodes."""
    for vector, _, info in _rounds(subject, num_envs=8, rounds=60):
        for i, agent in enumerate(vector.agents):
            space, d = vector.observation_spaces[agent], vector.observation_dims[i]
            for row in vector.buffers.observations[:, i]:
                require(
                    space.contains(row[:d]) and np.isfinite(row[:d]).all(),
                    f"observation of {agent} is not in {space}: {row[:d]}",
                    "widen the space in `observation_spaces`, or bound what observe_env writes",
                )
                require(
                    not row[d:].any(),
                    f"observe_env writes beyond the {d} numbers that {agent} observes",
                    "write only as many numbers as the agent's space has, zeros behind them",
                )
        for row in info["state"]:
            require(
                vector.state_space.contains(row) and np.isfinite(row).all(),
                f"the global state is not in {vector.state_space}: {row}",
                "correct `state_space`, or what observe_env writes into global_state",
            )


def _rounds(subject: Subject, num_envs: int, rounds: int, **more: Any) -> Iterator[Any]:
    """Random play: yields (vector, rewards or None, info) after the reset and after every round."""
    vector = subject.vector(num_envs, **more)
    _, info = vector.reset(seed=0)
    yield vector, None, info
    for _ in range(rounds):
        _, rewards, _, _, info = vector.step(random_actions(vector, info))
        yield vector, rewards, info


# -- PettingZoo's own tests -----------------------------------------------------------------------


def _pettingzoo(name: str, test: Callable[[], Any], fix: str) -> None:
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            test()
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = str(error) or f"{where.line} ({os.path.basename(where.filename)}:{where.lineno})"
        raise ConformanceError(f"PettingZoo's {name}: {reason}", fix) from error


def check_pettingzoo_aec(subject: Subject) -> None:
    """PettingZoo's `api_test` passes."""
    from pettingzoo.test import api_test

    env = subject.view("aec")
    fix = "spaces, rewards and masks must be those that the game declares"
    _pettingzoo("api_test", lambda: api_test(env, num_cycles=200), fix)


def check_pettingzoo_parallel(subject: Subject) -> None:
    """PettingZoo's `parallel_api_test` passes."""
    from pettingzoo.test import parallel_api_test

    env = subject.view("parallel")
    fix = "spaces, rewards and masks must be those that the game declares"
    _pettingzoo("parallel_api_test", lambda: parallel_api_test(env, num_cycles=200), fix)


def check_pettingzoo_seeds(subject: Subject) -> None:
    """PettingZoo's `seed_test` and `parallel_seed_test` pass."""
    from pettingzoo.test import parallel_seed_test, seed_test

    fix = "draw random numbers only with mail_envs.random from the stream that is passed in"
    _pettingzoo("seed_test", lambda: seed_test(lambda: subject.view("aec"), 100), fix)
    _pettingzoo(
        "parallel_seed_test", lambda: parallel_seed_test(lambda: subject.view("parallel"), 100), fix
    )


def check_pettingzoo_render(subject: Subject) -> None:
    """PettingZoo's `render_test` passes; the window goes to SDL's dummy driver."""
    from pettingzoo.test import render_test

    driver = os.environ.get("SDL_VIDEODRIVER")
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    fix = "write draw(canvas, state, participation) with the shapes of mail_envs.rendering.Canvas"
    try:
        _pettingzoo(
            "render_test", lambda: render_test(lambda **mode: subject.view("aec", **mode)), fix
        )
    finally:
        if driver is None:
            del os.environ["SDL_VIDEODRIVER"]
        else:
            os.environ["SDL_VIDEODRIVER"] = driver


# -- one game, three views ------------------------------------------------------------------------


@dataclass
class Round:
    """What one round showed: observations, N times (D_i,), and participation (N,); rewards (N,)."""

    observations: list[np.ndarray]
    participation: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray


@dataclass
class Trajectory:
    """The rounds of an episode, its final observations, and how it ended."""

    rounds: list[Round]
    final: list[np.ndarray]
    terminated: bool


def play_vector(subject: Subject, seed: int) -> Trajectory:
    """An episode of random legal actions in the vector view: the reference for the others."""
    vector = subject.vector(1, autoreset=False)
    _, info = vector.reset(seed=seed)
    rounds = []
    while True:
        actions, seen = random_actions(vector, info), _own_observations(vector)
        acts = info["participation"][0].copy()
        _, rewards, terminated, truncated, info = vector.step(actions)
        rounds.append(Round(seen, acts, actions[0], rewards[0].copy()))
        if terminated[0] or truncated[0]:
            return Trajectory(rounds, _own_observations(vector), bool(terminated[0]))


def _own_observations(vector: Any) -> list[np.ndarray]:
    """What each agent of the first environment sees, without the padding."""
    rows = zip(vector.buffers.observations[0], vector.observation_dims, strict=True)
    return [row[:d].copy() for row, d in rows]


def check_parallel_view(subject: Subject) -> None:
    """The parallel view gives the same trajectory as the vector view."""
    for seed in SEEDS:
        expected, env = play_vector(subject, seed), subject.view("parallel")
        observations, infos = env.reset(seed=seed)
        for t, known in enumerate(expected.rounds):
            actions = {}
            for i, agent in enumerate(env.possible_agents):
                if agent in env.agents:
                    _same(observations[agent], known.observations[i], f"{agent}, round {t}")
                    acts = bool(infos[agent]["participates"])
                    _same(acts, bool(known.participation[i]), f"participation, round {t}")
                    actions[agent] = known.actions[i]
            observations, rewards, terminations, _, infos = env.step(actions)
            for agent, reward in rewards.items():
                known_reward = known.rewards[env.possible_agents.index(agent)]
                _same(reward, known_reward, f"reward of {agent}, round {t}")
        _same(len(env.agents), 0, "number of agents after the end")
        for agent, terminated in terminations.items():
            i = env.possible_agents.index(agent)
            _same(observations[agent], expected.final[i], f"final observation of {agent}")
            _same(terminated, expected.terminated, f"termination of {agent}")


def check_aec_view(subject: Subject) -> None:
    """The AEC view visits exactly the participants, with the same observations and rewards."""
    for seed in SEEDS:
        expected, env = play_vector(subject, seed), subject.view("aec")
        env.reset(seed=seed)
        paid = dict.fromkeys(env.possible_agents, 0.0)
        visited: list[tuple[int, int]] = []
        for agent in env.agent_iter():
            observation, reward, terminated, truncated, info = env.last()
            i = env.possible_agents.index(agent)
            paid[agent] += reward
            if terminated or truncated:
                env.step(None)
                continue
            known = expected.rounds[info["round"]]
            visited.append((info["round"], i))
            _same(observation, known.observations[i], f"{agent}, round {info['round']}")
            _same(info["participation"], known.participation, f"round {info['round']}")
            env.step(known.actions[i])
        turns = [
            (t, i) for t, r in enumerate(expected.rounds) for i in np.flatnonzero(r.participation)
        ]
        _same(len(visited), len(turns), "number of turns")
        _same(visited, turns, "order of turns (round, agent)")
        total = np.sum([r.rewards for r in expected.rounds], axis=0, dtype=np.float64)
        found = np.array([paid[agent] for agent in env.possible_agents])
        require(
            np.allclose(total, found, rtol=1e-5, atol=1e-4),
            f"the AEC view paid {found}, the vector view {total}",
            "rewards of a round must not depend on what the game was asked before",
        )


def _same(found: Any, expected: Any, what: str) -> None:
    if not np.array_equal(found, expected):
        raise ConformanceError(
            f"two views of one episode differ ({what}): {found} against {expected}",
            "a game may read nothing but its state record, the actions, `acts` and its stream; "
            "clear every field in reset_env",
        )


# -- episodes do not know about each other --------------------------------------------------------


def check_independence(subject: Subject) -> None:
    """Results depend neither on num_envs nor on the episodes that were played before."""
    together = subject.vector(4)
    _, info = together.reset(seed=7)
    alone = [subject.vector(1) for _ in range(4)]
    infos = [vector.reset(seed=7 + e)[1] for e, vector in enumerate(alone)]
    fix = "initialize every field of the record in reset_env; keep nothing outside the record"
    for t in range(2 * min(together.max_rounds, 60)):
        _, rewards, *_, info = together.step(random_actions(together, info))
        for e, vector in enumerate(alone):
            _, reward, *_, infos[e] = vector.step(random_actions(vector, infos[e]))
            same = (
                np.array_equal(together.buffers.observations[e], vector.buffers.observations[0])
                and np.array_equal(rewards[e], reward[0])
                and np.array_equal(info["participation"][e], infos[e]["participation"][0])
                and info["seed"][e] == infos[e]["seed"][0]
            )
            require(same, f"environment {e} of 4 differs from the same one alone, step {t}", fix)


def check_repeatability(subject: Subject) -> None:
    """A seed plays the same episode again, also in a game that has played others before."""
    vector = subject.vector(3)
    fix = "initialize every field of the record in reset_env; draw only from the stream"
    firsts = []
    for _ in range(2):
        observations, info = vector.reset(seed=11)
        trace = [observations.copy(), info["participation"].copy()]
        for _ in range(min(vector.max_rounds + 5, 80)):
            observations, rewards, *_, info = vector.step(random_actions(vector, info))
            trace += [observations.copy(), rewards.copy(), info["participation"].copy()]
        firsts.append(trace)
    same = all(np.array_equal(a, b) for a, b in zip(*firsts, strict=True))
    require(same, "reset(seed=11) played two different episodes", fix)


def check_save_and_restore(subject: Subject) -> None:
    """`get_state` and `set_state` continue an episode exactly."""
    vector, other = subject.vector(3), subject.vector(3)
    _, info = vector.reset(seed=0)
    for _ in range(5):
        *_, info = vector.step(random_actions(vector, info))
    other.reset(seed=99)
    other.set_state(vector.get_state())
    for t in range(10):
        actions = random_actions(vector, info)
        *_, info = vector.step(actions)
        other.step(actions)
        require(
            np.array_equal(vector.buffers.observations, other.buffers.observations),
            f"a restored game differs {t + 1} rounds later",
            "keep everything that matters in the state record",
        )


def check_autoreset(subject: Subject) -> None:
    """Final observations are the end's, the rest belongs to the next episode; figures add up."""
    vector = subject.vector(4)
    observations, info = vector.reset(seed=3)
    returns, lengths = np.zeros((4, vector.num_agents)), np.zeros(4, int)
    seeds, ends = info["seed"].copy(), 0
    fix = "step_env returns whether the game has ended; the views do the rest"
    for _ in range(vector.max_rounds + 30):
        actions = random_actions(vector, info)
        observations, rewards, terminated, truncated, info = vector.step(actions)
        returns += rewards
        lengths += 1
        for e in np.flatnonzero(terminated | truncated):
            ends += 1
            what = f"episode of seed {seeds[e]}"
            require(info["episode_seed"][e] == seeds[e], f"{what}: wrong episode_seed", fix)
            require(info["episode_length"][e] == lengths[e], f"{what}: wrong length", fix)
            require(
                np.allclose(info["episode_return"][e], returns[e], rtol=1e-4, atol=1e-3),
                f"{what}: returns {info['episode_return'][e]}, rewards add up to {returns[e]}",
                fix,
            )
            require(
                truncated[e] == (lengths[e] == vector.max_rounds and not terminated[e]),
                f"{what}: truncated after {lengths[e]} of {vector.max_rounds} rounds",
                fix,
            )
            again = play_vector(subject, int(seeds[e])).final
            final = info["final_observation"][e]
            require(
                all(np.array_equal(a, f[: len(a)]) for a, f in zip(again, final, strict=True)),
                f"{what}: the final observation is not the last one of the same episode alone",
                fix,
            )
            fresh, _ = subject.vector(1).reset(seed=int(info["seed"][e]))
            require(
                np.array_equal(fresh[0], observations[e]),
                f"{what}: what follows is not the episode of info['seed']",
                fix,
            )
            returns[e], lengths[e], seeds[e] = 0, 0, info["seed"][e]
    require(ends, f"no episode ended within {vector.max_rounds + 30} rounds", fix)


# -- participation ----------------------------------------------------------------------------------


def check_non_participants(subject: Subject) -> None:
    """Whoever does not participate gets no reward, and what it was told to do does not matter."""
    fix = "use acts[i], not actions[i], to find out who acts"
    for seed in SEEDS:
        vector, twin = subject.vector(8), subject.vector(8)
        _, info = vector.reset(seed=seed)
        twin.reset(seed=seed)
        for t in range(40):
            acts, actions = info["participation"] > 0, random_actions(vector, info)
            noise = np.roll(actions, 1, axis=0)  # other legal actions for whoever waits
            mixed = np.where(acts if vector.discrete else acts[..., None], actions, noise)
            _, rewards, *_, info = vector.step(actions)
            twin.step(mixed)
            require(
                not rewards[~acts].any(),
                f"round {t}: an agent that does not participate got a reward: {rewards[~acts]}",
                "write rewards only into the rewards argument of step_env",
            )
            require(
                np.array_equal(vector.buffers.observations, twin.buffers.observations),
                f"round {t}: the action of an agent that does not participate changed the game",
                fix,
            )


def check_participation_frequencies(subject: Subject) -> None:
    """Agents participate as often as the player function says, from the first round on."""
    vector = subject.vector(FREQUENCY_ENVS, fixed_horizon=True, autoreset=False)
    table = vector.player_function.table(vector.num_agents)
    if table is None:
        raise NotApplicable(f"{vector.player_function!r} depends on more than the round")
    probabilities, loop = table
    _, info = vector.reset(seed=0)
    actions = random_actions(vector, info)
    for t in range(min(12, vector.max_rounds - 1)):
        rows = len(probabilities)
        p = probabilities[t if t < rows else loop + (t - loop) % (rows - loop)].astype(float)
        for i, agent in enumerate(vector.agents):
            living = info["alive"][:, i]
            share, error = info["participation"][living, i].mean(), np.sqrt(p[i] * (1 - p[i]))
            require(
                abs(share - p[i]) <= STANDARD_ERRORS * error / np.sqrt(max(living.sum(), 1)),
                f"{agent} participates in {share:.3f} of the rounds number {t}, not in {p[i]:.3f}",
                "participation is drawn by the view; a game must not write it",
            )
        *_, info = vector.step(actions)


def check_masks(subject: Subject) -> None:
    """Masks are 0 or 1, never empty; agents that wait may do anything; forbidden actions count."""
    if not subject.vector().discrete:
        raise NotApplicable("continuous actions have no mask")
    for vector, _, info in _rounds(subject, num_envs=8, rounds=40):
        mask, acts = info["action_mask"], info["participation"] > 0
        require(
            np.isin(mask, (0, 1)).all(),
            "a mask holds numbers other than 0 and 1",
            "write 0 or 1 into action_mask",
        )
        require(
            mask.any(axis=2).all(),
            "an agent has no allowed action",
            "allow at least one action, a pass for example",
        )
        sizes = [int(vector.action_spaces[a].n) for a in vector.agents]
        for i, n in enumerate(sizes):
            require(
                mask[~acts[:, i], i, :n].all(),
                "the mask of an agent that waits forbids actions",
                "leave the masks of agents that wait to the view",
            )
    vector = subject.vector(8, null_action="as_action")
    _, info = vector.reset(seed=0)
    for _ in range(20):
        phi, acts = info["action_mask"][:, :, -1] > 0, info["participation"] > 0
        require(
            np.array_equal(phi, ~acts),
            "with null_action='as_action', φ is not allowed exactly when the agent waits",
            "leave the last action to the view",
        )
        *_, info = vector.step(random_actions(vector, info))


# -- mistakes of the user's -------------------------------------------------------------------------


def check_errors(subject: Subject) -> None:
    """Stepping too early or too late and actions outside their space raise clear errors."""
    fix = "do not override step or reset of the views"
    vector = subject.vector(2)
    actions = np.zeros_like(vector.buffers.actions)
    _raises(RuntimeError, lambda: vector.step(actions), "vector: step before reset", fix)
    vector.reset(seed=0)
    bad = actions.copy()
    bad[...] = vector.num_actions + 1 if vector.discrete else 1e9
    before = vector.buffers.observations.copy()
    while not vector.buffers.participation.any():
        vector.step(actions)
        before = vector.buffers.observations.copy()
    _raises(ValueError, lambda: vector.step(bad), "vector: an action outside its space", fix)
    same = np.array_equal(before, vector.buffers.observations)
    require(same, "a step that raised changed the observations", fix)
    _raises(ValueError, lambda: vector.step(actions[:1]), "vector: actions of a wrong shape", fix)
    vector.step(actions)
    _check_view_errors(subject, actions[0, 0], bad[0, 0], fix)


def _check_view_errors(subject: Subject, good: Any, bad: Any, fix: str) -> None:
    aec, parallel = subject.view("aec"), subject.view("parallel")
    _raises(RuntimeError, lambda: aec.step(good), "aec: step before reset", fix)
    aec.reset(seed=0)
    _raises(ValueError, lambda: aec.step(bad), "aec: an action outside its space", fix)
    for _ in aec.agent_iter():
        terminated, truncated = aec.last()[2:4]
        aec.step(None if terminated or truncated else good)
    _raises(RuntimeError, lambda: aec.step(good), "aec: step after the end", fix)
    _raises(RuntimeError, lambda: parallel.step({}), "parallel: step before reset", fix)
    _, infos = parallel.reset(seed=0)
    while not any(info["participates"] for info in infos.values()):
        *_, infos = parallel.step({})
    bads = dict.fromkeys(parallel.agents, bad)
    _raises(ValueError, lambda: parallel.step(bads), "parallel: an action outside its space", fix)
    while parallel.agents:
        parallel.step(dict.fromkeys(parallel.agents, good))
    _raises(RuntimeError, lambda: parallel.step({}), "parallel: step after the end", fix)


def _raises(kind: type[Exception], call: Callable[[], Any], what: str, fix: str) -> None:
    try:
        call()
    except kind:
        return
    except Exception as error:
        raise ConformanceError(f"{what} raised {error!r}, not {kind.__name__}", fix) from error
    raise ConformanceError(f"{what} raised nothing", fix)


# -- CUDA ---------------------------------------------------------------------------------------------


def check_cuda(subject: Subject) -> None:
    """The game compiles for CUDA, in single precision. No GPU is needed."""
    ptx = compile_to_ptx(subject)
    doubles = re.findall(r"^\s*(\w+\S*\.f64.*);", ptx, flags=re.MULTILINE)
    require(
        not doubles,
        f"the CUDA code computes in float64 in {len(doubles)} places, e.g. `{doubles[:1]}`",
        "write constants as np.float32(...) at module level, and convert integers with np.float32",
    )


def compile_to_ptx(subject: Subject) -> str:
    """PTX text of the game's step launch, for compute capability 7.5."""
    try:
        import numba
        from cuda.pathfinder import load_nvidia_dynamic_lib
        from numba import cuda
        from numba.core.errors import NumbaError
        from numba.cuda import dispatcher

        for library in ("nvrtc", "nvvm"):
            load_nvidia_dynamic_lib(library)
    except (ImportError, RuntimeError) as error:
        raise NotApplicable(
            "the CUDA compiler is not installed: pip install numba-cuda nvidia-cuda-nvrtc nvidia-nvvm"
        ) from error
    from mail_envs.kernels import game_launches

    class Device:
        compute_capability = (7, 5)

    vector = subject.vector(2)
    arrays = vector._launch_step.args
    modules: Any = (dispatcher, cuda)  # numba declares neither of the two names as public
    dispatch, compiler = modules
    current, dispatch.get_current_device = dispatch.get_current_device, Device
    try:
        launches = game_launches(vector.game.kernels, f"{subject.id}_ptx", device="cuda")
        types = tuple(numba.typeof(array) for array in arrays)
        ptx, _ = compiler.compile_ptx(launches.step.py_func, types, cc=Device.compute_capability)
    except NumbaError as error:
        raise ConformanceError(
            f"the game does not compile for CUDA: {str(error).strip().splitlines()[0]}",
            "use only scalars, fields of the record and other @njit functions in the three functions",
        ) from error
    finally:
        dispatch.get_current_device = current
    return ptx


CHECKS: dict[str, Callable[[Subject], None]] = {
    "page": check_page,
    "agents and spaces": check_agents_and_spaces,
    "observations lie in their spaces": check_observations_in_spaces,
    "PettingZoo api_test": check_pettingzoo_aec,
    "PettingZoo parallel_api_test": check_pettingzoo_parallel,
    "PettingZoo seed_test": check_pettingzoo_seeds,
    "PettingZoo render_test": check_pettingzoo_render,
    "parallel view = vector view": check_parallel_view,
    "AEC view = vector view": check_aec_view,
    "independent of num_envs": check_independence,
    "a seed repeats its episode": check_repeatability,
    "saved and restored": check_save_and_restore,
    "autoreset and final observations": check_autoreset,
    "agents that wait": check_non_participants,
    "participation frequencies": check_participation_frequencies,
    "action masks": check_masks,
    "clear errors": check_errors,
    "compiles for CUDA": check_cuda,
}


@dataclass(frozen=True)
class Result:
    """Outcome of one check: PASS, FAIL (with message and fix) or SKIP (with the reason)."""

    name: str
    status: str
    message: str = ""
    fix: str = ""


def run_checks(subject: Subject) -> Iterator[Result]:
    """Run all checks, one after the other."""
    for name, check in CHECKS.items():
        try:
            check(subject)
        except NotApplicable as reason:
            yield Result(name, "SKIP", str(reason))
        except ConformanceError as error:
            yield Result(name, "FAIL", error.message, error.fix)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            yield Result(
                name,
                "FAIL",
                f"{type(error).__name__}: {error}",
                f"it was raised at {where.filename}:{where.lineno}",
            )
        else:
            yield Result(name, "PASS")
