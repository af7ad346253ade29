"""Checks that episodes are independent: seeds, copies, autoreset, saved states."""

from __future__ import annotations

import numpy as np

from mail_envs.conformance.subject import Subject, play_vector, random_actions, require


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
            require(
                same,
                f"environment {e} of 4 differs from the same environment alone, in step {t}",
                fix,
            )


def check_repeatability(subject: Subject) -> None:
    """A seed gives the same episode every time, also after other episodes."""
    vector = subject.vector(3)
    fix = "initialize every field of the record in reset_env; draw random numbers only from `rng`"
    firsts = []
    for _ in range(2):
        observations, info = vector.reset(seed=11)
        trace = [observations.copy(), info["participation"].copy()]
        for _ in range(min(vector.max_rounds + 5, 80)):
            observations, rewards, *_, info = vector.step(random_actions(vector, info))
            trace += [observations.copy(), rewards.copy(), info["participation"].copy()]
        firsts.append(trace)
    same = all(np.array_equal(a, b) for a, b in zip(*firsts, strict=True))
    require(same, "two episodes after reset(seed=11) differ", fix)


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
            "keep the whole state in the state record",
        )


def check_autoreset(subject: Subject) -> None:
    """Final observations are those of the end, all others those of the next episode; returns and lengths are right."""
    vector = subject.vector(4)
    observations, info = vector.reset(seed=3)
    returns, lengths = np.zeros((4, vector.num_agents)), np.zeros(4, int)
    seeds, ends = info["seed"].copy(), 0
    fix = "step_env must return whether the game has ended; the views do the rest"
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
            pairs = zip(again, final, strict=True)
            require(
                all(np.array_equal(a.ravel(), f[: a.size]) for a, f in pairs),
                f"{what}: the final observation is not the last one of the same episode played alone",
                fix,
            )
            fresh, _ = subject.vector(1).reset(seed=int(info["seed"][e]))
            require(
                np.array_equal(fresh[0], observations[e]),
                f"{what}: the next episode is not that of info['seed']",
                fix,
            )
            returns[e], lengths[e], seeds[e] = 0, 0, info["seed"][e]
    require(ends, f"no episode ended within {vector.max_rounds + 30} rounds", fix)
