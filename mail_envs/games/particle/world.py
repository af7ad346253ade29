"""Physics shared by all particle games: controls, contacts, integration, observations.

It follows OpenAI's multiagent-particle-envs and its successors: time step 0.1, velocities damped to three quarters
per step, unit mass, soft contact forces. An agent without force (`accel` 0) in a world without contacts does not
move. The functions take one environment's record (fields `pos`, `vel`, `control`, `force`, each (N, 2)) and run on
CPU and CUDA.

Two integration orders are in use, and they give different games:
`velocity_first` (OpenAI's original, its MAGAIL fork, VMAS): v <- 0.75 v + 0.1 F, then x <- x + 0.1 v;
`position_first` (PettingZoo since 1.23, MPE2, JaxMARL): x <- x + 0.1 v, then v <- 0.75 v + 0.1 F.
"""

import math

import gymnasium
import numpy as np

from mail_envs.counts import check_kind
from mail_envs.kernels import device_function
from mail_envs.random import uniform, uniform_symmetric

DT = np.float32(0.1)
KEEP = np.float32(0.75)  # factor of the velocity per step ("damping" 0.25)
CONTACT_FORCE = np.float32(100.0)
CONTACT_MARGIN = np.float32(1e-3)
CONTACT_REACH = np.float32(0.05)  # beyond this gap the force is below float32's resolution
ZERO = np.float32(0.0)
ONE = np.float32(1.0)
NO_LIMIT = np.float32(1e9)

INTEGRATION = ("velocity_first", "position_first")
NULL_DYNAMICS = ("coast", "brake", "hold")
BRAKE, HOLD = 1, 2  # indices in NULL_DYNAMICS

DISCRETE_ACTIONS = ("none", "left", "right", "down", "up")
MOVES = len(DISCRETE_ACTIONS)


def body_fields(num_agents, num_landmarks):
    """State fields of a particle game: one flat record per environment."""
    return [
        ("pos", "f4", (num_agents, 2)),  # world units
        ("vel", "f4", (num_agents, 2)),  # world units per second
        (
            "control",
            "f4",
            (num_agents, 2),
        ),  # the agent's own force, stored for null_dynamics="hold"
        ("force", "f4", (num_agents, 2)),  # all forces of this step
        ("landmark", "f4", (num_landmarks, 2)),
    ]


def body_params(num_agents):
    """Parameter fields that `move` reads."""
    return [
        ("radius", "f4", num_agents),
        ("accel", "f4", num_agents),  # force of a full action
        ("max_speed", "f4", num_agents),
        ("landmarks_collide", "i4"),
        ("landmark_radius", "f4"),
        ("position_first", "i4"),
        ("null_dynamics", "i4"),
    ]


def make_params(num_agents, integration, null_dynamics, **fields):
    """One record of parameters; agents without a `max_speed` have no limit.

    `fields` that `move` does not use belong to the game: floats as float32, all others as int32.
    """
    known = body_params(num_agents)
    names = {name for name, *_ in known}
    own = [(k, "f4" if isinstance(v, float) else "i4") for k, v in fields.items() if k not in names]
    # The game's fields come first: numba casts a record to another one if it begins with the same fields.
    params = np.zeros(1, np.dtype([*own, *known], align=True))
    params["max_speed"] = NO_LIMIT
    params["position_first"] = choice("integration", integration, INTEGRATION)
    params["null_dynamics"] = choice("null_dynamics", null_dynamics, NULL_DYNAMICS)
    for name, value in fields.items():
        params[name] = value
    return params


def unbounded(size):
    """A float32 box of `size` numbers without limits."""
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def observation_spaces(agents, dims):
    """Unbounded float32 boxes of `dims` numbers."""
    return {a: unbounded(dims) for a in agents}


def state_space(num_agents, num_landmarks):
    """Positions and velocities of agents, positions of landmarks; see `write_world`."""
    return unbounded(4 * num_agents + 2 * num_landmarks)


