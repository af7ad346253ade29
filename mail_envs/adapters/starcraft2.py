"""SMAC and SMACv2 in StarCraft II itself: `make("smac_3m", backend="starcraft2")`.

```python
env = mail_envs.make("smac_mmm", backend="starcraft2", player_function=mail_envs.Stochastic(0.5))
vec = mail_envs.make_vec("smacv2_terran_5_vs_5", 8, backend="starcraft2", variant="epo", worker_timeout=300)
```

The battles of the packages `smac` and `smacv2` (github.com/oxwhirl), with the agents, spaces, masks, states, metrics and
options of the native `smac_*` and `smacv2_*` games with `faithful=True`: for equal units both compute equal numbers.
`docs/starcraft2.md` says how to install the packages and the game.

**φ**: no order is sent, so the unit continues its last one; with `null_orders="stop"` it is ordered to stop. In the
state and in `obs_last_action`, an agent that did not participate has no last action.

**Time limit**: it truncates, while the original terminates; it is part of the task (`limit_is_end`). **Seeds**: StarCraft
accepts a seed only when it is started. It is started with the first episode's seed, and later episodes continue its
random stream, so an episode cannot be replayed from its seed or a saved state (`replayable` is False). Only SMACv2's
teams, start positions and sight orders are determined by each episode's seed.

**If the game crashes** during an episode, `step` raises `GameLost`, and the next reset starts a new game. Worker
processes (`num_workers=1` or more) do this automatically: the episode ends with `info["worker_restarted"]`.
"""

from __future__ import annotations

import inspect
import logging
import random
from typing import Any

import numpy as np

from mail_envs.adapters.starcraft2_original import GameLost, import_colors, open_original, reseed
from mail_envs.games.starcraft.game import StarCraft
from mail_envs.games.starcraft.layout import NO_OP, STOP
from mail_envs.simulator import SimulatorGame

log = logging.getLogger(__name__)


