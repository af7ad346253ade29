"""DM²: decentralized distribution matching (Wang et al., 2023): IPPO with a discriminator of each agent's observations.

Every agent has its own policy, critic and discriminator. The discriminator tells the agent's observations from those
of its demonstrator; actions are not needed. Its output is added to the game's reward,

    r_i = r_env + gail_weight * f(logit of D_i(o_i)),

and IPPO does the rest. With `--gail-weight 0` this is `learners.ippo --share none`, number for number.

    python -m demos.record --env smac_5m_vs_6m --policy runs/expert@2000000 --out demos_30
    python -m learners.dm2 --env smac_5m_vs_6m --demos demos_30 --num-demos 1000

Agents may have demonstrators that were not trained together: `--demos A B C` gives one set for each agent, which
learns from what that agent saw in its set. `--shuffle-agents` gives agents demonstrations from different episodes.
Only rounds in which an agent is alive and acts count, in its demonstrations as in its own play.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from learners import ippo
from learners.lib.actor_critic import check_chunks, estimate_advantages
from learners.lib.adversarial import RewardForm, balanced_loss, gradient_penalty, reward
from learners.lib.checkpoints import restore_random
from learners.lib.expert_data import adopt_references, opened
from learners.lib.fields import Between, Count, NonEmpty, Positive, Sizes
from learners.lib.game import describe, make_game
from learners.lib.mlp import MLP, Activation
from learners.lib.networks import Share
from learners.lib.optimizers import Adam
from learners.lib.rewards import rewards_of
from learners.lib.rollout import Rollout
from learners.lib.run import Run, main
from mail_envs.streams import stream_seed


@dataclasses.dataclass(frozen=True)
class Args(ippo.Args):
    """Learn from the game's reward and from demonstrated observations, each agent for itself (DM²)."""

    preset: Literal[
        "default", "paper", "quick", "5m_vs_6m", "3s_vs_4z", "3s_vs_3z", "3s_vs_5z", "8m_vs_9m"
    ] = "default"
    demos: Annotated[tuple[str, ...], NonEmpty("set")] = ("expert",)
    """Folders of demonstrations: one for all agents, or one for each. Instead of a folder: expert, scripted, random,
    a run folder, RUN@STEP or a policy file, whose demonstrations are recorded first."""
    num_demos: Count = 1000
    """Number of demonstrated episodes that each agent learns from, the first ones of its set."""
    shuffle_agents: bool = False
    """Draw each agent's episodes at random from all of its set, so that agents learn from different episodes."""
    share: Share = "none"
    gail_weight: Annotated[float, Between(0.0)] = 0.1
    """Weight c of the discriminators' reward; 0: learn from the game's reward alone."""
    gail_reward: RewardForm = "tanh"
    """Reward of a logit x: logit, sigmoid, tanh (2 sigmoid(x) - 1), softplus or neglog (-softplus(-x)). Large negative
    ones make dying pay, positive ones living to the time limit."""
    disc_hidden: Sizes = (64, 64)
    """Widths of the discriminators' hidden layers."""
    disc_activation: Activation = "tanh"
    """Activation of the discriminators' hidden layers."""
    disc_steps: Count = 20
    """Gradient steps of every discriminator per update."""
    disc_batch: Count = 512
    """Observations per step, from the demonstrations and from the agent each."""
    disc_lr: Positive = 1e-3
    """Learning rate of the discriminators (Adam)."""
    gradient_penalty: Annotated[float, Between(0.0)] = 10.0
    """Weight of the gradient penalty, (|gradient| - 1)^2 of the logit between demonstrated and own observations."""


# The paper's buffer of 1024 episodes is a batch of about as many rounds, and so are 64 episodes per discriminator step.
PAPER = {
    "gail_reward": "logit",
    "steps": 10_000_000,
    "num_envs": 512,
    "rounds": 100,
    "minibatches": 1,
    "lr": 5e-4,
    "anneal": False,
    "recurrent": True,
    "value_clip": 0.2,
    "huber": 10.0,
    "layer_norm": "after",
    "disc_steps": 120,
    "disc_batch": 2048,
}
PRESETS = {
    "5m_vs_6m": {**PAPER, "epochs": 10, "clip": 0.05, "gail_weight": 0.3},
    "3s_vs_4z": {**PAPER, "epochs": 15, "clip": 0.2, "gail_weight": 0.05},
    # From the paper's code only.
    "3s_vs_3z": {**PAPER, "epochs": 15, "clip": 0.2, "gail_weight": 0.3},
    "3s_vs_5z": {**PAPER, "epochs": 15, "clip": 0.05, "gail_weight": 0.1},
    "8m_vs_9m": {**PAPER, "epochs": 15, "clip": 0.05, "gail_weight": 0.4},
    "quick": {"steps": 300_000, "num_demos": 200, "eval_episodes": 200},
}
PRESETS["paper"] = PRESETS["5m_vs_6m"]


