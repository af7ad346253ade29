"""Compiled loops over many environments, made from a game's functions for one environment.

A game defines three plain `@njit` functions for *one* environment (see `markov_game.KernelGame`). This
module generates the loop around them (a "launch"): serial, multi-threaded, or with one CUDA thread per
environment. The loop is a small generated Python module that imports the game's functions by name, because
numba's disk cache works only in that form; closures over compiled functions are recompiled in every process.
The module's file name contains a key of everything that its machine code depends on (`code_keys`), so that no
stale code is ever run.

Functions that cannot be imported (from a notebook or `__main__`) work too, without the disk cache.
"""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from types import CodeType, ModuleType
from typing import Any

import numpy as np
from numba import njit

from mail_envs import compile_notice
from mail_envs.code_keys import python, refreshed_key
from mail_envs.launch_cache import cache_directory, import_generated

DISK_CACHE = "cache=True, "  # in the options of generated functions

# Kernels allocate nothing, so numba's reference counting is off: it makes them three times slower.
LAUNCH_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "_nrt": False}

# Decorator of functions for one environment, called from CPU loops and from CUDA kernels. They are inlined:
# otherwise a call passes every array as nine numbers, which takes longer than most of these functions.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "forceinline": True}
device_function = njit(**_OPTIONS)

# Indices into the `errors` array.
INVALID_ACTION, INVALID_PROBABILITY = 0, 1


_COMMON = '''"""Compiled loops of {name}. Generated; regenerated when the sources change."""

import numpy as np
from numba import njit, prange

from mail_envs.kernels import INVALID_ACTION, LAUNCH_OPTIONS, device_function
from mail_envs.random import next_seed
from mail_envs.rounds import (
    RUNNING, TERMINATED, acting_set, begin_clock, count_invalid, count_reward, end_round, in_space,
    is_left_ended, show_idle,
)
{imports}


@device_function
def begin_episode(seed, params, state, clock):
    begin_clock(seed, clock)
    reset_env(state, clock, params)


@device_function
def observe(params, settings, state, clock, observations, action_mask, alive, global_state):
    observe_env(state, params, observations, action_mask, alive, global_state)
    if clock.idle != 0:
        show_idle(settings, observations, action_mask, global_state)


@device_function
def step_one(e, params, settings, state, clock, actions, participation, acts,
             observations, rewards, terminated, truncated, alive, action_mask, global_state,
             final_observations, final_action_mask, final_state, metrics):
    me = state[e]
    now = clock[e]
    if is_left_ended(e, settings, terminated, truncated):
        for i in range(participation.shape[1]):
            rewards[e, i] = 0
        return
    for i in range(participation.shape[1]):
        acts[e, i] = acting_set(actions, participation, alive, action_mask, e, i)
    outcome = RUNNING
    if now.idle == 0 and step_env(me, now, actions[e], acts[e], params, rewards[e], metrics[e]):
        outcome = TERMINATED
    for i in range(participation.shape[1]):
        paid = (participation[e, i] != 0) & (now.idle == 0)
        count_reward(e, i, participation, acts, paid, rewards, now)
    over = end_round(e, outcome, settings, now, terminated, truncated)
    if over and settings.autoreset != 0:
        observe(params, settings, me, now, final_observations[e], final_action_mask[e], alive[e],
                final_state[e])
        for i in range(participation.shape[1]):
            now.last_alive[i] = alive[e, i]
        begin_episode(next_seed(now.seed), params, me, now)
    observe(params, settings, me, now, observations[e], action_mask[e], alive[e], global_state[e])


@device_function
def reset_one(e, params, settings, state, clock, seeds, observations, alive, action_mask, global_state):
    clock[e].illegal_actions = 0
    clock[e].begun = 0
    begin_episode(seeds[e], params, state[e], clock[e])
    observe(params, settings, state[e], clock[e], observations[e], action_mask[e], alive[e],
            global_state[e])
'''

_STEP_ARGUMENTS = """params, settings, state, clock, actions, participation, acts,
         observations, rewards, terminated, truncated, alive, action_mask, global_state,
         final_observations, final_action_mask, final_state, metrics, errors"""

_STEP_CALL = """step_one(e, params[0], settings[0], state, clock, actions, participation, acts,
                 observations, rewards, terminated, truncated, alive, action_mask, global_state,
                 final_observations, final_action_mask, final_state, metrics)"""

_RESET_ARGUMENTS = """which, params, settings, state, clock, seeds,
          observations, alive, action_mask, global_state"""

_RESET_CALL = """reset_one(e, params[0], settings[0], state, clock, seeds,
                      observations, alive, action_mask, global_state)"""

_CPU = """

@njit({options})
def step({step_arguments}):
    errors[INVALID_ACTION] = count_invalid(actions, participation, settings[0])
    if errors[INVALID_ACTION] != 0:
        return
    for e in {range}(state.shape[0]):
        {step_call}


@njit({options})
def reset({reset_arguments}):
    for e in {range}(state.shape[0]):
        if which[e]:
            {reset_call}
"""

