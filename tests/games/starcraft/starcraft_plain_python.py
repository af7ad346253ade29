"""Encode the frames in one file to another, in single precision. Run with NUMBA_DISABLE_JIT=1 by a test."""

import sys

import numpy as np

from mail_envs.games.starcraft import encode_episode, episode
from mail_envs.games.starcraft.layout import unit_fields


def main(source: str, target: str) -> None:
    with np.load(source) as file:
        frames = dict(file)
    actions = frames.pop("actions")
    room = episode.BATTLE["last_action"].shape[0], episode.BATTLE["tagger"].shape[0]
    episode.DECIMALS = "f4"
    episode.BATTLE = np.dtype(unit_fields(*room, True, "f4"), align=True)
    np.savez(target, **encode_episode("smac_mmm2", frames, actions, obs_last_action=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
