"""Groups of settings that learners share. A learner's `Args` names the groups it uses and lists only its own settings:

    @dataclasses.dataclass(frozen=True)
    class Args(Settings, Rollouts, Returns, Networks):
        steps: Steps = 5_000_000  # another default; the description stays that of the group
        clip: float = 0.2
        \"\"\"Clip range of the likelihood ratio around 1.\"\"\"

A group holds data only: no methods, no checks other than the types of its fields. `heading` is its title in `--help`.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, ClassVar, Literal

from learners.lib.fields import Between, Count, Duration, Fraction, Positive, Sizes, Steps, Whole
from learners.lib.networks import Norm, Share
from learners.lib.optimizers import Kind
from learners.lib.rewards import RewardKind
from mail_envs.settings_text import SETTINGS

ContinuousName = Literal["gaussian", "sigmoid_gaussian", "tanh_gaussian"]


@dataclasses.dataclass(frozen=True)
class Game:
    heading: ClassVar[str] = "game"

    env: str = "stochastic_coop_nav"
    """Id of the game, or the Python file of your own game."""
    set: Annotated[tuple[str, ...], SETTINGS] = ()
    """Arguments of the game, e.g. `--set num_agents=5 penalty=hard`."""
    player_function: str | None = None
    """Who acts when, instead of the id's own player function, e.g. `Stochastic(0.3)`, `TurnOrder([[0, 1], [2]])`."""
    max_rounds: Count | None = None
    """Time limit of an episode, in rounds; None: the game's own."""
    fixed_horizon: bool = False
    """Let games that end early idle until the time limit, so that all episodes have the same length."""


@dataclasses.dataclass(frozen=True)
class Running:
    heading: ClassVar[str] = "run"

    steps: Steps = 2_000_000
    """Environment steps of training (gradient steps for bc)."""
    budget: Duration | None = None
    """Longest time of training, such as 90s, 10m or 1.5h: the run then stops before --steps, and is saved and evaluated.
    What is annealed over the run follows the larger of the shares of steps and time."""
    seed: Annotated[int, Between(0, 2**62)] = 0
    """Seed of networks, actions and games."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device: cpu, cuda, or auto (cuda if available)."""
    threads: Annotated[int, Between(1, 1024)] = 1
    """CPU threads; one is fastest for these small networks."""
    run_dir: str | None = None
    """Run folder; None: runs/<learner>_<env>_<seed>."""
    resume: str | None = None
    """Run folder to continue with its own settings. --steps may be raised; --budget, --device, --threads,
    --checkpoint-every, --policy-every, --log-every, --eval-episodes, --eval-greedy, --film and --progress may be changed."""
    checkpoint_every: Count = 500
    """Updates between checkpoints."""
    policy_every: Count | None = None
    """Updates between copies of the policy that are kept, policies/step_<k>.safetensors (RUN@K); None: no copies."""
    log_every: Count = 10
    """Updates between lines of metrics."""
    progress: bool = True
    """Show a progress bar."""
    preset: Literal["default", "paper", "quick"] = "default"
    """Named set of defaults; other options override it."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    heading: ClassVar[str] = "evaluation"

    eval_episodes: Whole = 1000
    """Episodes of the final evaluation; 0 for none."""
    eval_greedy: bool = False
    """Also evaluate the most likely actions, into evaluation_greedy.json."""
    film: Literal["gif", "none"] = "gif"
    """gif: after the evaluation, draw an episode into rollout.gif, at most 200 frames and about 20 seconds of work."""


@dataclasses.dataclass(frozen=True)
class Rollouts:
    heading: ClassVar[str] = "rollout"

    num_envs: Count = 64
    """Copies of the game, E."""
    rounds: Count = 50
    """Rounds per update, T; a batch has T x E rounds. Episodes of fixed length begin together in all copies:
    if T is much shorter, an update sees only one part of the episode."""


@dataclasses.dataclass(frozen=True)
class Returns:
    heading: ClassVar[str] = "returns"

    gamma: Fraction = 0.99
    """Discount factor."""
    lam: Fraction = 0.95
    """Lambda of advantages and returns: 0 looks one round ahead, 1 to the end of the episode."""


@dataclasses.dataclass(frozen=True)
class Rewards:
    heading: ClassVar[str] = "returns"

    reward: RewardKind = "auto"
    """own: the agent's own reward, 0 once it is dead. team: the increase of the game's team_return, given to
    all agents until the episode ends; in games without one, the mean reward of the agents that act.
    auto: team where the game reports a team_return, otherwise own."""


@dataclasses.dataclass(frozen=True)
class Widths:
    heading: ClassVar[str] = "network"

    hidden: Sizes = (64, 64)
    """Widths of the hidden layers of all networks."""


@dataclasses.dataclass(frozen=True)
class Networks(Widths):
    heading: ClassVar[str] = "network"

    share: Share = "role"
    """Which agents share a network: those of the same role, none, or all."""
    agent_id: bool = False
    """Append the agent's one-hot index to its observation."""


