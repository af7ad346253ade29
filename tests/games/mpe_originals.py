"""MPE2's scenarios beside ours: the same state in both, the same actions."""

from __future__ import annotations

import importlib

import numpy as np

import mail_envs
from mail_envs.vector import VectorGame

IDS = [id for id, spec in mail_envs.specs().items() if spec.family == "mpe"]
ROUNDS = 25


def original(id: str, **keywords):
    """MPE2's parallel environment of the scenario that `id` names."""
    version = 4 if id == "mpe_simple_speaker_listener" else 3
    module = importlib.import_module(f"mpe2.{id.removeprefix('mpe_')}_v{version}")
    return module.parallel_env(**keywords)


def beside(id, episodes, *, continuous=False, double=False, **keywords) -> np.ndarray:
    """Largest error of observations, rewards and states in every episode (E,), relative above 1.

    Both play ROUNDS rounds of the same random actions from MPE2's own initial states. With `double` our
    records hold float64, and MPE2 takes our float32 constants: all that is left are the formulas.
    """
    game, player = mail_envs.make_game(id, continuous_actions=continuous, **keywords)
    if double:
        game.state_dtype = doubled(game.state_dtype)
    ours = VectorGame(game, player, episodes, autoreset=False)
    ours.reset(seed=0)
    theirs = original(id, continuous_actions=continuous, max_cycles=ROUNDS, **keywords)
    assert_same_spaces(ours, theirs)
    if double:
        round_constants(theirs.unwrapped.world)
    actions = random_actions(ours)
    shown = [play(id, theirs, ours, e, actions[:, e]) for e in range(episodes)]
    worst = np.zeros(episodes)
    for t in range(ROUNDS):
        observations, rewards, *_, info = ours.step(actions[t])
        found = concatenated(ours, observations), rewards, info["state"]
        for k, array in enumerate(found):
            expected = np.stack([episode[t][k] for episode in shown])
            error = np.abs(array - expected) / (1 + np.abs(expected))
            worst = np.maximum(worst, error.max(axis=1))
    return worst


def play(id, theirs, ours, e, actions):
    """An episode of MPE2's: observations (all agents', one after the other), rewards, state by round."""
    theirs.reset(seed=e)
    copy_state(id, theirs.unwrapped.world, ours.buffers.world[e])
    rows = []
    for chosen in actions:
        observations, rewards, *_ = theirs.step(named(ours, chosen))
        whole = np.concatenate([observations[a] for a in ours.agents])
        rows.append((whole, np.array([rewards[a] for a in ours.agents]), theirs.state()))
    return rows


def assert_same_spaces(ours, theirs) -> None:
    assert ours.agents == theirs.possible_agents
    for agent in ours.agents:
        assert ours.action_spaces[agent] == theirs.action_space(agent)
        assert ours.observation_spaces[agent] == theirs.observation_space(agent)
    assert ours.state_space == theirs.state_space


def random_actions(vector) -> np.ndarray:
    """Actions of ROUNDS rounds, (T, E, N) or (T, E, N, A)."""
    rng = np.random.default_rng(0)
    shape = (ROUNDS, *vector.buffers.actions.shape)
    if vector.discrete:
        return rng.integers(vector.action_dims, size=shape).astype(np.int32)
    own = np.arange(shape[-1]) < np.array(vector.action_dims)[:, None]
    return rng.random(shape, np.float32) * own


def named(vector, actions) -> dict:
    """Actions (N,) or (N, A) by agent, as MPE2 wants them."""
    if vector.discrete:
        return dict(zip(vector.agents, actions.tolist()))
    rows = zip(vector.agents, actions, vector.action_dims)
    return {agent: row[:own].copy() for agent, row, own in rows}


def concatenated(vector, observations) -> np.ndarray:
    """Observations (E, N, D) without the padding, (E, sum of D)."""
    parts = [observations[:, i, :d] for i, d in enumerate(vector.observation_dims)]
    return np.concatenate(parts, axis=1)


def doubled(dtype: np.dtype) -> np.dtype:
    """A record with float64 for float32."""
    fields = {name: dtype.fields[name][0] for name in dtype.names}
    wide = [(n, "f8" if f.base.kind == "f" else f.base, f.shape) for n, f in fields.items()]
    return np.dtype(wide, align=True)


def single(number):
    return float(np.float32(number))


def round_constants(world) -> None:
    """Give MPE2 our float32 constants."""
    world.dt, world.contact_margin = single(world.dt), single(world.contact_margin)
    for entity in world.entities:
        entity.size = single(entity.size)
        if entity.max_speed is not None:
            entity.max_speed = single(entity.max_speed)


def copy_state(id: str, world, record) -> None:
    """Write the state of MPE2's world into our record; what float32 cannot hold is rounded in both."""
    for entity in world.entities:
        entity.state.p_pos = np.float32(entity.state.p_pos).astype(float)
    if "pos" in record.dtype.names:
        record["pos"], record["vel"] = places(world.agents), 0
        record["landmark"] = places(world.landmarks[: len(record["landmark"])])
    number = world.landmarks.index
    if id == "mpe_simple_reference":
        record["goal"] = [number(agent.goal_b) for agent in world.agents]
    elif id == "mpe_simple_speaker_listener":
        record["goal"] = number(world.agents[0].goal_b)
    elif id in ("mpe_simple_adversary", "mpe_simple_push"):
        record["goal"] = number(world.agents[0].goal_a)
    elif id == "mpe_simple_crypto":
        record["message"] = number(world.agents[0].goal_a)
        record["key"] = int(world.agents[2].key.argmax())
    elif id == "mpe_simple_world_comm":
        record["food"], record["forest"] = places(world.food), places(world.forests)


def places(entities) -> np.ndarray:
    return np.reshape([entity.state.p_pos for entity in entities], (-1, 2))
