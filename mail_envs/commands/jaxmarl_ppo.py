"""IPPO over JaxMARL's environments, to compare the speed of training with `learners.ippo`.

JaxMARL's package holds its environments, not its learners. This loop does what they do: rollout, advantages and all
epochs of an update are one compiled function, actor and critic have separate networks, and one loss trains both. It
runs as a script, in any interpreter that has jaxmarl and optax:

    python jaxmarl_ppo.py SCENARIO SETTINGS      SETTINGS: JSON, the names of `learners.ippo`'s settings

and prints JSON: environment steps per second of CPU time and of wall time, after compilation.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

TRIALS = 3  # the best one counts: on a shared machine, other processes slow down the others
FORBIDDEN = -1e10


class Round(NamedTuple):
    """One round of E copies; every field is (E, N, ...)."""

    observations: Any
    masks: Any
    actions: Any
    log_probs: Any
    values: Any
    rewards: Any
    ended: Any


def make_environment(scenario: str) -> Any:
    """An MPE scenario such as `simple_spread`, or a map of SMAX such as `smax_3m`, against scripted enemies."""
    if scenario.startswith("smax_"):
        from jaxmarl.environments import smax

        units = smax.map_name_to_scenario(scenario.removeprefix("smax_"))
        return smax.HeuristicEnemySMAX(scenario=units)
    import jaxmarl

    return jaxmarl.make(f"MPE_{scenario}_v3", num_agents=3, action_type="Discrete")


# ------------------------------------------------------------------------------------------ networks
def make_network(key: Any, sizes: list[int], gain: float) -> list:
    """Weights and biases of an MLP with orthogonal initialization."""
    gains = [2**0.5] * (len(sizes) - 2) + [gain]
    keys = jax.random.split(key, len(gains))
    return [
        (jax.nn.initializers.orthogonal(g)(k, (a, b)), jnp.zeros(b))
        for k, g, a, b in zip(keys, gains, sizes[:-1], sizes[1:])
    ]


def apply(network: list, x: Any) -> Any:
    for weight, bias in network[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = network[-1]
    return x @ weight + bias


def log_probabilities(networks: dict, observations: Any, masks: Any) -> Any:
    logits = apply(networks["actor"], observations)
    return jax.nn.log_softmax(jnp.where(masks, logits, FORBIDDEN))


def values_of(networks: dict, observations: Any) -> Any:
    return apply(networks["critic"], observations)[..., 0]


def taken(logs: Any, actions: Any) -> Any:
    return jnp.take_along_axis(logs, actions[..., None], -1)[..., 0]


# ------------------------------------------------------------------------------------------ one update
def stacked(env: Any, parts: dict) -> Any:
    """(E, N, ...) from the agents' arrays (E, ...)."""
    return jnp.stack([parts[agent] for agent in env.agents], 1)


def masks_of(env: Any, states: Any, num_actions: int) -> Any:
    """Allowed actions, bool (E, N, A); all of them in games that forbid none."""
    try:
        return stacked(env, jax.vmap(env.get_avail_actions)(states)).astype(bool)
    except NotImplementedError:
        count = jax.tree.leaves(states)[0].shape[0]
        return jnp.ones((count, len(env.agents), num_actions), bool)


def play(env: Any, num_actions: int, networks: dict, carry: tuple, _: Any) -> tuple[tuple, Round]:
    """Play one round with sampled actions; finished episodes begin again."""
    key, states, observations = carry
    key, choice, luck = jax.random.split(key, 3)
    masks = masks_of(env, states, num_actions)
    logs = log_probabilities(networks, observations, masks)
    actions = jax.random.categorical(choice, logs)
    each = {agent: actions[:, i] for i, agent in enumerate(env.agents)}
    lucks = jax.random.split(luck, len(actions))
    seen, states, rewards, dones, _ = jax.vmap(env.step)(lucks, states, each)
    ended = jnp.broadcast_to(dones["__all__"][:, None], actions.shape)
    found = Round(
        observations, masks, actions, taken(logs, actions), values_of(networks, observations),
        stacked(env, rewards), ended,
    )  # fmt: skip
    return (key, states, stacked(env, seen)), found