_CUDA = """
from numba import cuda


@cuda.jit
def step({step_arguments}):
    e = cuda.grid(1)
    if e < state.shape[0]:
        for i in range(participation.shape[1]):
            # Kernels cannot raise: the action becomes null, and the view checks the flag.
            if participation[e, i] != 0 and not in_space(actions, e, i, settings[0]):
                participation[e, i] = 0
                errors[INVALID_ACTION] = 1
        {step_call}


@cuda.jit
def reset({reset_arguments}):
    e = cuda.grid(1)
    if e < state.shape[0] and which[e]:
        {reset_call}
"""


def game_launches(functions: dict, name: str, *, device: str = "cpu", threads: bool = False):
    """The module with the compiled `step` and `reset` of a game.

    `functions` holds the game's `reset_env`, `step_env` and `observe_env`.
    """
    options = f"{DISK_CACHE}**LAUNCH_OPTIONS" + (", parallel=True" if threads else "")
    source = _COMMON + (_CUDA if device == "cuda" else _CPU)
    return compile_module(
        source,
        functions,
        name=name + ("_cuda" if device == "cuda" else "_threads" if threads else ""),
        options=options,
        range="prange" if threads else "range",
        step_arguments=_STEP_ARGUMENTS,
        step_call=_STEP_CALL,
        reset_arguments=_RESET_ARGUMENTS,
        reset_call=_RESET_CALL,
    )


class KernelLaunches:
    """`step()` and `reset()` of a kernel game, bound to the buffers of a view."""

    def __init__(self, game, buffers, settings: np.ndarray, device, name: str):
        b, threads = buffers, getattr(device, "num_threads", 1) > 1
        params, settings = device.put(game.params), device.put(settings)
        launches = game_launches(game.kernels, name, device=device.name, threads=threads)
        outputs = (b.observations, b.rewards, b.terminated, b.truncated, b.alive, b.action_mask)
        finals = (b.final_observations, b.final_action_mask, b.final_state)
        inputs = (params, settings, b.world, b.clock, b.actions, b.participation, b.acts)
        self.step = device.bind(
            launches.step, *inputs, *outputs, b.state, *finals, b.metrics, b.errors
        )
        seen = (b.observations, b.alive, b.action_mask, b.state)
        begun = (b.which, params, settings, b.world, b.clock, b.seeds)
        self.reset = device.bind(launches.reset, *begun, *seen)

    def replay(self) -> list[int]:
        """After `set_state`: nothing to do, because the records hold the whole state."""
        return []

    def picture(self, e: int) -> None:
        """None: the game is drawn by its `draw`."""

    def close(self) -> None:
        """Nothing is open."""


_LOOP = """

@njit({options})
def run({arguments}):
    for e in range(participation.shape[0]):
        one(e, {arguments})
"""

_GRID = """
from numba import cuda


@cuda.jit
def run({arguments}):
    e = cuda.grid(1)
    if e < participation.shape[0]:
        one(e, {arguments})
"""


def launch(one, arguments: str, device: str, source: str = "", functions: dict | None = None):
    """A compiled loop of `one(e, arguments...)` over all environments; `participation` must be an argument.

    Either `one` is a device function, or `source` defines it using `functions`.
    """
    head = '"""A compiled loop. Generated; regenerated when the sources change."""\n\n'
    head += "from numba import njit\n\nfrom mail_envs.kernels import LAUNCH_OPTIONS\n{imports}\n"
    module = compile_module(
        head + source + (_GRID if device == "cuda" else _LOOP),
        functions or {"one": one},
        name=f"{python(one).__name__}_{device}",
        options=f"{DISK_CACHE}**LAUNCH_OPTIONS",
        arguments=arguments,
    )
    return module.run


def compile_module(source: str, functions: dict, *, name: str, **fields) -> ModuleType:
    """Make a module from `source`, in which the `functions` are named by their keys."""
    compile_notice.listen()
    importable = all(_is_importable(f) for f in functions.values())
    fields["name"] = name
    fields["imports"] = "\n".join(
        f"from {python(f).__module__} import {python(f).__name__} as {key}"
        for key, f in functions.items()
        if importable
    )
    for field, text in fields.items():
        source = source.replace("{" + field + "}", text)
    module = ModuleType(f"mail_envs_generated_{name}")
    module.__dict__.update(functions)
    exec(_code_of(source.replace(DISK_CACHE, ""), name), module.__dict__)  # source generated here
    key = refreshed_key([*functions.values(), *_made_in(module)])
    directory = cache_directory() if importable else None
    if directory is None:  # not importable, or no directory to write to
        return module
    # Files may hold equal code: a copied game must not import its functions from the first.
    key = hashlib.sha256(f"{key} {source}".encode()).hexdigest()
    return import_generated(directory, f"{name}_{key[:32]}", source)


@lru_cache(maxsize=64)
def _code_of(source: str, name: str) -> CodeType:
    return compile(source, f"<compiled loops of {name}>", "exec")


def _made_in(module: ModuleType) -> list:
    """The functions that a module itself defines, in order."""
    values = list(vars(module).values())
    return [v for v in values if getattr(python(v), "__globals__", None) is vars(module)]


def _is_importable(function) -> bool:
    source = python(function)
    module = sys.modules.get(source.__module__)
    return source.__module__ != "__main__" and getattr(module, source.__name__, None) is function
