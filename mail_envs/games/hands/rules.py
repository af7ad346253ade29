"""What hands do, observe and are rewarded for: compiled functions for one world, row `e` of all arrays.

The arrays are MuJoCo's, of E worlds: qpos (E, Q), qvel (E, V), xpos (E, B, 3), xquat (E, B, 4), cvel, cfrc (E, B, 6),
com (E, B, 3), force (E, V); and our own: last (E, 2, 26) the actions that are observed, goals (E, 2, 7), success (E,),
broken (E,). The same functions run on MuJoCo's arrays, float64, and on those of MuJoCo Warp, float32, on the CPU or on
CUDA. They compute in float32. Formulas: `compute_hand_reward` and `compute_full_state` of the tasks of Bi-DexHands.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mail_envs.games.hands.tasks import CATCH, DOOR, PUSH, STACK, Task
from mail_envs.kernels import device_function
from mail_envs.rounds import RUNNING, TERMINATED, TRUNCATED

F = np.float32
ZERO, HALF, ONE, TWO = F(0), F(0.5), F(1), F(2)
JOINTS, MOTORS, BASE = 24, 20, 6
# By joint: WRJ1 WRJ0, FFJ3..0, MFJ3..0, RFJ3..0, LFJ4..0, THJ4..0.
FINGER_LOW, FINGER_HIGH = (-0.349, 0, 0, 0), (0.349, 1.571, 1.571, 1.571)
LOW = np.array(
    [-0.489, -0.698, *FINGER_LOW * 3, 0, *FINGER_LOW, -1.047, 0, -0.209, -0.524, -1.571], F
)
HIGH = np.array(
    [0.14, 0.489, *FINGER_HIGH * 3, 0.785, *FINGER_HIGH, 1.047, 1.222, 0.209, 0.524, 0], F
)
MOTORIZED = np.array([0, 1, 2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 17, 19, 20, 21, 22, 23])
TIPS = np.array([7, 11, 15, 20, 25])  # distal bodies of a hand, counted from its mount
FOREARM, PALM = 1, 3

CLIP, SPEED, FORCE, SPIN = F(5), F(0.2), F(10), F(0.2)  # scales of what is observed
TIP, PALM_ALONG, PALM_DOWN = F(0.02), F(0.08), F(-0.02)  # points on a finger and on the palm
HANDLE_ALONG, HANDLE_DOWN, HANDLE_OFF = F(0.39), F(-0.5), F(0.04)
SHARP, NEAR, WIDE = F(0.2), F(0.5), F(0.5)
CAUGHT, BOTH_CAUGHT = F(0.03), F(0.06)
TOO_MUCH = F(1e6)  # a simulation with larger numbers has failed
FULL_TURN = F(2 * math.pi)
TURNED, TURN_BONUS, TURN_SCALE, ROT_EPS, ACTION_COST = F(0.1), F(500), F(-10), F(0.1), F(-0.0002)
SPEED_OF_FORCE, SPEED_OF_TORQUE = F(1e5 / 60), F(1e3 / 60)  # N, N m per unit of push, turn


def parameters(task: Task, model: Any, wrench_scale: float) -> np.ndarray:
    """The numbers of a task that the functions read: one record."""
    first = [model.body(f"robot{k}:hand mount").id for k in range(2)]
    names = ("leaf_0", "leaf_1") if task.kind == DOOR else ("object_0", "object_1")
    known = [name for name in names if name in {model.body(b).name for b in range(model.nbody)}]
    bodies = [model.body(name).id for name in known]
    base = (7, 6) if task.free else (0, 0)
    fields: list[tuple[Any, ...]] = [
        ("kind", "i4", task.kind), ("free", "i4", task.free), ("width", "i4", task.actions),
        ("objects", "i4", len(bodies)), ("tail", "i4", task.tail), ("door", "i4", task.door),
        ("mounts", "i4", first), ("bodies", "i4", (bodies * 2)[:2]), ("roots", "i4", model.body_rootid),
        ("places", "i4", [base[0], base[0] * 2 + JOINTS]), ("speeds", "i4", [base[1], base[1] * 2 + JOINTS]),
        ("push", "f4", task.push * SPEED_OF_FORCE * wrench_scale),
        ("turn", "f4", task.turn * SPEED_OF_TORQUE * wrench_scale),
        ("scale", "f4", task.scale), ("lowest", "f4", task.lowest), ("leash", "f4", task.leash),
        ("constant", "f4", task.constant), ("reach", "f4", task.reach),
        ("handle_off", "f4", -HANDLE_OFF if task.outward else HANDLE_OFF),
        ("starts", "f4", task.hands),
        ("frame", "f4", frame_of(task, model)),
    ]  # fmt: skip
    dtype = np.dtype([(n, t, np.shape(v)) for n, t, v in fields], align=True)
    record = np.zeros(1, dtype)
    for name, _, value in fields:
        record[name] = value
    return record


def frame_of(task: Task, model: Any) -> np.ndarray:
    """The pose of a door's frame, position and quaternion (x, y, z, w)."""
    if task.kind != DOOR:
        return np.zeros(7)
    w, x, y, z = model.body("door").quat
    return np.array([*model.body("door").pos, x, y, z, w])