@dataclasses.dataclass(frozen=True)
class ActorForm:
    heading: ClassVar[str] = "network"

    layer_norm: Norm = "none"
    """Layer normalization in all networks. before: of the hidden layers, before their activation. after: of the
    inputs, and of the hidden layers after their activation, as in MAPPO and HAPPO."""
    continuous: ContinuousName = "gaussian"
    """Distribution of continuous actions. gaussian: free standard deviations, at first 1; sigmoid_gaussian: at most
    0.5, as in HAPPO; tanh_gaussian: squashed into the bounds of the actions."""


@dataclasses.dataclass(frozen=True)
class Memory:
    heading: ClassVar[str] = "network"

    recurrent: bool = False
    """Give actors and critics a memory (GRU)."""
    chunk: Count = 10
    """With --recurrent, rounds of backpropagation through time; must divide --rounds."""


@dataclasses.dataclass(frozen=True)
class Passes:
    heading: ClassVar[str] = "update"

    epochs: Count = 5
    """Passes over each batch."""
    minibatches: Count = 4
    """Minibatches per pass; each is one gradient step."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""


@dataclasses.dataclass(frozen=True)
class ProximalUpdates(Passes):
    heading: ClassVar[str] = "update"

    clip: Positive = 0.2
    """Clip range of the likelihood ratio around 1."""
    value_clip: Positive | None = None
    """Clip range of the critics' predictions around the old ones, in standard deviations of the returns."""
    huber: Positive | None = None
    """Errors of the critics beyond this, in standard deviations of the returns, count linearly, not quadratically."""


@dataclasses.dataclass(frozen=True)
class TeamUpdates(Passes):
    heading: ClassVar[str] = "update"

    clip: Positive = 0.1
    """Clip range of the likelihood ratio around 1, and of changes of standardized values around 0."""
    huber: Positive = 10.0
    """Errors of standardized values beyond this count linearly."""
    value_weight: Positive = 1.0
    """Weight of the value loss."""
    ratio: Literal["component", "action"] = "component"
    """Which likelihood ratios are clipped: those of every component of a continuous action, as in MAT, or of the
    whole action. The same for discrete actions."""


@dataclasses.dataclass(frozen=True)
class TransformerForm:
    heading: ClassVar[str] = "network"

    encoder: Literal["attention", "none"] = "attention"
    """none: no encoder; agents see their own observation and the actions before them."""
    decoder: Literal["autoregressive", "none"] = "autoregressive"
    """none: no decoder; all actions are chosen at once from the encoder's representations."""
    width: Count = 64
    """Width of all layers."""
    blocks: Count = 1
    """Transformer blocks of encoder and decoder, each."""
    heads: Count = 1
    """Heads of every attention; must divide --width."""


@dataclasses.dataclass(frozen=True)
class AdamSteps:
    heading: ClassVar[str] = "optimizer"

    lr: Positive = 1e-3
    """Learning rate of Adam."""
    anneal: bool = False
    """Decrease the learning rate linearly to zero over the run."""
    max_grad_norm: Positive = 10.0
    """Largest gradient norm; larger gradients are scaled down."""


@dataclasses.dataclass(frozen=True)
class TeamSteps(AdamSteps):
    heading: ClassVar[str] = "optimizer"

    lr: Positive = 5e-4
    max_grad_norm: Positive = 0.5


@dataclasses.dataclass(frozen=True)
class Replays:
    heading: ClassVar[str] = "replay"

    capacity: Count = 100_000
    """Rounds kept for replay."""
    batch: Count = 32
    """Episodes per gradient step."""
    updates: Count = 2
    """Gradient steps after every T rounds of E copies."""


@dataclasses.dataclass(frozen=True)
class DemonstratedReplay(Replays):
    heading: ClassVar[str] = "replay"

    batch: Count = 128
    """Rounds per gradient step, from demonstrations and from replay each."""
    episodes: Count = 16
    """With --recurrent, episodes per gradient step from each."""
    chunk: Count = 10
    """Rounds per sequence where agents can be absent."""
    updates: Count = 16


@dataclasses.dataclass(frozen=True)
class Optimizer:
    heading: ClassVar[str] = "optimizer"

    optimizer: Kind = "kfac"
    """Optimizer of the policies, and of their critics."""
    lr: Positive = 0.1
    """Learning rate; use about 3e-4 with adam. With kfac the KL clip usually takes effect first."""
    kl_clip: Positive = 2e-3
    """Bound on the KL divergence of the policy's natural-gradient steps (twice the KL, as in ACKTR)."""


@dataclasses.dataclass(frozen=True)
class ActorCriticSteps(Optimizer):
    heading: ClassVar[str] = "optimizer"

    critic_kl_clip: Positive = 0.1
    """KL clip of the critic, whose Fisher matrix is that of a Gaussian of variance 1."""
    anneal: bool = False
    """Decrease the actors' step size linearly to zero over the run."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    fisher_rows: Count = 1024
    """Largest number of rows used for the Fisher factors."""
    eigen_every: Count = 10
    """Updates between eigendecompositions of the Fisher factors."""
