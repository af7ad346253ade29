"""The engine that gfootball builds from source: `gfootball_engine`, without the rest of the package.

It needs neither gym nor OpenCV, and with the player selection as an argument none of gfootball's Python code.
"""

from __future__ import annotations

from typing import Any

from mail_envs.adapters.football.engines import STICKY, TICKS, Engine

VECTORS = ("ball_position", "ball_direction", "ball_rotation")
NUMBERS = (
    "left_goals", "right_goals", "is_in_play", "ball_owned_team", "ball_owned_player", "step"
)  # fmt: skip


class GfootballEngine(Engine):
    """An engine of the package."""

    name = "gfootball"
    package: Any = None

    @classmethod
    def load(cls):
        try:
            import gfootball_engine
        except ImportError as error:
            raise ImportError(f"gfootball is not installed ({error})") from error
        cls.package = gfootball_engine

    def __init__(self) -> None:
        self.load()
        package = self.package
        self.game = package.GameEnv()
        self.game.game_config.physics_steps_per_frame = TICKS
        self.game.start_game()
        self.game.state = package.GameState.game_running
        self.roles, self.actions = package.e_PlayerRole.values, package.e_BackendAction.values

    def reset(self, setup):
        scenario, config = setup.scenario, self.package.ScenarioConfig.make()
        for rows, team in zip((config.left_team, config.right_team), setup.players()):
            for x, y, role, lazy, controllable in team:
                rows.append(self.package.FormationEntry(x, y, self.roles[role], lazy, controllable))
        config.ball_position[0], config.ball_position[1] = scenario.ball
        config.left_agents, config.right_agents = len(setup.left), len(setup.right)
        config.offsides, config.deterministic = scenario.offside, False
        config.left_team_difficulty, config.right_team_difficulty = scenario.skill
        config.game_engine_random_seed, config.reverse_team_processing = setup.seed, setup.reverse
        (
            config.end_episode_on_score,
            config.end_episode_on_out_of_play,
            config.end_episode_on_possession_change,
        ) = setup.ends()
        config.game_duration = scenario.rounds
        self.game.reset(config, False)
        while not self.game.get_info().is_in_play:
            self.game.step()

    def act(self, left, slot, action):
        self.game.perform_action(self.actions[action], left, slot)

    def step(self):
        self.game.step()

    def info(self):
        seen = self.game.get_info()
        vectors = {name: tuple(getattr(seen, name)[k] for k in range(3)) for name in VECTORS}
        return {
            **vectors,
            **{name: getattr(seen, name) for name in NUMBERS},
            "game_mode": int(seen.game_mode),
            "left_team": [player(p) for p in seen.left_team],
            "right_team": [player(p) for p in seen.right_team],
            "left_controllers": [c.controlled_player for c in seen.left_controllers],
            "right_controllers": [c.controlled_player for c in seen.right_controllers],
        }

    def sticky(self, left, slot):
        state = self.game.sticky_action_state
        return [bool(state(self.actions[action], left, slot)) for action in STICKY]


def player(of: Any) -> dict[str, Any]:
    """What the engine says of a player."""
    return {
        "position": (of.position[0], of.position[1]),
        "direction": (of.direction[0], of.direction[1]),
        "role": int(of.role),
        "tired_factor": of.tired_factor,
        "has_card": of.has_card,
        "is_active": of.is_active,
    }