# -- actions ----------------------------------------------------------------------------------------


@device_function
def command(e, params, actions, acts, participation, last, control, wrench):
    """Set the motors' targets (E, 40) and the wrenches on the forearms (E, 2, 6). A hand that does not act: φ."""
    p = params[0]
    first = BASE if p.free != 0 else 0
    for i in range(2):
        if acts[e, i] != 0:
            for k in range(p.width):
                last[e, i, k] = min(max(actions[e, i, k], -ONE), ONE)
            for k in range(MOTORS):
                low, high = LOW[MOTORIZED[k]], HIGH[MOTORIZED[k]]
                control[e, MOTORS * i + k] = low + (last[e, i, first + k] + ONE) * HALF * (
                    high - low
                )
        else:  # no force; the joints hold their targets
            for k in range(first):
                last[e, i, k] = ZERO
        for k in range(BASE):
            size = p.push if k < 3 else p.turn
            wrench[e, i, k] = size * last[e, i, k] if p.free != 0 else ZERO


# -- geometry ---------------------------------------------------------------------------------------


@device_function
def rotated(w, i, j, k, x, y, z):
    """The vector (x, y, z) rotated by the quaternion (w, i, j, k); (w, -i, -j, -k) rotates it back."""
    tx = TWO * (j * z - k * y)
    ty = TWO * (k * x - i * z)
    tz = TWO * (i * y - j * x)
    return (
        x + w * tx + (j * tz - k * ty),
        y + w * ty + (k * tx - i * tz),
        z + w * tz + (i * ty - j * tx),
    )


@device_function
def turned(xquat, e, b, x, y, z):
    """The vector (x, y, z) of body b's frame in world axes."""
    w, i, j, k = F(xquat[e, b, 0]), F(xquat[e, b, 1]), F(xquat[e, b, 2]), F(xquat[e, b, 3])
    return rotated(w, i, j, k, x, y, z)


@device_function
def point(xpos, xquat, e, b, x, y, z):
    """The point (x, y, z) of body b's frame in the world."""
    dx, dy, dz = turned(xquat, e, b, x, y, z)
    return F(xpos[e, b, 0]) + dx, F(xpos[e, b, 1]) + dy, F(xpos[e, b, 2]) + dz


@device_function
def distance(a, b):
    dx, dy, dz = a[0] - b[0], a[1] - b[1], a[2] - b[2]
    return math.sqrt(dx * dx + dy * dy + dz * dz)


@device_function
def quotient(xquat, goals, e, k, b):
    """The rotation of body b, times the inverse of goal k's, as (x, y, z, w)."""
    aw, ax, ay, az = F(xquat[e, b, 0]), F(xquat[e, b, 1]), F(xquat[e, b, 2]), F(xquat[e, b, 3])
    bx, by, bz, bw = -goals[e, k, 3], -goals[e, k, 4], -goals[e, k, 5], goals[e, k, 6]
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


@device_function
def angle_to_goal(xquat, goals, e, k, b):
    x, y, z, _ = quotient(xquat, goals, e, k, b)
    return TWO * math.asin(min(ONE, math.sqrt(x * x + y * y + z * z)))


@device_function
def goal_place(goals, e, k):
    return goals[e, k, 0], goals[e, k, 1], goals[e, k, 2]


@device_function
def place(xpos, e, b):
    return F(xpos[e, b, 0]), F(xpos[e, b, 1]), F(xpos[e, b, 2])


@device_function
def handle(e, p, k, xpos, xquat):
    """The point of leaf k's handle that hand k reaches for.

    The leaf's axes in those of the original's link, whose coordinates are used: -y, z and -x.
    """
    side = ONE if k == 0 else -ONE
    return point(xpos, xquat, e, p.bodies[k], -p.handle_off, -side * HANDLE_ALONG, HANDLE_DOWN)


@device_function
def aim(e, p, k, xpos, xquat):
    """What the fingers of hand k reach for: a handle, or a block."""
    if p.door != 0:
        return handle(e, p, k, xpos, xquat)
    return place(xpos, e, p.bodies[k])


