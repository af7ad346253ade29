"""AMAGAIL: adversarial imitation in asynchronous multi-agent games (the AMAGAIL paper, Algorithm 1).

In every round a player function decides which agents act; the action of an absent agent is the null
action φ. AMAGAIL uses the losses of MAGAIL (`learners.magail`), with these differences:

1. Pairs (observation, φ) are dropped from both the demonstrations and the policy's rounds: the discriminator
   of agent i learns only from rounds in which i participates.
2. The reward of agent i is I_i f(logit): exactly 0 in rounds in which it is absent.
3. Values and advantages are computed over *all* rounds; then the entries with I_i = 0 are dropped from the
   actor and critic losses. Networks that see all agents still see an absent one, with an all-zero action.
4. The policy chooses only among the game's own actions; φ is not an action.

When all agents participate in every round, nothing is dropped and AMAGAIL gives the same numbers as MAGAIL.

    python -m learners.amagail --env stochastic_coop_nav --demos expert --num-demos 200
"""

from __future__ import annotations

import dataclasses

from learners import mack, magail
from learners.lib.expert_data import demonstrations_of
from learners.lib.game import make_game
from learners.lib.run import Run, main
from learners.magail import PRESETS


@dataclasses.dataclass(frozen=True)
class Args(magail.Args):
    """Imitate in asynchronous games by multi-agent adversarial imitation (AMAGAIL)."""


def train(args: Args) -> dict:
    """Run AMAGAIL; returns the evaluation of the trained policy."""
    with Run("amagail", args) as run:
        args, rng = run.args, run.rng
        demos = demonstrations_of(run)
        vec = make_game(args, args.num_envs, run.device)
        parts = magail.prepare(run, demos, vec, "filter")
        agent, occupancy, adversary, rollout, balance, closeness = parts
        if run.fresh:
            magail.warm_start(run, agent, occupancy.data, "filter", vec.null_action)
        magail.begin(run, vec, parts)
        while not run.done:
            magail.schedule(run, agent, adversary)
            # Play T x E rounds with the current policies; `participation` is I.
            rollout.collect(agent.policy, rng)
            participation = rollout.learned_from()

            # Discriminators: pairs with I = 1 from both sources; (observation, φ) pairs are dropped.
            sample, known, expert = occupancy.of_expert(rollout.steps, rng)
            policy, counts = occupancy.of_policy(rollout, participation)
            metrics = magail.update_discriminators(adversary, occupancy, expert, policy, args, rng)

            # Rewards of participating agents; values and advantages over all rounds; then the filter.
            rewards = magail.rewards_of(adversary, occupancy, rollout, policy, counts, args)
            advantages, targets = mack.estimate_advantages(
                agent, rollout, rewards, args.gamma, args.lam, rng, magail.largest_value(args)
            )
            train_actor = run.updates >= args.disc_first
            clone = magail.cloning_loss(agent.policy, sample, known, args)
            metrics |= mack.update(
                agent, rollout, advantages, targets, participation, args, rng, train_actor, clone
            )

            metrics |= magail.reward_statistics(rewards, participation) | rollout.episodes()
            judged = closeness.pairs(occupancy, policy, rollout, participation)
            metrics |= closeness.observe(judged, run.steps + rollout.steps, rng)
            balance.observe(run.updates, metrics)
            run.advance(rollout.steps, metrics)
        magail.keep_closest(run, closeness)
        return run.finish()


if __name__ == "__main__":
    main(Args, PRESETS, train)