def advantages_of(rounds: Round, last: Any, gamma: float, lam: float) -> Any:
    """Generalized advantages, (T, E, N)."""

    def back(carry: tuple, r: Round) -> tuple[tuple, Any]:
        running, following = carry
        keep = 1.0 - r.ended
        running = r.rewards + gamma * keep * following - r.values + gamma * lam * keep * running
        return (running, r.values), running

    return jax.lax.scan(back, (jnp.zeros_like(last), last), rounds, reverse=True)[1]


def loss_of(networks: dict, batch: tuple, settings: dict) -> Any:
    """Clipped surrogate, entropy bonus and squared error of the values, over rows (R, ...)."""
    rounds, advantages, targets = batch
    logs = log_probabilities(networks, rounds.observations, rounds.masks)
    ratio = jnp.exp(taken(logs, rounds.actions) - rounds.log_probs)
    clipped = jnp.clip(ratio, 1 - settings["clip"], 1 + settings["clip"])
    entropy = -(jnp.exp(logs) * logs).sum(-1).mean()
    errors = values_of(networks, rounds.observations) - targets
    surrogate = jnp.minimum(ratio * advantages, clipped * advantages).mean()
    return -surrogate - settings["entropy"] * entropy + 0.5 * jnp.square(errors).mean()


def make_update(env: Any, num_actions: int, settings: dict, optimizer: Any) -> Any:
    """The compiled function that plays T rounds and makes all epochs on them."""
    T, epochs, parts = settings["rounds"], settings["epochs"], settings["minibatches"]

    def descend(carry: tuple, batch: tuple) -> tuple[tuple, None]:
        networks, memory = carry
        gradients = jax.grad(loss_of)(networks, batch, settings)
        steps, memory = optimizer.update(gradients, memory, networks)
        return (optax.apply_updates(networks, steps), memory), None

    @jax.jit
    def update(networks: dict, memory: Any, played: tuple) -> tuple:
        one = functools.partial(play, env, num_actions, networks)
        played, rounds = jax.lax.scan(one, played, None, T)
        last = values_of(networks, played[2])
        advantages = advantages_of(rounds, last, settings["gamma"], settings["lam"])
        targets = advantages + rounds.values
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-5)
        count = advantages.size
        rows = jax.tree.map(lambda x: x.reshape(count, *x.shape[3:]), (rounds, advantages, targets))

        def epoch(carry: tuple, key: Any) -> tuple[tuple, None]:
            order = jax.random.permutation(key, count).reshape(parts, -1)
            batches = jax.tree.map(lambda x: x[order], rows)
            return jax.lax.scan(descend, carry, batches)

        key, draw = jax.random.split(played[0])
        keys = jax.random.split(draw, epochs)
        networks, memory = jax.lax.scan(epoch, (networks, memory), keys)[0]
        return networks, memory, (key, *played[1:])

    return update


# ------------------------------------------------------------------------------------------ the rate
def rate(scenario: str, settings: dict, seconds: float) -> dict[str, float]:
    """Steps per second of CPU time and of wall time."""
    env = make_environment(scenario)
    key, first, second, starts = jax.random.split(jax.random.PRNGKey(0), 4)
    observations, states = jax.vmap(env.reset)(jax.random.split(starts, settings["num_envs"]))
    observations = stacked(env, observations)
    num_actions = env.action_space(env.agents[0]).n
    sizes = [observations.shape[-1], *settings["hidden"]]
    networks = {
        "actor": make_network(first, [*sizes, num_actions], 0.01),
        "critic": make_network(second, [*sizes, 1], 1.0),
    }
    optimizer = optax.chain(
        optax.clip_by_global_norm(settings["max_grad_norm"]), optax.adam(settings["lr"], eps=1e-5)
    )
    update = make_update(env, num_actions, settings, optimizer)
    carry = networks, optimizer.init(networks), (key, states, observations)
    for _ in range(2):  # compiles, perhaps again for the types that the first call returned
        carry = jax.block_until_ready(update(*carry))
    best = {"cpu": 0.0, "wall": 0.0}
    for _ in range(TRIALS):
        steps, begin, clock = 0, time.process_time(), time.perf_counter()
        while not steps or time.process_time() - begin < seconds / TRIALS:
            carry = jax.block_until_ready(update(*carry))
            steps += settings["num_envs"] * settings["rounds"]
        spent = {"cpu": time.process_time() - begin, "wall": time.perf_counter() - clock}
        best = {k: max(best[k], steps / s) for k, s in spent.items()}
    return best


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    print(json.dumps(rate(sys.argv[1], given, given["seconds"])))