@device_function
def reach_of(e, p, k, xpos, xquat):
    """The sum of the distances of hand k's five fingers from what it reaches for."""
    target = aim(e, p, k, xpos, xquat)
    total = ZERO
    for t in range(5):
        tip = point(xpos, xquat, e, p.mounts[k] + TIPS[t], ZERO, ZERO, TIP)
        total += distance(tip, target)
    return total


# -- rewards ----------------------------------------------------------------------------------------


@device_function
def judge(
    e, params, which, qpos, qvel, xpos, xquat, last, goals, success, broken, renew, participation,
    rewards, outcome, metrics,
):  # fmt: skip
    """Reward, end and metrics of the round. A simulation that failed truncates the episode.

    `renew` is set where a goal is reached and another one is to be drawn.
    """
    if not which[e]:
        return
    p = params[0]
    renew[e] = False
    broken[e] = is_broken(e, qpos, qvel)
    metrics[e, 1] = ZERO
    if broken[e]:
        outcome[e] = TRUNCATED
        metrics[e, 0], metrics[e, 1] = success[e], ONE
        for i in range(2):
            rewards[e, i] = ZERO
        return
    if p.kind == CATCH:
        reward, over, done = judge_catch(e, p, xpos, xquat, goals)
    elif p.kind == DOOR:
        reward, over, done = judge_door(e, p, xpos, xquat)
    elif p.kind == PUSH:
        reward, over, done = judge_push(e, p, xpos, xquat, goals)
    elif p.kind == STACK:
        reward, over, done = judge_stack(e, p, xpos, xquat, goals)
    else:
        reward, over, done = judge_turn(e, p, xpos, xquat, last, goals)
        renew[e] = done > ZERO
        done += success[e]  # goals reached so far
    success[e] = max(success[e], done)
    outcome[e] = TERMINATED if over else RUNNING
    metrics[e, 0] = success[e]
    for i in range(2):
        rewards[e, i] = reward


@device_function
def is_broken(e, qpos, qvel):
    """Whether a number is NaN or too large."""
    for k in range(qpos.shape[1]):
        if not abs(F(qpos[e, k])) < TOO_MUCH:
            return True
    for k in range(qvel.shape[1]):
        if not abs(F(qvel[e, k])) < TOO_MUCH:
            return True
    return False


@device_function
def judge_catch(e, p, xpos, xquat, goals):
    reward, over, far = ZERO, False, ZERO
    for k in range(p.objects):
        b = p.bodies[k]
        gap = distance(place(xpos, e, b), goal_place(goals, e, k))
        reward += math.exp(-SHARP * (p.scale * gap + angle_to_goal(xquat, goals, e, k, b)))
        over = over or xpos[e, b, 2] <= p.lowest
        far += gap
    for i in range(2):
        start = (p.starts[i, 0], p.starts[i, 1], p.starts[i, 2])
        over = over or distance(place(xpos, e, p.mounts[i]), start) >= p.leash
    limit = CAUGHT if p.objects == 1 else BOTH_CAUGHT
    return reward, over, ONE if far < limit else ZERO


@device_function
def judge_door(e, p, xpos, xquat):
    right, left = reach_of(e, p, 0, xpos, xquat), reach_of(e, p, 1, xpos, xquat)
    gap = abs(handle(e, p, 0, xpos, xquat)[1] - handle(e, p, 1, xpos, xquat)[1])
    moved = ZERO
    if right < NEAR and left < NEAR:
        moved = TWO * gap if p.door > 0 else ONE - TWO * gap
    done = gap > WIDE if p.door > 0 else gap < WIDE
    over = right >= p.reach or left >= p.reach
    return p.constant - right - left + moved, over, ONE if done else ZERO


@device_function
def judge_push(e, p, xpos, xquat, goals):
    right, left = reach_of(e, p, 0, xpos, xquat), reach_of(e, p, 1, xpos, xquat)
    right_gap = distance(place(xpos, e, p.bodies[0]), goal_place(goals, e, 0))
    left_gap = distance(place(xpos, e, p.bodies[1]), goal_place(goals, e, 1))
    done = ZERO
    if left_gap <= F(0.1):
        done = ONE if right_gap <= F(0.1) else HALF
    reward = F(1.2) - right + F(1.2) - left + F(5) - F(5) * (left_gap + right_gap)
    return reward, right >= p.reach or left >= p.reach, done