def action_spaces(agents, continuous):
    """Discrete(5) or Box[0, 1]^5 per agent: (none, left, right, down, up), as in MPE2."""
    check_kind("continuous_actions", continuous, "bool")
    if continuous:
        return {a: gymnasium.spaces.Box(0.0, 1.0, (MOVES,), np.float32) for a in agents}
    return {a: gymnasium.spaces.Discrete(MOVES) for a in agents}


def choice(name, value, options):
    """The index of `value` in `options`; ValueError if it is not one of them."""
    if value not in options:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, options))}")
    return options.index(value)


@device_function
def pick(rng, count):
    """A random integer in [0, count)."""
    return np.int32(uniform(rng) * np.float32(count))


@device_function
def scatter(state, rng, landmark_range):
    """Place agents uniformly in [-1, 1]^2, at rest, and landmarks uniformly in [-range, range]^2."""
    for i in range(state.pos.shape[0]):
        for k in range(2):
            state.pos[i, k] = uniform_symmetric(rng)
            state.vel[i, k] = ZERO
            state.control[i, k] = ZERO
    for m in range(state.landmark.shape[0]):
        for k in range(2):
            state.landmark[m, k] = uniform_symmetric(rng) * landmark_range


@device_function
def direction(action, axis):
    """The direction of a discrete action along an axis: -1, 0 or 1."""
    return np.float32(action == 2 + 2 * axis) - np.float32(action == 1 + 2 * axis)


@device_function
def push_axis(actions, i, axis):
    """The control of agent i along an axis in [-1, 1], from a discrete or a continuous action."""
    if actions.ndim == 1:
        return direction(actions[i], axis)
    return actions[i, 2 + 2 * axis] - actions[i, 1 + 2 * axis]


@device_function
def push(state, i, x, y, acts, params):
    """Set agent i's own force from its control (x, y). If it does not act, it coasts, brakes or holds the last."""
    on = np.float32(acts[i] != 0)  # arithmetic instead of an unpredictable branch
    x *= params.accel[i]
    y *= params.accel[i]
    x = x if acts[i] != 0 else ZERO  # selected, not multiplied: 0 * NaN is NaN
    y = y if acts[i] != 0 else ZERO
    if params.null_dynamics == HOLD:
        x += state.control[i, 0] * (ONE - on)
        y += state.control[i, 1] * (ONE - on)
    elif params.null_dynamics == BRAKE:
        state.vel[i, 0] *= on
        state.vel[i, 1] *= on
    state.control[i, 0] = state.force[i, 0] = x
    state.control[i, 1] = state.force[i, 1] = y


@device_function
def control(state, actions, acts, params):
    """Set the forces of all agents from their actions."""
    for i in range(state.pos.shape[0]):
        push(state, i, push_axis(actions, i, 0), push_axis(actions, i, 1), acts, params)


@device_function
def contact(dx, dy, reach):
    """Force per unit of (dx, dy) between two bodies whose radii add up to `reach`; 0 if they are apart."""
    square = dx * dx + dy * dy
    limit = reach + CONTACT_REACH
    if square >= limit * limit or square == ZERO:
        return ZERO
    distance = math.sqrt(square)
    x = (reach - distance) / CONTACT_MARGIN
    overlap = CONTACT_MARGIN * (max(x, ZERO) + math.log1p(math.exp(-abs(x))))
    return CONTACT_FORCE * overlap / distance


@device_function
def collide(state, params):
    """Add the contact forces between agents and, if they are solid, of landmarks."""
    n = state.pos.shape[0]
    for i in range(n):
        for j in range(i + 1, n):
            dx = state.pos[i, 0] - state.pos[j, 0]
            dy = state.pos[i, 1] - state.pos[j, 1]
            f = contact(dx, dy, params.radius[i] + params.radius[j])
            if f != ZERO:
                state.force[i, 0] += f * dx
                state.force[i, 1] += f * dy
                state.force[j, 0] -= f * dx
                state.force[j, 1] -= f * dy
        if params.landmarks_collide != 0:
            for m in range(state.landmark.shape[0]):
                dx = state.pos[i, 0] - state.landmark[m, 0]
                dy = state.pos[i, 1] - state.landmark[m, 1]
                f = contact(dx, dy, params.radius[i] + params.landmark_radius)
                state.force[i, 0] += f * dx
                state.force[i, 1] += f * dy


