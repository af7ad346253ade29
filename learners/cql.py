"""Conservative Q-learning for several agents: actions that were not taken are held to be worse (Kumar et al., 2020).

The loss of the values is the squared TD error plus alpha times an excess, log sum_a exp Q(o, a) - Q(o, a of the data).
`--variant`, for discrete actions:

    iql               every agent learns its own values; the sum is over the actions that it is allowed (default)
    qmix              QMIX's value of the team; the sum is over joint actions, and is sampled
    counterfactual    QMIX's value of the team; the sum is over one agent's actions, with the others' as in the data, and
                      the excess is averaged over agents (CFCQL, Shao et al., 2023)

Continuous actions: TD3's twin critics of every agent, without noise or delay, and a deterministic policy that maximizes the
first of them, as in the experiments of OMAR (Pan et al., 2022). The sum is an integral, and is sampled.

    python -m learners.cql --env smac_3m --demos expert --num-demos 1000
    python -m learners.cql --env mamujoco_halfcheetah_2x3 --demos my_demos --alpha 5
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from learners.lib import offline
from learners.lib.batch import Batch, Seen, mean
from learners.lib.conservative import Conservative, conservative_step, excess, joint_excess
from learners.lib.distributions import masked
from learners.lib.fields import Count
from learners.lib.mixers import make_mixer
from learners.lib.offline import OfflineSettings
from learners.lib.replay import Source
from learners.lib.returns import aimed
from learners.lib.run import main
from learners.lib.time_limit import fraction_left, time_inputs


@dataclasses.dataclass(frozen=True)
class Args(OfflineSettings, Conservative):
    """Learn offline with conservative Q-learning."""

    variant: Literal["iql", "qmix", "counterfactual"] = "iql"
    """Whose values are learned, and which actions are held to be worse, see above; only for discrete actions."""
    embed: Count = 32
    """Width of the mixer's hidden layer."""
    hyper_hidden: Count = 64
    """Width of the layers that compute the mixer's weights."""

    @property
    def team(self) -> bool:
        """Whether the values are those of the team."""
        return self.variant != "iql"


PRESETS = {
    "paper": {"steps": 500_000},
    "quick": {"steps": 5_000, "eval_episodes": 200},
}


