"""Copy a trained policy into a file to ship: `python -m demos.export RUN --out FILE.safetensors --float16`.

The file has everything that playing needs, and can be given wherever a policy is asked for.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from demos.policies import policy_path
from demos.policy_file import read_policy_file, write_policy_file
from mail_envs.commands.errors import exit_status


def export(policy: str | Path, out: Path, float16: bool = False, greedy: bool = False) -> int:
    """Write the policy file that `policy` names to `out`; returns the number of its parameters.

    `policy` is a run folder, `RUN@STEP` or a policy file. An existing `out` is replaced once the new file is complete.
    With `greedy`, the copy always takes the most likely discrete action. ValueError: there is no such policy, it is
    damaged, a number is too large for float16, or its actions cannot be made greedy.
    """
    source = policy_path(policy)
    if not source.is_file():
        raise ValueError(f"{policy}: no policy file, and no run folder with one (no file {source})")
    tensors, metadata = read_policy_file(source)
    if greedy:
        if metadata.get("distribution") not in ("categorical", "greedy") or metadata.get("joint"):
            raise ValueError(
                f"{policy}: --greedy needs a policy of discrete actions with a network per agent, not "
                f"{metadata.get('architecture')} with actions {metadata.get('distribution')}"
            )
        metadata = {**metadata, "distribution": "greedy"}
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.temporary")
    try:
        write_policy_file(temporary, tensors, metadata, float16)
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return sum(tensor.size for tensor in tensors.values())


@dataclass
class Args:
    """Copy a trained policy into a file to ship."""

    policy: tyro.conf.Positional[str]
    """A run folder, RUN@STEP (a run with --policy-every) or a policy file."""
    out: Path
    """The file to write, .safetensors. Named after the game's id and put into demos/experts/, it is that game's
    policy `expert`."""
    float16: bool = False
    """Store the parameters in half precision; a file is then half as large."""
    greedy: bool = False
    """Always take the most likely discrete action, also where a policy is sampled from."""


def main(args: Args) -> int:
    """Run the command; returns its exit status, see `mail_envs.commands.errors`."""
    return exit_status(lambda: command(args))


def command(args: Args) -> None:
    """Export, and print what was written."""
    if args.out.suffix != ".safetensors":
        raise ValueError(f"--out {args.out}: the file name must end in .safetensors")
    count = export(args.policy, args.out, args.float16, args.greedy)
    print(f"wrote {args.out}: {count:,} parameters, {args.out.stat().st_size / 1000:,.0f} kB")


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, prog="python -m demos.export")))