@device_function
def move(state, actions, acts, params):
    """One physics step of 0.1 s."""
    control(state, actions, acts, params)
    collide(state, params)
    integrate(state, params)


@device_function
def glide(state, actions, acts, params):
    """One physics step without contacts."""
    control(state, actions, acts, params)
    integrate(state, params)


@device_function
def integrate(state, params):
    """Update velocities and positions from the forces."""
    for i in range(state.pos.shape[0]):
        vx, vy = state.vel[i, 0], state.vel[i, 1]
        new_vx = vx * KEEP + state.force[i, 0] * DT
        new_vy = vy * KEEP + state.force[i, 1] * DT
        square = new_vx * new_vx + new_vy * new_vy
        if square > params.max_speed[i] * params.max_speed[i]:
            scale = params.max_speed[i] / math.sqrt(square)
            new_vx *= scale
            new_vy *= scale
        if params.position_first == 0:
            vx, vy = new_vx, new_vy
        state.pos[i, 0] += vx * DT
        state.pos[i, 1] += vy * DT
        state.vel[i, 0] = new_vx
        state.vel[i, 1] = new_vy


@device_function
def distance(a, i, b, j):
    """Distance between row i of `a` and row j of `b`."""
    dx = a[i, 0] - b[j, 0]
    dy = a[i, 1] - b[j, 1]
    return math.sqrt(dx * dx + dy * dy)


@device_function
def square_distance(a, i, b, j):
    dx = a[i, 0] - b[j, 0]
    dy = a[i, 1] - b[j, 1]
    return dx * dx + dy * dy


@device_function
def write_pair(out, k, x, y):
    """Write two numbers from position k; returns the next position."""
    out[k] = x
    out[k + 1] = y
    return k + 2


@device_function
def write_landmarks(out, k, state, i):
    """Write the landmarks relative to agent i; returns the next position."""
    for m in range(state.landmark.shape[0]):
        dx, dy = state.landmark[m, 0] - state.pos[i, 0], state.landmark[m, 1] - state.pos[i, 1]
        k = write_pair(out, k, dx, dy)
    return k


@device_function
def write_others(out, k, state, i):
    """Write the other agents' positions relative to agent i, in order; returns the next position."""
    for j in range(state.pos.shape[0]):
        if j != i:
            dx, dy = state.pos[j, 0] - state.pos[i, 0], state.pos[j, 1] - state.pos[i, 1]
            k = write_pair(out, k, dx, dy)
    return k


@device_function
def append(out, k, row, count):
    """Copy the first `count` numbers of `row` to position k; returns the next position."""
    for j in range(count):
        out[k + j] = row[j]
    return k + count


@device_function
def write_world(out, state):
    """Write the global state: x, y, vx, vy of every agent, then x, y of every landmark."""
    k = 0
    for i in range(state.pos.shape[0]):
        k = write_pair(out, k, state.pos[i, 0], state.pos[i, 1])
        k = write_pair(out, k, state.vel[i, 0], state.vel[i, 1])
    for m in range(state.landmark.shape[0]):
        k = write_pair(out, k, state.landmark[m, 0], state.landmark[m, 1])


AGENT_COLORS = ("blue", "teal", "purple", "green", "orange")


def draw(canvas, state, params, prey=False):
    """Draw one environment. With `prey`, agent 0 is green, the others are red, and landmarks are obstacles."""
    canvas.begin((-1.1, 1.1, -1.1, 1.1), keep_visible=state["pos"])
    for xy in state["landmark"]:
        if prey:
            canvas.circle(xy, float(params["landmark_radius"]), "gray", alpha=0.8)
        else:
            canvas.circle(xy, 0.05, "dark")
            canvas.ring(xy, 0.1, "gray", width_pixels=2)
    for i, xy in enumerate(state["pos"]):
        color = AGENT_COLORS[i % len(AGENT_COLORS)]
        if prey:
            color = "green" if i == 0 else "red"
        canvas.agent(i, xy, float(params["radius"][i]), color, label=str(i))
