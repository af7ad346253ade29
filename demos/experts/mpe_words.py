"""Scripted demonstrators of MPE scenarios in which agents talk.

A goal is told by its number, one word each. Whoever hears a word goes to that landmark; before the first word
it goes to the middle of the landmarks, and when a later word is missing it does not push.
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
    """Both name the other's goal and go where they are sent."""
    bodies = bodies_of(env)

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        places, color, word = np.split(observations[..., 2:], [6, 9], axis=-1)
        moves = go(observations[..., :2], heard(places, word), info, bodies)
        moves *= has_news(word, info)
        return (moves + PUSHES * color.argmax(axis=-1)).astype(np.int32)

    return scripted


def crypto(env: Any):
    """Alice says the message, or the other one when the key is 1; Bob undoes it; Eve repeats Alice's word."""
    words = env.observation_dims[0]

    def scripted(observations: np.ndarray, info: Mapping[str, Any], rng: Any) -> np.ndarray:
        parts = observations[..., : 2 * words].reshape(len(observations), 3, 2, words)
        (eve, _), (key, word), (message, _) = parts.argmax(axis=-1).transpose(1, 2, 0)
        return np.stack([eve, word ^ key, message ^ key], axis=1).astype(np.int32)

    return scripted


def heard(places: np.ndarray, word: np.ndarray) -> np.ndarray:
    """Where words (..., W) send agents that see landmarks at `places` (..., 6): (..., 2)."""
    landmarks = places.reshape(*places.shape[:-1], NUM_LANDMARKS, 2)
    named = word.argmax(axis=-1) % NUM_LANDMARKS
    chosen = np.take_along_axis(landmarks, named[..., None, None], axis=-2)[..., 0, :]
    silent = ~word.any(axis=-1, keepdims=True)
    return np.where(silent, landmarks.mean(axis=-2), chosen)


def has_news(word: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
    """Whether there is a word to follow, or nothing was said yet: bool (K, N)."""
    return word.any(axis=-1) | (np.asarray(info["round"]) == 0)[:, None]
