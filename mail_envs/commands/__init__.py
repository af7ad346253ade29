"""The commands of `python -m mail_envs`, one file each, and what they share."""

from mail_envs.commands.errors import CommandError

__all__ = ["CommandError"]
