"""Checks of participation: who acts, how often, and that others have no influence and no reward."""

from __future__ import annotations

import numpy as np

from mail_envs.conformance.subject import (
    NotApplicable,
    Subject,
    random_actions,
    random_play,
    require,
)
from mail_envs.markov_game import KernelGame

SEEDS = (0, 1, 2)
FREQUENCY_ENVS = 4000
STANDARD_ERRORS = 5.0  # participation frequencies may be off by this much


def check_non_participants(subject: Subject) -> None:
    """An agent that does not participate gets no reward, and its action has no effect."""
    if subject.vector().game.has_turns:
        raise NotApplicable(
            "agents of a game with its own order of turns get rewards in the turns of others, too"
        )
    fix = "use acts[i], not actions[i], to determine who acts"
    for seed in SEEDS:
        vector, twin = subject.vector(8), subject.vector(8)
        _, info = vector.reset(seed=seed)
        twin.reset(seed=seed)
        for t in range(40):
            acts, actions = info["participation"] > 0, random_actions(vector, info)
            noise = np.roll(
                actions, 1, axis=0
            )  # other legal actions for agents that do not participate
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
    if not isinstance(subject.vector().game, KernelGame):
        raise NotApplicable(f"{FREQUENCY_ENVS:,} copies of a simulator are too many")
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
                f"{agent} participates in round {t} with frequency {share:.3f}, not {p[i]:.3f}",
                "participation is drawn by the view; a game must not write it",
            )
        *_, info = vector.step(actions)


def check_masks(subject: Subject) -> None:
    """Masks are 0 or 1, never empty; agents that do not participate have full masks."""
    if not subject.vector().discrete:
        raise NotApplicable("continuous actions have no mask")
    for vector, _, info in random_play(subject, num_envs=8, rounds=40):
        mask, waits = info["action_mask"], info["alive"] & (info["participation"] == 0)
        require(
            np.isin(mask, (0, 1)).all(),
            "a mask contains values other than 0 and 1",
            "write 0 or 1 into action_mask",
        )
        require(
            mask.any(axis=2).all(),
            "an agent has no allowed action",
            "allow at least one action, for example a no-op",
        )
        sizes = [int(vector.action_spaces[a].n) for a in vector.agents]
        for i, n in enumerate(sizes):
            require(
                mask[waits[:, i], i, :n].all(),
                "the mask of an agent that does not participate forbids actions",
                "leave the masks of agents that do not participate to the view",
            )
            require(
                not mask[:, i, n:].any(),
                f"the mask allows actions beyond the {n} that {vector.agents[i]} has",
                "write only as many entries of action_mask as the agent has actions",
            )
    if vector.game.null_problem:
        return  # φ cannot be an action there
    vector = subject.vector(8, null_action="as_action")
    _, info = vector.reset(seed=0)
    for _ in range(20):
        acts, agents = info["participation"] > 0, np.arange(vector.num_agents)
        phi = info["action_mask"][:, agents, vector.null_actions] > 0
        require(
            np.array_equal(phi, ~acts),
            "with null_action='as_action', φ must be allowed exactly when the agent does not participate",
            "leave every agent's last action to the view",
        )
        *_, info = vector.step(random_actions(vector, info))