@device_function
def judge_stack(e, p, xpos, xquat, goals):
    right, left = reach_of(e, p, 0, xpos, xquat), reach_of(e, p, 1, xpos, xquat)
    low_gap = distance(place(xpos, e, p.bodies[0]), goal_place(goals, e, 0))
    high_gap = distance(place(xpos, e, p.bodies[1]), goal_place(goals, e, 1))
    near, stacked = ZERO, ZERO
    if right < NEAR and left < NEAR:
        near = TWO * (F(0.24) - high_gap - low_gap)
    if low_gap < F(0.07) and high_gap < F(0.07):
        height = abs(goals[e, 1, 2] - F(xpos[e, p.bodies[1], 2]))
        stacked = F(50) * (F(0.05) - height)
    reward = F(1.5) - right - left + near + stacked
    return reward, right >= p.reach or left >= p.reach, ONE if stacked > ONE else ZERO


@device_function
def judge_turn(e, p, xpos, xquat, last, goals):
    """As in the original, a goal counts as reached when the second block is turned; both then get a new one."""
    gaps, turns, over, second = ZERO, ZERO, False, ZERO
    for k in range(2):
        b = p.bodies[k]
        gaps += distance(place(xpos, e, b), goal_place(goals, e, k))
        second = angle_to_goal(xquat, goals, e, k, b)
        turns += ONE / (second + ROT_EPS)
        over = over or xpos[e, b, 2] <= p.lowest
    effort = ZERO
    for i in range(2):
        for k in range(MOTORS):
            effort += last[e, i, k] * last[e, i, k]
    done = ONE if second < TURNED else ZERO
    return TURN_SCALE * gaps + turns + ACTION_COST * effort + TURN_BONUS * done, over, done


# -- observations -----------------------------------------------------------------------------------


@device_function
def look(
    e, params, which, qpos, qvel, xpos, xquat, cvel, com, cfrc, force, last, goals, broken,
    participation, observations, state,
):  # fmt: skip
    """Write both hands' observations and the state; nothing where the simulation failed."""
    if not which[e] or broken[e]:
        return
    p = params[0]
    width = observations.shape[2] - p.tail
    for i in range(2):
        n = write_hand(
            e, p, i, qpos, qvel, xpos, xquat, cvel, com, cfrc, force, last, state[e], i * width
        )
        for k in range(width):
            observations[e, i, k] = state[e, n - width + k]
    write_tail(e, p, xpos, xquat, cvel, com, goals, state[e], 2 * width)
    for k in range(p.tail):
        for i in range(2):
            observations[e, i, width + k] = state[e, 2 * width + k]


@device_function
def clipped(x):
    return min(max(F(x), -CLIP), CLIP)


@device_function
def put3(out, n, v):
    for k in range(3):
        out[n + k] = clipped(v[k])
    return n + 3


@device_function
def write_hand(e, p, i, qpos, qvel, xpos, xquat, cvel, com, cfrc, force, last, out, n):
    """Joints, fingertips, base and last action of hand i, from out[n] on; returns the end."""
    at, speed = p.places[i], p.speeds[i]
    for k in range(JOINTS):
        span = HIGH[k] - LOW[k]
        out[n + k] = clipped((TWO * F(qpos[e, at + k]) - HIGH[k] - LOW[k]) / span)
        out[n + JOINTS + k] = clipped(SPEED * F(qvel[e, speed + k]))
        out[n + 2 * JOINTS + k] = clipped(FORCE * F(force[e, speed + k]))
    n += 3 * JOINTS
    for t in range(5):
        n = write_pose(e, p.mounts[i] + TIPS[t], xpos, xquat, out, n)
        n = write_speed(e, p, p.mounts[i] + TIPS[t], xpos, cvel, com, ONE, out, n)
    for t in range(5):
        n = write_wrench(e, p, p.mounts[i] + TIPS[t], xpos, xquat, com, cfrc, out, n)
    if p.free != 0:
        if p.kind == CATCH:
            n = put3(out, n, place(xpos, e, p.mounts[i]))
        else:
            palm = p.mounts[i] + PALM
            n = put3(out, n, point(xpos, xquat, e, palm, ZERO, PALM_DOWN, PALM_ALONG))
        n = put3(out, n, euler_of_base(xquat, e, p.mounts[i]))
    for k in range(p.width):
        out[n + k] = last[e, i, k]
    return n + p.width


@device_function
def write_pose(e, b, xpos, xquat, out, n):
    """Position and quaternion (x, y, z, w) of body b."""
    n = put3(out, n, place(xpos, e, b))
    for k in range(4):
        out[n + k] = F(xquat[e, b, (k + 1) % 4])
    return n + 4


