"""`python -m mail_envs play ID`: control one agent with the keyboard; a policy controls the others."""

from __future__ import annotations

import string
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mail_envs.commands.arguments import GameArguments
from mail_envs.commands.errors import CommandError
from mail_envs.counts import at_least
from mail_envs.recorded import GAME

if TYPE_CHECKING:
    from mail_envs.rendering import Canvas

FRAMES_PER_SECOND = 30
# Keys of games with five actions (none, left, right, down, up). Digits select actions in every game; games with
# other actions set `key_actions`, a dict from pygame's key names to actions.
FIVE_ACTIONS = {"space": 0, "left": 1, "right": 2, "down": 3, "up": 4}
FIVE_ACTIONS |= {"a": 1, "d": 2, "s": 3, "w": 4}


def play(
    game: GameArguments,
    agent: str | None = None,
    others: str | None = None,
    seed: int = 0,
    episodes: int = 0,
    speed: float = 6.0,
    record: Path | None = None,
) -> None:
    """Play a game with discrete actions. The game waits when it is your agent's turn.

    Arrow keys move (WASD too, in games with five actions); digits, and letters from action 10 on, select an
    action by number; SPACE is the no-op (in StarCraft: stop); TAB switches to the next agent; ESC quits.

    Args:
        game: the game.
        agent: the agent to control at first; default: the first one.
        others: the policy of the others: expert, scripted, random, a run folder, a policy file, or
            `my_policy.py:make`, a function of your own; default: the first of expert, scripted and random
            that exists.
        seed: seed of the first episode; episode k has seed + k.
        episodes: number of episodes; 0: play until ESC.
        speed: maximum number of rounds per second.
        record: write the finished episodes as demonstrations into this folder.
    """
    from demos.policies import best_policy, load_policy
    from mail_envs.random import check_seed
    from mail_envs.rendering import Canvas

    check_seed(seed)
    at_least(0, episodes=episodes)
    vector = game.make(autoreset=False)
    if not vector.discrete:
        raise CommandError(f"{vector.id} has continuous actions here; play needs discrete ones")
    if agent is not None and agent not in vector.agents:
        raise CommandError(f"--agent {agent} is not one of {', '.join(vector.agents)}")
    steered = 0 if agent is None else vector.agents.index(agent)
    others = others or best_policy(vector)
    policy = load_policy(others, vector)
    recorder = None if record is None else Recorder(record, vector, f"person, others {others}")
    canvas = Canvas(title=f"{vector.id} – mail_envs")
    session = Session(vector, policy, canvas, steered, recorder, 1 / speed if speed > 0 else 0.0)
    try:
        session.run(seed, episodes)
    finally:
        canvas.close()
        if recorder is not None:
            recorder.close()


class Session:
    """A window, a game, and the agent that the user controls."""

    def __init__(
        self,
        vector: Any,
        policy: Any,
        canvas: Canvas,
        steered: int = 0,
        recorder: Recorder | None = None,
        pause: float = 0.0,
    ) -> None:
        """Make a session that waits `pause` seconds between rounds; see `run`."""
        import pygame

        self.pygame = pygame
        self.vector, self.policy, self.canvas = vector, policy, canvas
        self.recorder, self.pause = recorder, pause
        self.canvas.focus = steered
        self.keys = key_actions(vector)
        self.pressed: deque[str] = deque()  # keys that have not been used yet
        self.left = False
        self._next_round = 0.0
        self._notice = ""

    @property
    def steered(self) -> int:
        """Index of the agent that the user controls."""
        return self.canvas.focus or 0

    def run(self, seed: int, episodes: int = 0) -> int:
        """Play episodes until the user quits; returns the number finished."""
        finished = 0
        while not self.left and (episodes == 0 or finished < episodes):
            if not self.play_episode(seed + finished):
                break
            finished += 1
            if episodes == 0 or finished < episodes:
                self.wait_for_key("SPACE: next episode, ESC: end")
        return finished

    def play_episode(self, seed: int) -> bool:
        """Play one episode; False if the user quit before its end."""
        rng = np.random.default_rng(seed)
        observations, info = self.vector.reset(seed=seed)
        if self.recorder is not None:
            self.recorder.begin(seed, observations, info)
        while True:
            own = self.choose(info)
            if self.left:
                return False
            actions = np.array(self.policy(observations, info, rng))
            if own is not None:
                actions[0, self.steered] = own
            acted = info["participation"][0].copy()
            observations, rewards, terminated, truncated, info = self.vector.step(actions)
            if self.recorder is not None:
                self.recorder.add(actions[0], acted, rewards[0], observations, info)
            if terminated[0] or truncated[0]:
                break
        returns = info["episode_return"][0]
        print(
            f"episode of seed {seed}: {int(info['round'][0])} rounds, returns "
            + ", ".join(f"{a} {r:.2f}" for a, r in zip(self.vector.agents, returns, strict=True))
        )
        if self.recorder is not None:
            self.recorder.end(bool(terminated[0]), bool(truncated[0]), info)
        return True

    def choose(self, info: dict[str, Any]) -> int | None:
        """Wait for the next round and, if the controlled agent acts in it, for its action."""
        while not self.left:
            agent = self.steered
            acts = bool(info["participation"][0, agent]) and bool(info["alive"][0, agent])
            name = self.vector.agents[agent]
            self.show(self._notice or (f"your move: {name}" if acts else f"{name} does not act"))
            if self.left:
                break
            if time.monotonic() < self._next_round:
                continue
            if not acts:
                self._next_round = time.monotonic() + self.pause
                return None
            action = self.next_action()
            if action is None:
                continue
            if info["action_mask"][0, agent, action]:
                self._notice = ""
                self._next_round = time.monotonic() + self.pause
                return action
            self._notice = f"action {action} is not allowed now"
        return None

    def next_action(self) -> int | None:
        """The action of the oldest key press, or else of a key that is held down."""
        while self.pressed:
            key = self.pressed.popleft()
            if key in self.keys:
                return self.keys[key]
        held = self.pygame.key.get_pressed()
        for key, action in self.keys.items():
            if held[self.pygame.key.key_code(key)]:
                return action
        return None

    def show(self, message: str) -> None:
        """Draw one frame and handle the keys that were pressed since the last one."""
        from mail_envs.rendering import draw_game

        self.canvas.message = message
        draw_game(self.canvas, self.vector)
        self.canvas.present("human", fps=FRAMES_PER_SECOND if self.pause else 0)
        self.left = self.left or self.canvas.closed
        for event in self.canvas.events:
            if event.type == self.pygame.KEYDOWN:
                self.press(self.pygame.key.name(event.key))

    def press(self, key: str) -> None:
        """Handle one key by its pygame name."""
        if key == "escape":
            self.left = True
        elif key == "tab":
            self.canvas.focus = (self.steered + 1) % len(self.vector.agents)
            self._notice = ""
        else:
            self.pressed.append(key)

    def wait_for_key(self, message: str) -> None:
        """Show the end of an episode until SPACE or ESC."""
        while not self.left and "space" not in self.pressed:
            self.show(message)
        self.pressed.clear()


