"""Ids for conformance tests: all, but only a few of families that are one game in many sizes."""

import mail_envs
from mail_envs.commands.pages import suite_specs

CHOSEN = {
    "bidexhands": {"bidexhands_door_open_inward"},
    "football": {"football_3_vs_1_with_keeper"},
    "mamujoco": {"mamujoco_halfcheetah_6x1"},
    "smac": {"smac_3m"},
    "smacv2": {"smacv2_terran_5_vs_5"},
}
IDS = sorted(s.id for s in suite_specs() if s.id in CHOSEN.get(s.family, {s.id}))
SIMULATORS = ("bidexhands", "football", "mamujoco")  # families
KERNEL_IDS = [id for id in IDS if mail_envs.spec(id).family not in SIMULATORS]