@device_function
def write_speed(e, p, b, xpos, cvel, com, spin, out, n):
    """Linear and, times `spin`, angular velocity of body b's origin in world axes."""
    root = p.roots[b]
    x, y, z = F(cvel[e, b, 0]), F(cvel[e, b, 1]), F(cvel[e, b, 2])
    dx = F(xpos[e, b, 0] - com[e, root, 0])
    dy = F(xpos[e, b, 1] - com[e, root, 1])
    dz = F(xpos[e, b, 2] - com[e, root, 2])
    n = put3(
        out, n,
        (
            F(cvel[e, b, 3]) + y * dz - z * dy,
            F(cvel[e, b, 4]) + z * dx - x * dz,
            F(cvel[e, b, 5]) + x * dy - y * dx,
        ),
    )  # fmt: skip
    return put3(out, n, (spin * x, spin * y, spin * z))


@device_function
def write_wrench(e, p, b, xpos, xquat, com, cfrc, out, n):
    """The contact force on body b and its torque about the origin, in the body's axes."""
    root = p.roots[b]
    fx, fy, fz = F(cfrc[e, b, 3]), F(cfrc[e, b, 4]), F(cfrc[e, b, 5])
    dx = F(com[e, root, 0] - xpos[e, b, 0])
    dy = F(com[e, root, 1] - xpos[e, b, 1])
    dz = F(com[e, root, 2] - xpos[e, b, 2])
    tx = F(cfrc[e, b, 0]) + dy * fz - dz * fy
    ty = F(cfrc[e, b, 1]) + dz * fx - dx * fz
    tz = F(cfrc[e, b, 2]) + dx * fy - dy * fx
    w, i, j, k = F(xquat[e, b, 0]), F(xquat[e, b, 1]), F(xquat[e, b, 2]), F(xquat[e, b, 3])
    n = put3(out, n, rotated(w, -i, -j, -k, FORCE * fx, FORCE * fy, FORCE * fz))
    return put3(out, n, rotated(w, -i, -j, -k, FORCE * tx, FORCE * ty, FORCE * tz))


@device_function
def euler_of_base(xquat, e, b):
    """Euler angles (x, y, z) in [0, 2 pi) of the mount, relative to a hand that points to -y, palm up."""
    # The mount's axes in such a hand are the half turn (0, 0, 1, -1) / sqrt 2; its inverse is its negative.
    w, x, y, z = F(xquat[e, b, 0]), F(xquat[e, b, 1]), F(xquat[e, b, 2]), F(xquat[e, b, 3])
    h = F(math.sqrt(0.5))
    qw, qx, qy, qz = h * (y - z), h * (y + z), h * (-w - x), h * (w - x)
    roll = math.atan2(TWO * (qw * qx + qy * qz), qw * qw - qx * qx - qy * qy + qz * qz)
    pitch = math.asin(min(max(TWO * (qw * qy - qz * qx), -ONE), ONE))
    yaw = math.atan2(TWO * (qw * qz + qx * qy), qw * qw + qx * qx - qy * qy - qz * qz)
    return positive(roll), positive(pitch), positive(yaw)


@device_function
def positive(angle):
    return angle + FULL_TURN if angle < ZERO else angle


@device_function
def write_tail(e, p, xpos, xquat, cvel, com, goals, out, n):
    """What is observed of the objects, from out[n] on."""
    end = n + p.tail
    if p.kind == DOOR:
        for k in range(7):
            out[n + k] = p.frame[k]
        for k in range(7, 13):
            out[n + k] = ZERO
        n = put3(out, n + 13, handle(e, p, 1, xpos, xquat))
        n = put3(out, n, handle(e, p, 0, xpos, xquat))
    elif p.kind == PUSH:
        n = write_object(e, p, 0, xpos, xquat, cvel, com, out, n)
        for k in range(2):
            n = put3(out, n, place(xpos, e, p.bodies[k]))
        for k in range(2):
            n = put3(out, n, goal_place(goals, e, 1 - k))
    elif p.kind == STACK:
        for k in range(2):
            n = write_object(e, p, k, xpos, xquat, cvel, com, out, n)
    else:
        for k in range(p.objects):
            n = write_object(e, p, k, xpos, xquat, cvel, com, out, n)
            for m in range(7):
                out[n + m] = goals[e, k, m]
            x, y, z, w = quotient(xquat, goals, e, k, p.bodies[k])
            n = put3(out, n + 7, (x, y, z))
            out[n] = w
            n += 1
    while n < end:
        out[n] = ZERO
        n += 1


@device_function
def write_object(e, p, k, xpos, xquat, cvel, com, out, n):
    n = write_pose(e, p.bodies[k], xpos, xquat, out, n)
    return write_speed(e, p, p.bodies[k], xpos, cvel, com, SPIN, out, n)
