"""Settings come from groups: the headings of --help, defaults, and errors."""

from __future__ import annotations

import dataclasses
import importlib

import pytest

from learners.lib.fields import Fraction, field_types
from learners.lib.groups import Networks, Returns, Rollouts
from learners.lib.settings import Settings, grouped, learner_names, learner_of, parse

HEADINGS = {
    "env": "game", "steps": "run", "eval_episodes": "evaluation", "demos": "demonstrations",
    "num_envs": "rollout", "gamma": "returns", "reward": "returns", "hidden": "network",
    "recurrent": "network", "lr": "optimizer",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Args(Settings, Rollouts, Returns, Networks):
    """A learner of one's own."""

    gamma: Fraction = 0.5
    epochs: int = 3
    """Passes over each batch."""


def headings(kind: type) -> dict[str, list[str]]:
    """The settings under each heading."""
    groups = {f.name: f.default for f in dataclasses.fields(grouped(kind, kind()))}
    return {title: list(field_types(type(group))) for title, group in groups.items()}


@pytest.mark.parametrize("name", learner_names())
def test_every_setting_stands_once_under_its_heading(name):
    kind = importlib.import_module(f"learners.{name}").Args
    found = headings(kind)
    assert sorted(name for names in found.values() for name in names) == sorted(field_types(kind))
    for setting, title in HEADINGS.items():
        own = setting in found.get(learner_of(kind), ())  # magail has its own kind of reward
        assert own or setting not in field_types(kind) or setting in found[title]
    assert {"game", "run", "evaluation"} < found.keys()


def test_help_shows_the_headings(capsys):
    with pytest.raises(SystemExit):
        parse(Args, {}, ["--help"])
    shown = capsys.readouterr().out
    for title in ("game", "run", "evaluation", "rollout", "returns", "network"):
        assert f"{title} options" in shown
    assert "--num-envs" in shown


@pytest.mark.parametrize("name", learner_names())
def test_every_setting_has_a_description(name):
    kind = importlib.import_module(f"learners.{name}").Args
    for group in dataclasses.fields(grouped(kind, kind())):
        for setting, type_ in field_types(type(group.default)).items():
            texts = [m.help for m in type_.__metadata__ if getattr(m, "help", None)]
            assert texts and texts[-1].endswith((".", ")")), setting


def test_a_learners_own_default_keeps_the_groups_description():
    (returns,) = [
        f.default for f in dataclasses.fields(grouped(Args, Args())) if f.name == "returns"
    ]
    assert returns.gamma == 0.5 and returns.lam == 0.95
    type_ = field_types(type(returns))["gamma"]
    assert "Discount factor." in [getattr(m, "help", None) for m in type_.__metadata__]


def test_flags_have_no_prefix_and_keep_the_other_defaults():
    words = [
        "--env",
        "coop_nav",
        "--num_envs",
        "3",
        "--gamma",
        "0.9",
        "--epochs",
        "7",
        "--hidden",
        "8",
        "4",
    ]
    found = parse(Args, {"quick": {"num_envs": 5, "rounds": 9}}, [*words, "--preset", "quick"])
    assert found == Args(
        env="coop_nav", num_envs=3, rounds=9, gamma=0.9, epochs=7, hidden=(8, 4), preset="quick"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num-envs", "0"], "num_envs=0 must be at least 1"),
        (["--gamma", "1.5"], r"gamma=1.5 must be at most 1.0"),
        (["--hidden"], r"hidden=\(\) must have at least one layer"),
        (["--seed", "-1"], "seed=-1 must be at least 0"),
    ],
)
def test_a_value_out_of_range_is_one_clear_error(words, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        parse(Args, {}, words)


def test_the_papers_optimizer_is_the_same_with_and_without_imitation():
    mack, magail = (importlib.import_module(f"learners.{x}").PRESETS for x in ("mack", "magail"))
    for name in ("num_envs", "rounds", "kl_clip", "critic_kl_clip", "eigen_every"):
        assert mack["paper"][name] == magail["paper"][name]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("disc_lr", 0.0, "must be above 0"),
        ("disc_lr", -0.1, "must be above 0"),
        ("disc_kl_clip", 0.0, "must be above 0"),
        ("input_limit", 0.0, "must be above 0"),
        *((n, -0.1, "must be at least 0.0") for n in ("input_noise", "cloning", "gradient_penalty")),
        *((n, -0.1, "must be at least 0.0") for n in ("weight_decay", "logit_entropy")),
        ("label_smoothing", 0.6, "must be at most 0.5"),
    ],
)  # fmt: skip
def test_settings_that_would_turn_a_loss_around_are_errors(name, value, said):
    for learner in ("magail", "amagail"):
        with pytest.raises(ValueError, match=f"^{name}={value} {said}$"):
            importlib.import_module(f"learners.{learner}").Args(**{name: value})


def test_a_learning_rate_must_be_above_zero():
    with pytest.raises(ValueError, match=r"^lr=0.0 must be above 0$"):
        importlib.import_module("learners.ippo").Args(lr=0.0)