def key_actions(vector: Any) -> dict[str, int]:
    """A dict from keys to actions: digits, letters, and the game's own keys."""
    actions = (
        vector.num_actions
    )  # the largest number of any agent; masks forbid actions that others lack
    keys = {key: k for k, key in enumerate((string.digits + string.ascii_lowercase)[:actions])}
    if vector.game.key_actions is not None:
        return {**keys, **vector.game.key_actions}
    return {**keys, **(FIVE_ACTIONS if actions == 5 else {"space": 0})}


class Recorder:
    """Records the episodes that the user plays; appends each finished one to a set."""

    def __init__(self, folder: Path, vector: Any, demonstrator: str) -> None:
        """Open `folder` for writing: a new set, or one recorded in the same game before."""
        from demos import Demonstrations, DemonstrationWriter, describe

        metadata = describe(vector, demonstrator=demonstrator)
        self.vector, self.folder, self.episodes = vector, folder, 0
        try:
            if folder.is_dir() and any(folder.iterdir()):
                known = Demonstrations.open(folder).metadata
                for part in GAME:
                    if known.get(part) != metadata[part]:
                        raise CommandError(
                            f"--record {folder}: contains episodes of another game, with {part} "
                            f"{known.get(part)!r} instead of {metadata[part]!r}"
                        )
                self.writer = DemonstrationWriter.extend(folder)
            else:
                self.writer = DemonstrationWriter.create(folder, metadata)
        except (OSError, ValueError) as error:
            raise CommandError(f"--record {folder}: {error}") from error

    def begin(self, seed: int, observations: np.ndarray, info: dict[str, Any]) -> None:
        """Start an episode; an unfinished one is discarded."""
        names = (
            "actions",
            "participation",
            "rewards",
            "observations",
            "states",
            "action_masks",
            "alive",
        )
        self.rows: dict[str, list[np.ndarray]] = {name: [] for name in names}
        self.seed = seed
        self._append_observations(observations, info)

    def _append_observations(self, observations: np.ndarray, info: dict[str, Any]) -> None:
        self.rows["observations"].append(observations[0].copy())
        self.rows["states"].append(info["state"][0].copy())
        self.rows["action_masks"].append(info["action_mask"][0].astype(np.uint8))
        self.rows["alive"].append(info["alive"][0].copy())

    def add(
        self,
        actions: np.ndarray,
        participation: np.ndarray,
        rewards: np.ndarray,
        observations: np.ndarray,
        info: dict[str, Any],
    ) -> None:
        """Add a round: actions and rewards, and the observations that follow."""
        self.rows["actions"].append(np.where(participation > 0, actions, 0).astype(np.int32))
        self.rows["participation"].append(participation)
        self.rows["rewards"].append(rewards.copy())
        self._append_observations(observations, info)

    def end(self, terminated: bool, truncated: bool, info: dict[str, Any]) -> None:
        """Append the finished episode to the set. `info`: of the view, which is left at the end."""
        from demos import Episode

        arrays = {name: np.stack(rows) for name, rows in self.rows.items()}
        metrics = {name: float(values[0]) for name, values in info["metrics"].items()}
        self.writer.append(
            Episode(
                **arrays,
                final_participation=info["participation"][0].copy(),
                terminated=terminated,
                truncated=truncated,
                seed=self.seed,
                metrics=metrics,
            )
        )
        self.writer.flush()
        self.episodes += 1

    def close(self) -> None:
        """Close the set and print the number of new episodes."""
        self.writer.close()
        print(f"{self.folder}: {self.episodes} episodes added")
