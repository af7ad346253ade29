"""TorchRL's PettingZooWrapper around the parallel and the AEC view."""

from __future__ import annotations

import pytest
import torch
from three_games import ASYNCHRONOUS, GAMES, client, make, returns

client("torchrl")
from torchrl.envs import PettingZooWrapper, check_env_specs  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def wrap(env, **keywords):
    """The AEC view needs `use_mask`, which says whose turn it is."""
    aec = not hasattr(env, "step_parallel") and hasattr(env, "agent_iter")
    return PettingZooWrapper(env, use_mask=aec, **keywords)


@pytest.mark.parametrize("api", ["parallel", "aec"])
@pytest.mark.parametrize("id", [*GAMES, "stochastic_predator_prey"])
@pytest.mark.parametrize(
    "keywords",
    [{}, {"action_mask": "observation"}, {"null_action": "as_action"}],
    ids=["plain", "mask in observation", "null as action"],
)
def test_specs_describe_what_the_game_returns(id, api, keywords):
    env = wrap(make(id, api, **keywords), return_state=True)
    check_env_specs(env)
    assert env.rollout(3)["state"].shape[-1] == env.state_space.shape[0]


@pytest.mark.parametrize("api", ["parallel", "aec"])
def test_continuous_actions_work_too(api):
    env = wrap(make(ASYNCHRONOUS, api, continuous_actions=True))
    check_env_specs(env)
    assert env.rollout(3)[next(iter(env.group_map)), "action"].shape[-1] == 5


@pytest.mark.parametrize("api", ["parallel", "aec"])
@pytest.mark.parametrize("id", GAMES)
def test_rewards_add_up_to_the_returns(id, api):
    game = make(id, api)
    env = wrap(game)
    env.set_seed(5)
    for _ in range(2):
        played = env.rollout(500)["next"]
        assert played["done"][-1] and not played["done"][:-1].any()
        paid = torch.cat([played[g, "reward"].sum(0) for g in env.group_map]).flatten()
        assert torch.allclose(paid, torch.tensor(returns(game)), atol=1e-3)


def test_the_parallel_view_says_in_info_who_acts():
    env = wrap(make(ASYNCHRONOUS, "parallel"))
    agents = env.rollout(30)["agent"]
    acts = agents["info", "participates"].squeeze(-1)
    assert acts.shape == (30, 3) and 0.2 < acts.mean() < 0.8
    assert torch.equal(acts, agents["info", "participation"][:, 0])
    assert agents["action_mask"].all()


def test_an_absent_agent_may_only_choose_the_null_action():
    env = wrap(make(ASYNCHRONOUS, "parallel", null_action="as_action"))
    agents = env.rollout(30)["agent"]
    acts = agents["info", "participates"].bool()
    null = torch.tensor([False] * 5 + [True])
    assert torch.equal(agents["action_mask"], torch.where(acts.unsqueeze(-1), ~null, null))
    assert torch.equal(agents["action"] == 5, ~acts)
    assert not agents["info", "illegal_actions"].any()


def test_the_aec_view_masks_all_but_the_agent_whose_turn_it_is():
    env = wrap(make(ASYNCHRONOUS, "aec"))
    played = env.rollout(40)
    turns = torch.cat([played[g, "mask"] for g in env.group_map], dim=-1)
    assert turns.shape == (40, 3) and (turns.sum(-1) == 1).all()
    rounds = played["agent_0", "info", "round"].flatten()
    acts = played["agent_0", "info", "participation"].squeeze(-2)
    for t in rounds.unique()[:-1]:
        assert torch.equal(turns[rounds == t].sum(0).float(), acts[rounds == t][0].float())