class Discriminators:
    """One discriminator per agent, its optimizer, and the observations that it takes for the expert's.

    They draw their minibatches from a generator of their own.
    """

    def __init__(self, shown: list[Tensor], args: Args, device: torch.device):
        self.shown = shown
        self.networks: Any = nn.ModuleList(
            MLP([x.shape[1], *args.disc_hidden, 1], activation=args.disc_activation) for x in shown
        ).to(device)
        for network, rows in zip(self.networks, shown, strict=True):
            network.normalize_with(rows)
        self.optimizers = [Adam(network, args.disc_lr) for network in self.networks]
        seed = stream_seed(args.seed, "discriminators")
        self.rng = torch.Generator(device).manual_seed(seed)

    def update(self, rollout: Rollout, args: Args) -> dict[str, float]:
        """Train every discriminator; the metrics are means over agents. Agents that never acted are left out."""
        found: list[dict[str, float]] = []
        valid = rollout.learned_from()
        for i, (network, expert) in enumerate(zip(self.networks, self.shown, strict=True)):
            own = rollout.observations[:-1, :, i, : expert.shape[1]][valid[:, :, i]]
            if not len(own):
                continue
            metrics = {}
            for _ in range(args.disc_steps):
                rows, others = (self._sampled(x, args.disc_batch) for x in (expert, own))
                loss, metrics = loss_of(network, rows, others, args.gradient_penalty, self.rng)
                self.optimizers[i].step(loss)
            found.append(metrics)
        return {k: sum(m[k] for m in found) / len(found) for k in found[0]} if found else {}

    def _sampled(self, rows: Tensor, count: int) -> Tensor:
        return rows[torch.randint(len(rows), (count,), generator=self.rng, device=rows.device)]

    @torch.no_grad()
    def rewards(self, rollout: Rollout, form: RewardForm) -> Tensor:
        """f(logit) of every agent's observation, (T, E, N); 0 in rounds in which it does not act."""
        result = torch.zeros_like(rollout.rewards)
        for i, (network, expert) in enumerate(zip(self.networks, self.shown, strict=True)):
            seen = rollout.observations[:-1, :, i, : expert.shape[1]]
            result[:, :, i] = reward(network(seen.flatten(0, 1)), form).view(seen.shape[:2])
        return result * rollout.learned_from()

    def state_dict(self) -> dict:
        return {
            "networks": dict(self.networks.state_dict()),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "rng": self.rng.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        self.networks.load_state_dict(state["networks"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        restore_random(self.rng, state["rng"])


def loss_of(
    network: MLP, expert: Tensor, own: Tensor, penalty: float, rng: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """Binary cross-entropy of observations (B, D) of both sources, and the gradient penalty."""
    a, b = network(torch.cat([expert, own])).split([len(expert), len(own)])
    loss, metrics = balanced_loss(a, b, (torch.ones_like(a), torch.ones_like(b)))
    if penalty:
        loss = loss + penalty * gradient_penalty(network, expert, own, rng)
    return loss, metrics


def demonstrated(run: Run, vec) -> list[Tensor]:
    """What each agent's demonstrator observed in the rounds in which it acted, one tensor (M_i, D_i) per agent."""
    args: Args = run.args
    if len(args.demos) not in (1, vec.num_agents):
        raise ValueError(
            f"demos: {len(args.demos)} sets for {vec.num_agents} agents; give one set, or one for each agent"
        )
    several = len(args.demos) > 1
    sets = []
    for k, source in enumerate(args.demos):
        place = f"demonstrations/{k}" if several else "demonstrations"
        sets.append(opened(run, source, place, k * args.num_demos))
        sets[k].check_compatible(vec)
    adopt_references(run, sets[0], vec, args.demos[0])
    seed = stream_seed(args.seed, "demonstrations")
    shown, episodes = [], None
    for i, dims in enumerate(vec.observation_dims):
        chosen = sets[i if several else 0]
        if args.shuffle_agents:
            episodes = chosen.sample(args.num_demos, seed + i).transitions()
        elif several or episodes is None:
            episodes = chosen.first(args.num_demos).transitions()
        acted = (episodes.participation[:, i] != 0) & episodes.alive[:, i]
        if not acted.any():
            raise ValueError(f"demos: {vec.agents[i]} never acts in its demonstrations")
        rows = episodes.observations[acted, i, :dims]
        shown.append(torch.as_tensor(rows).to(run.device, torch.float32))
    return shown


def statistics(rewards: Tensor, valid: Tensor) -> dict[str, float]:
    """Mean and standard deviation of the discriminators' rewards (T, E, N), and every agent's mean."""
    if int(valid.sum()) < 2:
        return {}
    sd, mean = torch.std_mean(rewards[valid])
    each = rewards.sum((0, 1)) / valid.sum((0, 1)).clamp(min=1)
    result = {"gail_reward": float(mean), "gail_reward_sd": float(sd)}
    return result | {f"gail_reward_{i}": float(x) for i, x in enumerate(each)}


def train(args: Args) -> dict:
    """Run DM²; returns the evaluation of the trained policy."""
    check_chunks(args)
    with Run("dm2", args) as run:
        args, rng = run.args, run.rng
        vec = make_game(args, args.num_envs, run.device)
        agent = ippo.make_agent(vec, args, run.device)
        memory, state = agent.policy.memory_size, args.critic == "state"
        rollout = Rollout(vec, args.rounds, run.device, memory, state)
        rollout.reset(stream_seed(args.seed, "games"))
        discriminators = Discriminators(demonstrated(run, vec), args, run.device)
        parts = {"agent": agent, "rollout": rollout, "discriminators": discriminators}
        run.begin(agent.policy, describe(vec), parts)
        run.say(
            f"dm2 on {args.env}: {args.steps:,} steps, {args.num_demos} demonstrations per agent, "
            f"{run.device}, {run.folder}"
        )
        while not run.done:
            rollout.collect(agent.policy, rng)
            if args.anneal:
                agent.set_rate(args.lr * (1 - run.progress))

            # Discriminators first; then r_env + c f(logit), values and advantages, and IPPO's update.
            metrics = discriminators.update(rollout, args)
            imitation = discriminators.rewards(rollout, args.gail_reward)
            rewards = rewards_of(rollout, args.reward) + args.gail_weight * imitation
            learned = estimate_advantages(agent, rollout, rewards, args.gamma, args.lam)
            actors = run.updates >= args.critic_first
            metrics |= ippo.update(agent, rollout, *learned, args, rng, actors)

            metrics |= statistics(imitation, rollout.learned_from())
            run.advance(rollout.steps, rollout.episodes() | metrics)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