class DiscreteLearner:
    """Values of the agents' own actions, whose best one is played, and the mixer."""

    def __init__(self, vec: Any, args: Args, source: Source, device: torch.device):
        self.vec, self.args = vec, args
        size = math.prod(vec.state_space.shape) + vec.num_agents + time_inputs(vec)
        kind = "qmix" if args.team else "none"
        mixer = make_mixer(kind, vec.num_agents, size, args.embed, args.hyper_hidden)
        networks = nn.ModuleList([offline.make_policy(vec, args, source, "greedy"), mixer])
        self.nets = offline.Trained(args, device, networks=networks)
        self.policy: Any = self.nets.online["networks"][0]

    def update(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """One gradient step."""
        q = self.of_actions(self.policy, batch)
        with torch.no_grad():
            targets = self.targets(q, batch)
        values = self.mixed("online", offline.of_taken(q[:-1], batch.actions), batch.seen)
        where = offline.counts(batch, self.args.team)
        error = mean((values - targets).square(), aimed(self.vec, batch, self.args.team))
        conservative = self.excess(q[:-1], values, batch, rng)
        loss = 0.5 * error + self.args.alpha * conservative
        found = offline.figures(self.nets.step("networks", loss), values, where)
        self.nets.taken += 1
        self.nets.follow()
        return {**found, "excess": float(conservative.detach())}

    def of_actions(self, policy: Any, batch: Batch) -> Tensor:
        """Values of all own actions in every row, (L + 1, B, N, A)."""
        return offline.outputs_of(policy, batch.rows)

    def mixed(self, which: str, q: Tensor, rows: Seen, acts: Tensor | None = None) -> Tensor:
        """Values (*L, M) of joint actions whose agents' values are q (*L, N); `acts`: who counts, by default who acts."""
        acts = rows.acts if acts is None else acts
        left = fraction_left(self.vec, rows.round)
        inputs = torch.cat([rows.states, acts.to(q.dtype), left], -1)
        nets = self.nets.online if which == "online" else self.nets.target
        acts, inputs = (x.expand(*q.shape[:-1], -1) for x in (acts, inputs))
        return nets["networks"][1](q, acts, inputs)

    def targets(self, q: Tensor, batch: Batch) -> Tensor:
        """TD targets (L, B, M): double Q-learning, with the actions that are allowed next."""
        after = batch.next
        best = masked(q[1:], after.action_mask).argmax(-1)
        later = offline.of_taken(self.of_actions(self.nets.target["networks"][0], batch)[1:], best)
        acts = after.acts
        # Where an episode is cut while nobody acts, the living agents would act next.
        acts = acts | (after.alive & ~acts.any(-1, keepdim=True)) if self.args.team else after.alive
        return offline.returns(self.vec, batch, self.mixed("target", later, after, acts), self.args)

    def excess(self, q: Tensor, values: Tensor, batch: Batch, rng: torch.Generator) -> Tensor:
        """CQL's excess, a mean over who learns; `q` (L, B, N, A), `values` (L, B, M) of the data."""
        seen, actions, args = batch.seen, batch.actions, self.args
        mask, acts = seen.action_mask, batch.learned_from()
        assert mask is not None
        if args.variant == "iql":
            return mean(excess(q, mask, actions), acts)
        if args.variant == "qmix":
            # Agents that do not act have no choice.
            only = nn.functional.one_hot(actions, mask.shape[-1])
            mask = torch.where(acts.unsqueeze(-1), mask.long(), only)

            def value(joint: Tensor) -> Tensor:
                return self.mixed(
                    "online", offline.of_taken(q.expand(len(joint), *q.shape), joint), seen
                )

            found = joint_excess(value, values, actions, mask, args.samples, rng)
            return mean(found, acts.any(-1, keepdim=True))
        found = []
        for i in range(self.vec.num_agents):
            others = offline.of_taken(q, actions).unsqueeze(0).repeat(q.shape[-1], 1, 1, 1)
            others[..., i] = q[:, :, i].movedim(-1, 0)
            everything = self.mixed("online", others, seen).squeeze(-1).movedim(0, -1)
            everything = masked(everything, mask[:, :, i])
            found.append(torch.logsumexp(everything, -1) - values.squeeze(-1))
        return mean(torch.stack(found, -1), acts)


class ContinuousLearner:
    """A deterministic policy, its critics and their targets."""

    def __init__(self, vec: Any, args: Args, source: Source, device: torch.device):
        self.vec, self.args = vec, args
        self.nets = offline.actor_and_critics(vec, args, source, device, "tanh")
        self.policy: Any = self.nets.online["policy"]

    def update(self, batch: Batch, rng: torch.Generator) -> dict[str, float]:
        """One gradient step of the critics and one of the policy."""
        found = conservative_step(self.vec, self.args, self.nets, batch, rng)
        out = offline.outputs_of(self.policy, batch.rows)[:-1]
        actions, where = offline.actions_of(self.policy, out), offline.counts(batch, team=False)
        q = self.nets.online["critics"][0](batch.seen, actions)
        loss = mean(self.args.regularize * actions.square().mean(-1) - q, where)
        found["policy_loss"] = self.nets.step("policy", loss)
        self.nets.taken += 1
        self.nets.follow()
        return found


def make(vec: Any, args: Args, source: Source, device: torch.device) -> Any:
    """The learner for a game's kind of actions. ValueError: settings that do not fit it."""
    if vec.discrete and args.critic == "state":
        raise ValueError(
            "--critic state needs continuous actions: the values of discrete ones are the policy"
        )
    if not vec.discrete and args.team:
        raise ValueError(
            f"--variant {args.variant} needs discrete actions; those of {args.env} are continuous"
        )
    return (DiscreteLearner if vec.discrete else ContinuousLearner)(vec, args, source, device)


def train(args: Args) -> dict:
    """Run CQL; returns the evaluation of the trained policy."""
    return offline.learn("cql", args, make)


if __name__ == "__main__":
    main(Args, PRESETS, train)
