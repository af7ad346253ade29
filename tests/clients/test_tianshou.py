"""Tianshou's PettingZooEnv around the AEC view: a turn is a step."""

from __future__ import annotations

import numpy as np
import pytest
from three_games import ASYNCHRONOUS, GAMES, KERNEL, client, make

client("tianshou")
from tianshou.algorithm import DQN, MultiAgentOffPolicyAlgorithm  # noqa: E402
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy  # noqa: E402
from tianshou.algorithm.optim import AdamOptimizerFactory  # noqa: E402
from tianshou.data import Collector, VectorReplayBuffer  # noqa: E402
from tianshou.env import DummyVectorEnv, PettingZooEnv  # noqa: E402
from tianshou.trainer import OffPolicyTrainerParams  # noqa: E402
from tianshou.utils.net.common import Net  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
COPIES = 2


def deep_q(env) -> DQN:
    shape, actions = env.observation_space, env.action_space
    shape = shape["observation"] if hasattr(shape, "spaces") else shape
    net = Net(state_shape=shape.shape, action_shape=actions.n, hidden_sizes=[32])
    policy = DiscreteQLearningPolicy(
        model=net, action_space=actions, observation_space=shape, eps_training=0.5, eps_inference=1
    )
    return DQN(
        policy=policy, optim=AdamOptimizerFactory(lr=1e-3), n_step_return_horizon=len(env.agents)
    )


def collector(id: str, **keywords) -> Collector:
    def env():
        return PettingZooEnv(make(id, "aec", **keywords))

    one = env()
    learner = MultiAgentOffPolicyAlgorithm(algorithms=[deep_q(one) for _ in one.agents], env=one)
    playing = Collector(learner, DummyVectorEnv([env] * COPIES), VectorReplayBuffer(4000, COPIES))
    playing.learner = learner
    return playing


@pytest.mark.parametrize("id", GAMES)
@pytest.mark.parametrize("action_mask", ["info", "observation"])
def test_deep_q_learning_takes_gradient_steps(id, action_mask):
    training = collector(id, action_mask=action_mask)
    result = training.learner.run_training(
        OffPolicyTrainerParams(
            training_collector=training,
            max_epochs=1,
            epoch_num_steps=300,
            collection_step_num_env_steps=100,
            update_step_num_gradient_steps_per_sample=0.1,
            multi_agent_return_reduction=lambda returns: returns.mean(axis=1),
            verbose=False,
            show_progress=False,
        )
    )
    assert result.train_step == 300 and result.update_step == 3


@pytest.mark.parametrize("id", GAMES)
def test_returns_are_the_games_own(id):
    playing = collector(id)
    stats = playing.collect(n_episode=COPIES, reset_before_collect=True)
    games = [worker.env.env.vector for worker in playing.env.workers]
    ours = sorted(game.clock["last_returns"][0].tolist() for game in games)
    assert np.allclose(sorted(stats.returns.tolist()), ours, atol=1e-3)


def test_a_step_is_the_turn_of_an_agent_that_participates():
    playing = collector(ASYNCHRONOUS)
    playing.collect(n_step=200, reset_before_collect=True)
    batch, _ = playing.buffer.sample(0)
    agents = np.array([int(name[-1]) for name in batch.obs.agent_id])
    ended = batch.terminated | batch.truncated
    follows = ~ended[:-1] & (batch.info.env_id[1:] == batch.info.env_id[:-1])
    acts = batch.info.participation[:-1]  # info is that of the next turn
    assert follows.sum() > 100 and acts[follows, agents[1:][follows]].all()


def test_only_the_last_agent_of_a_round_has_an_immediate_reward():
    """With one-step targets the other agents would see no rewards; with N-step targets they do."""
    playing = collector(KERNEL)
    playing.collect(n_step=120, reset_before_collect=True)
    batch, _ = playing.buffer.sample(0)
    for name, paid in zip(["agent_0", "agent_1", "agent_2"], [False, False, True], strict=True):
        assert (batch.rew[batch.obs.agent_id == name] != 0).all(axis=1).all() == paid
    last = batch.obs.agent_id == "agent_2"
    assert (batch.rew[last] != 0).all() and not batch.rew[~last].any()
