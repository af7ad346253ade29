"""Exchange with Minari, read by Minari's and TorchRL's own readers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_sets import assert_same, write

import mail_envs
from demos.dataset import Demonstrations
from demos.layout import DemonstrationError
from demos.record import record

minari = pytest.importorskip("minari")
import demos.minari  # noqa: E402
from demos.minari import from_minari, to_minari  # noqa: E402


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


@pytest.mark.parametrize("id", ["stochastic_coop_nav", "stochastic_predator_prey"])
@pytest.mark.parametrize(
    "options", [{}, {"null_action": "as_action"}, {"continuous_actions": True}]
)
def test_round_trip(datasets, id, options):
    d = record(id, "scripted", 5, 0, datasets / "set", **options)
    dataset = to_minari(d)
    assert dataset.spec.dataset_id == f"mail/{id}/scripted-v0"
    back = from_minari(f"mail/{id}/scripted-v0", datasets / "back")
    for a, b in zip(d, back, strict=True):
        assert_same(a, b)
    for key in ("id", "arguments", "player_function", "demonstrator", "expert_return", "versions"):
        assert back.metadata[key] == d.metadata[key]


@pytest.mark.parametrize(
    "options", [{}, {"null_action": "as_action"}, {"continuous": True}, {"masked": True}], ids=str
)
def test_round_trip_of_agents_with_unlike_actions(datasets, options):
    id = mail_envs.spec(str(Path(__file__).parents[1] / "unequal_game.py")).id
    d = record(id, "random", 5, 0, datasets / "set", random_return=0.0, **options)
    spaces = to_minari(d, "mail/guide_and_walker/random-v0").action_space
    sizes = [s.shape[0] if "continuous" in options else s.n for s in spaces.spaces.values()]
    assert sizes == ([1, 3] if "continuous" in options else [3, 6])
    back = from_minari("mail/guide_and_walker/random-v0", datasets / "back")
    assert back.metadata["action_dims"] == d.metadata["action_dims"]
    for a, b in zip(d, back, strict=True):
        assert_same(a, b)


def test_minari_reads_the_export(datasets):
    d = record("stochastic_coop_nav", "scripted", 20, 0, datasets / "set")
    to_minari(d)
    dataset = minari.load_dataset("mail/stochastic_coop_nav/scripted-v0")
    assert dataset.total_steps == d.lengths.sum() and len(dataset) == 20
    episode = dataset[3]
    acting = episode.observations["agents"]["agent_1"]["acting"][:-1, 0]
    assert np.array_equal(acting, d[3].participation[:, 1])
    assert np.all((episode.actions["agent_1"] == 5) == (acting == 0))
    assert episode.rewards.sum() == pytest.approx(d[3].returns.mean(), rel=1e-5)
    assert dataset.observation_space.contains(
        {"agents": {a: {k: v[0] for k, v in leaves.items()} for a, leaves in episode.observations["agents"].items()},
         "state": episode.observations["state"][0]}
    )  # fmt: skip
    score = minari.get_normalized_score(dataset, np.array([d.metadata["random_return"]]))
    assert score == pytest.approx([0.0])
    assert len(dataset.filter_episodes(lambda e: len(e) > 5)) > 0


def test_torchrl_reads_the_export(datasets):
    pytest.importorskip("torchrl")
    from torchrl.data.datasets.minari_data import MinariExperienceReplay

    d = record("stochastic_coop_nav", "scripted", 20, 0, datasets / "set")
    to_minari(d, "mail/stochastic_coop_nav/torchrl_test-v0")
    replay = MinariExperienceReplay(
        "mail/stochastic_coop_nav/torchrl_test-v0", batch_size=16, load_from_local_minari=True,
        split_trajs=False, root=datasets / "torchrl",
    )  # fmt: skip
    assert len(replay) == d.lengths.sum()
    sample = replay.sample()
    leaf = ("observation", "agents", "agent_2", "action_mask")
    assert sample[leaf].shape == (16, 6) and sample[("next", "reward")].shape == (16, 1)


def test_a_failed_import_leaves_nothing(datasets, monkeypatch):
    write(datasets / "set", 3)
    to_minari(Demonstrations.open(datasets / "set"), "mail/some_game/two-v0")
    made = demos.minari._episode

    def failing(data, attributes, *more):
        if attributes["seed"] == 2:
            raise KeyboardInterrupt
        return made(data, attributes, *more)

    monkeypatch.setattr(demos.minari, "_episode", failing)
    with pytest.raises(KeyboardInterrupt):
        from_minari("mail/some_game/two-v0", datasets / "home" / "back")
    assert not list((datasets / "home").iterdir())


def test_errors(datasets):
    write(datasets / "set", 2)
    d = Demonstrations.open(datasets / "set")
    to_minari(d, "mail/some_game/one-v0")
    with pytest.raises(DemonstrationError, match="exists already"):
        to_minari(d, "mail/some_game/one-v0")
    minari.load_dataset("mail/some_game/one-v0").storage.update_metadata({"mail_envs": None})
    with pytest.raises(DemonstrationError, match="was not written by to_minari"):
        from_minari("mail/some_game/one-v0", datasets / "back")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: "text", lambda m: {k: v for k, v in m.items() if k != "layout"},
        lambda m: {**m, "layout": {**m["layout"], "num_agents": "x"}},
        lambda m: {**m, "layout": {**m["layout"], "metrics": ["absent"]}},
        lambda m: {**m, "agents": ["a", "b", "c"]}, lambda m: {**m, "schema_version": 9},
    ],
)  # fmt: skip
def test_metadata_of_others_are_checked(datasets, change):
    write(datasets / "set", 2)
    storage = to_minari(Demonstrations.open(datasets / "set"), "mail/some_game/one-v0").storage
    storage.update_metadata({"mail_envs": change(storage.metadata["mail_envs"])})
    with pytest.raises(DemonstrationError, match="the Minari dataset 'mail/some_game/one-v0': "):
        from_minari("mail/some_game/one-v0", datasets / "back")


@pytest.mark.parametrize(
    ("sizes", "changed", "named"),
    [
        ({"d": 1}, {"observation_size": 4}, r"observation of agent_0 has the shape \(\d+, 1\), exp"),
        ({}, {"observation_size": 2**28}, r"observation of agent_0 has the shape \(\d+, 4\), exp"),
        ({"a": 1}, {"num_actions": 3}, r"action_mask of agent_0 has the shape \(\d+, 2\), expected"),
        ({"a": 1, "discrete": False}, {"num_actions": 3}, r"action of agent_0 has the shape \(\d+, 1\)"),
    ],
)  # fmt: skip
def test_leaves_of_other_sizes_than_the_metadata_say_are_refused(datasets, sizes, changed, named):
    write(datasets / "set", 1, **sizes)
    storage = to_minari(Demonstrations.open(datasets / "set"), "mail/some_game/one-v0").storage
    meta = storage.metadata["mail_envs"]
    meta["layout"] |= changed
    meta["observation_dims"] = [meta["layout"]["observation_size"]] * 3
    meta["action_dims"] = [meta["layout"]["num_actions"]] * 3
    storage.update_metadata({"mail_envs": meta})
    with pytest.raises(DemonstrationError, match=named):
        from_minari("mail/some_game/one-v0", datasets / "back")


def test_sets_that_do_not_say_who_recorded_them_are_exported(datasets):
    write(datasets / "set", 2)
    d = Demonstrations.open(datasets / "set")
    d.metadata = {k: v for k, v in d.metadata.items() if k not in ("demonstrator", "versions")}
    assert to_minari(d).spec.dataset_id == "mail/some_game/unknown-v0"
    back = from_minari("mail/some_game/unknown-v0", datasets / "back")
    assert np.array_equal(back[1].observations, d[1].observations)