class StarCraft2(SimulatorGame):
    """One battle of SMAC or SMACv2, played by StarCraft II.

    Args:
        battle, variant, null_orders: as for the native `StarCraft`.
        start_noise: only 0 is supported: the maps define start positions.
        scale_seed: only 0 is supported: the first battle of a copy determines the scale of SMACv2's rewards.
        settings: arguments of the original that the native game lacks: `starcraft2_original.SETTINGS`.
        **options: of `games.starcraft.options.Options`; `faithful=False` is not supported.

    Raises:
        ImportError: the packages are missing, or protobuf is too new. RuntimeError, from `reset`: the game or its
            maps are missing. GameLost, from `step`: the game has crashed.
    """

    limit_is_end = StarCraft.limit_is_end
    has_action_mask = True
    replayable = False
    key_actions = StarCraft.key_actions

    def __init__(
        self,
        battle: str = "smac_3m",
        variant: str = "standard",
        null_orders: str = "keep",
        start_noise: float = 0.0,
        scale_seed: int = 0,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ):
        _check_supported(start_noise, scale_seed, options.pop("faithful", None))
        ours = StarCraft(battle, variant, null_orders, faithful=True, **options)
        self.scenario, self.options = ours.scenario, ours.options
        self.agents, self.max_rounds = ours.agents, ours.max_rounds
        self.observation_spaces, self.action_spaces = ours.observation_spaces, ours.action_spaces
        self.state_space, self.metric_names = ours.state_space, ours.metric_names
        self.metadata = {**ours.metadata, "backend": "starcraft2"}
        self.settings = dict(settings or {})
        self.env = open_original(self.scenario, self.options, self.settings)
        self.core: Any = self.env.env if self.scenario.version == 2 else self.env
        self.core.get_agent_action = self._order_of(self.core.get_agent_action)
        self.core.episode_limit = self.max_rounds
        self.absent_order = STOP if null_orders == "stop" else NO_OP
        self.num_actions = self.core.n_actions
        self.silent = np.zeros(len(self.agents), np.bool_)
        self.running = False
        self.bare_reward = self.core.max_reward  # without the enemies' health
        self.max_reward: float | None = None
        self.team_return = 0.0
        self.chance = Chance(0)

    def _order_of(self, original):
        """The original's orders, but none for agents that keep their last one.

        The original skips agents without an order, but has no action for this: its no-op is for dead agents.
        """

        def order(agent: int, action: int):
            return None if self.silent[agent] else original(agent, action)

        return order

    def reset(self, seed):
        try:
            self._begin(seed)
        except GameLost:
            log.warning("StarCraft II has died since the last round; it is started again")
            self._begin(seed)

    def _begin(self, seed: int) -> None:
        """Begin a battle, in a new game if none is running."""
        core = self.core
        if not self.running:
            core._episode_count = 0  # the original then launches a game
            core._seed = self.settings.get("seed", seed % 2**31)
        self.chance = Chance(seed)
        if self.scenario.version == 2:
            reseed(self.env.env_key_to_distribution_map, seed)
        try:
            with self.chance:
                self.env.reset()  # SMACv2's may return None: `observe` asks for everything itself
        except BaseException:
            self.close()
            raise
        self.running = True
        # Until the first battle has ended, the original would launch another game in every reset.
        core._episode_count = max(core._episode_count, 1)
        self._keep_scale()
        self.team_return = 0.0

    def _keep_scale(self) -> None:
        """Scale rewards by the enemies of the first battle, as the original does.

        The original may add their health several times in its first reset: in every loop in which it waits for the
        last unit, and after every failed attempt of SMACv2.
        """
        if self.max_reward is None:
            units = self.core.enemies.values()
            self.max_reward = self.bare_reward + sum(u.health_max + u.shield_max for u in units)
        self.core.max_reward = self.max_reward

    def step(self, actions, acts, rewards, metrics):
        orders, forget = self._orders(actions, acts)
        try:
            reward, over, info = self.env.step(orders)
        except GameLost:
            self.close()
            raise
        self.core.last_action[forget] = 0
        self.team_return += reward
        rewards[:] = reward
        metrics[:] = *(float(info[name]) for name in self.metric_names[:3]), self.team_return
        # The original terminates at its time limit. Here the view truncates, possibly at another limit.
        return bool(over) and not info.get("episode_limit", False), False

    def _orders(self, actions: np.ndarray, acts: np.ndarray) -> tuple[list[int], np.ndarray]:
        """An action for every agent, and the agents without a last action: bool (N,)."""
        alive = self._alive()
        forget = alive & (acts == 0)
        self.silent = forget & (self.absent_order == NO_OP)
        orders = np.where(alive, np.where(acts != 0, actions, self.absent_order), NO_OP)
        return orders.tolist(), forget

    def _alive(self) -> np.ndarray:
        return np.array([self.core.agents[i].health > 0 for i in range(len(self.agents))])

    def observe(self, observations, action_mask, alive, state):
        with self.chance:  # SMACv2 draws sightings when it observes: only once per round
            seen = self.env.get_obs()
        observations[:] = seen
        action_mask[:, : self.num_actions] = self.env.get_avail_actions()
        alive[:] = self._alive()
        together = self.options.obs_instead_of_state
        state[:] = np.concatenate(seen) if together else self.env.get_state()

    def picture(self):
        if not self.running:
            raise RuntimeError("there is no battle to be drawn: reset first")
        try:
            import_colors()
            image = self.env.render(mode="rgb_array")
        except Exception as error:
            raise RuntimeError(
                f"the renderer of the original failed ({type(error).__name__}: {error}); it needs pygame"
            ) from error
        return np.ascontiguousarray(image, np.uint8)

    def close(self):
        """End the game's process. The next reset starts a new one."""
        self.running = False
        self.core.renderer = None  # its `close` would quit pygame for the whole process
        self.core.close()


class Chance:
    """Context manager: seeds the global generators of Python and NumPy while the original draws from them.

    SMACv2 shuffles teams and sight orders with one, and draws sightings with the other. Afterwards their previous
    states are restored, so other code is not affected.
    """

    def __init__(self, seed: int):
        numbers = np.random.RandomState(seed % 2**32).get_state()
        self.state = (random.Random(seed).getstate(), numbers)

    def __enter__(self):
        self._swap()

    def __exit__(self, *error):
        self._swap()

    def _swap(self) -> None:
        theirs = (random.getstate(), np.random.get_state())
        random.setstate(self.state[0])
        np.random.set_state(self.state[1])
        self.state = theirs


def _check_supported(start_noise: float, scale_seed: int, faithful: bool | None) -> None:
    if start_noise != 0:
        raise ValueError(
            f"start_noise={start_noise!r}: with backend='starcraft2' the maps say where units start; "
            "only our own game moves them"
        )
    if scale_seed != 0:
        raise ValueError(
            f"scale_seed={scale_seed!r}: with backend='starcraft2' the first battle of a copy decides about "
            "the scale of rewards; only our own game takes another"
        )
    if faithful is not None and not faithful:
        raise ValueError(
            "faithful=False: backend='starcraft2' is the original, oddities included; leave it out"
        )


def _signature() -> inspect.Signature:
    """The arguments of the native class, and `settings`."""
    ours = inspect.signature(StarCraft).parameters
    own = inspect.signature(StarCraft2.__init__).parameters
    places = [p for p in own.values() if p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    options = [
        p.replace(default=True) if p.name == "faithful" else p
        for p in ours.values()
        if p.kind is p.KEYWORD_ONLY
    ]
    return inspect.Signature([*places, *options])


StarCraft2.__signature__ = _signature()  # pyright: ignore[reportAttributeAccessIssue]
