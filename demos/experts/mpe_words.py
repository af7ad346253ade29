"""Scripted demonstrators of MPE scenarios in which agents communicate.

Word k means landmark k. An agent that hears a word moves to that landmark. Before the first word it moves to
the center of the landmarks; if a later word is missing it does not push.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demos.experts.mpe_goals import go
from demos.experts.planning import PUSHES, bodies_of

NUM_LANDMARKS = 3


def speaker_listener(env: Any):
    """The speaker names the goal, the listener goes there."""
    bodies = bodies_of(env)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        speaker, listener = observations[:, :1, :3], observations[:, 1:, :11]
        velocity = np.concatenate([np.zeros_like(listener[..., :2]), listener[..., :2]], axis=1)
        places = listener[..., 2:8]
        target = heard(places, listener[..., 8:])
        actions = go(velocity, np.concatenate([target, target], axis=1), info, bodies)
        actions[:, 1:] *= has_news(listener[..., 8:], info)
        actions[:, 0] = speaker[:, 0].argmax(axis=-1)
        return actions

    return scripted


def reference(env: Any):
    """Each agent says the other's goal and moves to the landmark that it hears."""
    bodies = bodies_of(env)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        places, color, word = np.split(observations[..., 2:], [6, 9], axis=-1)
        moves = go(observations[..., :2], heard(places, word), info, bodies)
        moves *= has_news(word, info)
        return (moves + PUSHES * color.argmax(axis=-1)).astype(np.int32)

    return scripted


def crypto(env: Any):
    """Alice sends message XOR key, Bob decrypts it with the key, Eve repeats Alice's word."""
    words = env.observation_dims[0]

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        parts = observations[..., : 2 * words].reshape(len(observations), 3, 2, words)
        (eve, _), (key, word), (message, _) = parts.argmax(axis=-1).transpose(1, 2, 0)
        return np.stack([eve, word ^ key, message ^ key], axis=1).astype(np.int32)

    return scripted


def heard(places: np.ndarray, word: np.ndarray) -> np.ndarray:
    """Targets (..., 2) of agents that hear words (..., W) and observe landmarks at `places` (..., 6)."""
    landmarks = places.reshape(*places.shape[:-1], NUM_LANDMARKS, 2)
    named = word.argmax(axis=-1) % NUM_LANDMARKS
    chosen = np.take_along_axis(landmarks, named[..., None, None], axis=-2)[..., 0, :]
    silent = ~word.any(axis=-1, keepdims=True)
    return np.where(silent, landmarks.mean(axis=-2), chosen)


def has_news(word: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
    """Whether the agent hears a word, or nothing can have been said yet (round 0): bool (K, N)."""
    return word.any(axis=-1) | (np.asarray(info["round"]) == 0)[:, None]
