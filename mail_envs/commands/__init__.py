"""The commands of `python -m mail_envs`, one file each, and code that they share."""

from mail_envs.commands.errors import CommandError

__all__ = ["CommandError"]
