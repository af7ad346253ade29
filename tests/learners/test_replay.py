"""Replay and demonstrations as sources of sequences: what is sampled is what was played."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
import torch
from sample_faults import FINE, KILLED, Faulty
from sample_games import LastStanding

import mail_envs
from demos import Demonstrations
from demos.record import record
from demos.store import Shard
from learners.lib import memory, replay
from learners.lib.batch import Batch, counted, mean
from learners.lib.demonstrated import Demonstrated
from learners.lib.replay import Replay, sample_chunks, sample_episodes, sample_transitions
from learners.lib.rollout import Rollout
from mail_envs.player_functions import Synchronous
from mail_envs.vector import VectorGame

ENVS, ROUNDS, LIMIT = 4, 12, 5
PLENTY = 4000


class Anything:
    """Plays allowed actions at random; its memory counts the rounds in which an agent acted."""

    def act(self, observations, mask, rng, memory=None, acts=None):
        if memory is not None and acts is not None:
            memory += acts.unsqueeze(-1)
        return torch.multinomial(mask.flatten(0, 1).float(), 1, generator=rng).view(mask.shape[:2])


def duels(array: Literal["numpy", "torch"] = "torch") -> VectorGame:
    game = LastStanding(max_rounds=LIMIT)
    return VectorGame(game, mail_envs.Stochastic(0.6), ENVS, array=array)


def collected(fragments: int, *kept: Replay, memory: int = 0) -> Rollout:
    """Play fragments and add them to all replays; returns the last one."""
    rollout, rng = Rollout(duels(), ROUNDS, "cpu", memory, True), torch.Generator().manual_seed(0)
    rollout.reset(0)
    for _ in range(fragments):
        rollout.collect(Anything(), rng)
        for one in kept:
            one.add(rollout)
    return rollout


def episode(source, k: int) -> Batch:
    starts, lengths = source.episodes()
    return replay._sequences(source, starts[k : k + 1], int(lengths[k]))


def played_again(fragments: int) -> list[dict[str, np.ndarray]]:
    """All whole episodes of `collected`, by stepping the game again, in the order of their copies."""
    again, rollout = duels("numpy"), Rollout(duels(), ROUNDS, "cpu", 0, True)
    rng = torch.Generator().manual_seed(0)
    rollout.reset(0)
    observations, info = again.reset(seed=0)
    names = ("state", "action_mask", "alive", "participation")
    running = [[] for _ in range(ENVS)]
    done = [[] for _ in range(ENVS)]
    for _ in range(fragments):
        rollout.collect(Anything(), rng)
        for t in range(ROUNDS):
            before = {"observation": observations.copy(), **{n: info[n].copy() for n in names}}
            actions = rollout.actions[t].numpy()
            observations, rewards, terminated, truncated, info = again.step(actions)
            for e in range(ENVS):
                row = {n: x[e] for n, x in before.items()}
                row |= {"actions": actions[e].copy(), "rewards": rewards[e].copy()}
                row |= {"terminated": terminated[e], "truncated": truncated[e]}
                running[e].append(row)
                if terminated[e] or truncated[e]:
                    final = {n: info[f"final_{n}"][e].copy() for n in ("observation", *names)}
                    rows = [*running[e], final]
                    done[e].append({n: np.stack([r[n] for r in rows if n in r]) for n in row})
                    running[e] = []
    return [x for copy in done for x in copy]


def same(found: Batch, known: dict[str, np.ndarray]) -> bool:
    """Whether a sequence is this episode. What matters in the last row includes who would have acted next."""
    pairs = [
        (found.rows.observations, known["observation"]), (found.rows.states, known["state"]),
        (found.rows.action_mask, known["action_mask"]), (found.rows.alive, known["alive"]),
        (found.rows.participation, known["participation"] != 0), (found.actions, known["actions"]),
        (found.rewards, known["rewards"]), (found.terminated, known["terminated"]),
        (found.truncated, known["truncated"]),
        (found.rows.round, np.arange(len(known["observation"]))),
    ]  # fmt: skip
    return bool(found.filled.all()) and all(np.array_equal(a[:, 0], b) for a, b in pairs)


def test_episodes_are_kept_with_what_was_truly_seen_last():
    kept = Replay(duels(), PLENTY)
    collected(3, kept)
    known = played_again(3)
    assert len(kept.episodes()[0]) == len(known) > 20
    assert {bool(x["terminated"][-1]) for x in known} == {False, True}
    for k, expected in enumerate(known):
        assert same(episode(kept, k), expected)
    assert not all(x["alive"].all() for x in known)


def test_a_full_replay_holds_the_newest_rounds_and_no_half_episodes():
    large, small = Replay(duels(), PLENTY), Replay(duels(), ENVS * (2 * ROUNDS + 2))
    collected(5, large, small)
    known = [
        tuple(episode(large, k).rows.states.flatten().tolist())
        for k in range(len(large.episodes()[0]))
    ]
    found = [
        tuple(episode(small, k).rows.states.flatten().tolist())
        for k in range(len(small.episodes()[0]))
    ]
    assert set(found) < set(known) and len(found) > ENVS
    assert small.acted.sum() < large.acted.sum() == 5 * ROUNDS * ENVS
    newest = large.heads[0] - torch.arange(20)
    a, b = (x.tensors["observations"][newest % x.rows] for x in (large, small))
    assert torch.equal(a, b)


def distinct(batch: Batch) -> set[tuple]:
    """The different transitions in a batch of sequences of one round."""
    parts = (*batch.rows.observations, batch.actions[0], batch.rewards[0])
    return {tuple(x) for x in torch.cat([x.flatten(1) for x in parts], 1).tolist()}


def test_transitions_have_their_true_successors_and_are_all_drawn():
    kept, rng = Replay(duels(), PLENTY), torch.Generator().manual_seed(1)
    collected(2, kept)
    batch = sample_transitions(kept, 20_000, rng)
    assert batch.filled.all() and batch.actions.shape == (1, 20_000, 3)
    assert torch.equal(batch.next.round, batch.seen.round + 1)
    rows = kept.acted.nonzero().squeeze(1)
    after = kept.after(rows, torch.tensor([[0], [1]]))
    assert distinct(batch) == distinct(kept.read(after, torch.ones_like(after[1:]).bool()))
    rounds = torch.bincount(batch.seen.round.flatten(), minlength=LIMIT) / 20_000
    share = torch.bincount(kept.round[kept.acted], minlength=LIMIT) / len(rows)
    assert (rounds - share).abs().max() < 0.02


@pytest.mark.parametrize("length", [1, 3])
def test_rounds_that_were_added_since_the_last_batch_are_drawn(length):
    kept, again = Replay(duels(), PLENTY), Replay(duels(), PLENTY)
    rng = torch.Generator().manual_seed(1)

    def drawn(source: Replay) -> set[float]:
        """The rows that many batches hold."""
        source.tensors["rewards"][:] = torch.arange(len(source.acted)).unsqueeze(1)
        batches = [sample_chunks(source, 4000, length, rng) for _ in range(4 * length)]
        return set().union(*(b.rewards[b.filled][:, 0].tolist() for b in batches))

    for fragments in (1, 2):
        collected(fragments, again)
        assert drawn(again) == set(again.acted.nonzero().squeeze(1).tolist())
        kept.load_state_dict(again.state_dict())
        assert drawn(kept) == drawn(again)


def test_chunks_begin_with_the_memory_that_the_policy_had():
    kept, rng = Replay(duels(), PLENTY, memory=1), torch.Generator().manual_seed(1)
    collected(3, kept, memory=1)
    batch = sample_chunks(kept, 500, 2, rng)
    assert set(batch.seen.round[0].tolist()) in ({0, 2, 4}, {0, 1, 3})
    assert not batch.memory[batch.seen.round[0] == 0].any() and batch.memory.max() > 1
    starts, lengths = kept.episodes()
    for k in range(len(starts)):
        acted = episode(kept, k).seen.participation[:, 0]
        rows = kept.after(starts[k], torch.arange(int(lengths[k])))
        before = acted.cumsum(0) - acted.int()
        assert torch.equal(kept.tensors["memory"][rows].squeeze(-1), before.float())


def test_chunks_are_cut_elsewhere_in_every_call_and_hold_all_rounds_equally_often():
    kept, rng = Replay(duels(), PLENTY), torch.Generator().manual_seed(1)
    collected(3, kept)
    found, last, cuts = torch.zeros(LIMIT), torch.zeros(LIMIT), set()
    for _ in range(300):
        batch = sample_chunks(kept, 100, 3, rng)
        rounds, real = batch.seen.round.long(), batch.filled
        found += torch.bincount(rounds[real], minlength=LIMIT)
        ends = real & ~torch.cat([real[1:], torch.zeros_like(real[:1])])
        last += torch.bincount(rounds[ends], minlength=LIMIT)
        cuts.add(min(set(rounds[0].tolist()) - {0}, default=0))
        assert torch.equal(batch.next.round[real], batch.seen.round[real] + 1)
    share = torch.bincount(kept.round[kept.acted], minlength=LIMIT).float()
    assert torch.allclose(found / found.sum(), share / share.sum(), atol=0.01)
    assert cuts == {1, 2, 3}
    assert (
        last[: LIMIT - 1] / found[: LIMIT - 1] < 0.8
    ).all()  # every round is seen with its successors, too


def test_shorter_sequences_are_padded_with_rows_in_which_nobody_acts():
    kept, rng = Replay(duels(), PLENTY), torch.Generator().manual_seed(1)
    collected(3, kept)
    batch = sample_episodes(kept, 200, rng)
    lengths = batch.filled.sum(0)
    assert len(batch.filled) == LIMIT == lengths.max() and lengths.min() < LIMIT
    assert torch.equal(batch.terminated.sum(0) + batch.truncated.sum(0), torch.ones(200).long())
    ended = batch.terminated | batch.truncated
    assert torch.equal(ended.int().argmax(0), lengths - 1)
    padding = ~batch.filled
    assert not (batch.next.alive | batch.next.participation)[padding].any()
    assert (
        not batch.learned_from()[padding].any()
        and not batch.learned_from(absent=True)[padding].any()
    )
    assert batch.next.action_mask is not None and batch.next.action_mask.any(-1).all()
    assert batch.rows.alive[1:][lengths - 1, torch.arange(200)].any()  # real last rows stay


def test_a_round_whose_worker_died_is_not_a_transition():
    class Script:
        round = 0

        def act(self, observations, *_):
            actions = torch.full(observations.shape[:2], FINE)
            if self.round == 3:
                actions[0, 0] = KILLED
            self.round += 1
            return actions

    vec = VectorGame(Faulty(), Synchronous(), 2, num_workers=2, max_rounds=6, array="torch")
    rollout, kept = Rollout(vec, 8, state=True), Replay(vec, 100)
    rollout.reset(0)
    rollout.collect(Script(), torch.Generator())
    kept.add(rollout)
    vec.close()
    assert int(kept.acted.sum()) == 2 * 8 - 1
    cut, whole = episode(kept, 0), episode(kept, 1)
    assert len(cut.filled) == 3 and len(whole.filled) == 6
    assert not (cut.terminated | cut.truncated).any() and whole.truncated[-1].all()
    assert torch.equal(cut.rows.observations[-1, 0], rollout.observations[3, 0])


def test_a_replay_of_other_rewards():
    kept = Replay(duels(), PLENTY)
    rollout = collected(1)
    kept.add(rollout, torch.full_like(rollout.rewards, 7.0))
    assert (kept.tensors["rewards"][kept.acted] == 7).all()


def test_a_replay_continues_from_its_checkpoint():
    capacity = ENVS * (2 * ROUNDS + 2)
    for fragments in (1, 4):  # before and after it is full
        kept, other = Replay(duels(), capacity), Replay(duels(), capacity)
        rollout = collected(fragments, kept)
        state = {k: {n: x.clone() for n, x in v.items()} if isinstance(v, dict) else v.clone()
                 for k, v in kept.state_dict().items()}  # fmt: skip
        other.load_state_dict(state)
        rollout.collect(Anything(), torch.Generator().manual_seed(5))
        for one in (kept, other):
            one.add(rollout)
        samples = []
        for one in (kept, other):
            rng = torch.Generator().manual_seed(2)
            found = sample_episodes(one, 9, rng), sample_transitions(one, 9, rng)
            samples.append(
                [x for b in found for x in (b.rows.observations, b.actions, b.filled, b.rewards)]
            )
        assert all(torch.equal(a, b) for a, b in zip(*samples, strict=True))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("actions", 3, "actions are not all actions of this game"),
        ("round", -1, "rounds are negative"),
        ("heads", -1, "heads are negative"),
    ],
)
def test_forged_checkpoints_of_a_replay_are_rejected(name, value, message):
    kept = Replay(duels(), PLENTY)
    collected(1, kept)
    state = kept.state_dict()
    (state if name == "heads" else state["rows"])[name] = torch.full_like(
        (state if name == "heads" else state["rows"])[name], value
    )
    with pytest.raises(ValueError, match=message):
        Replay(duels(), PLENTY).load_state_dict(state)


def test_a_replay_that_does_not_fit_is_refused(monkeypatch):
    vec = duels()
    monkeypatch.setattr(replay, "free_bytes", lambda device: 200_000)
    kept = Replay(vec, 400)
    assert str(kept) == "replay of 400 rounds, 0.04 MB (cpu)"
    assert kept.bytes == sum(x.numel() * x.element_size() for x in kept.tensors.values())
    words = rf"capacity=800 takes 0\.09 MB, but only 0\.20 MB are free .* {60_000 * 400 // kept.bytes} rows fit"
    with pytest.raises(ValueError, match=words):
        Replay(vec, 800)
    with pytest.raises(
        ValueError, match=r"capacity=27 is too small: 4 copies .* 5 rounds need at least 28"
    ):
        Replay(vec, 27)
    with pytest.raises(ValueError, match="nothing to sample yet"):
        sample_transitions(Replay(vec, 28), 3, torch.Generator())
    with pytest.raises(ValueError, match="12 rounds at once do not fit into 7 rows per copy"):
        Replay(vec, 28).add(collected(1))


def test_free_memory_is_that_of_the_machine_or_of_the_container(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free_bytes(torch.device("cpu")) is None
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable: 500 kB\n")
    assert memory.free_bytes(torch.device("cpu")) == 512_000
    (tmp_path / "memory.current").write_text("1100\n")
    (tmp_path / "memory.stat").write_text("anon 50\nfile 1050\ninactive_file 1000\n")
    for most, expected in (("max", 512_000), ("4096", 3996)):
        (tmp_path / "memory.max").write_text(most + "\n")
        assert memory.free_bytes(torch.device("cpu")) == expected


# -------------------------------------------------------------------------------- entries that count
def test_entries_count_if_their_agent_is_alive_and_acts_in_a_real_round():
    alive = torch.tensor([[True, True, False], [True, True, False]])
    acts = torch.tensor([[True, False, False], [True, True, False]])
    real = torch.tensor([True, False])
    assert counted(alive, acts, real).int().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert counted(alive, acts, real, absent=True).int().tolist() == [[1, 1, 0], [0, 0, 0]]
    assert counted(alive, torch.ones_like(acts), real).int().tolist() == [[1, 1, 0], [0, 0, 0]]
    values = torch.tensor([[2.0, float("nan"), 5.0], [float("inf"), 0.0, 0.0]])
    assert mean(values, counted(alive, acts, real)) == 2
    assert mean(values, torch.zeros_like(acts)) == 0


# ------------------------------------------------------------------------------------ demonstrations
GAMES = {
    "smac_3m": {},
    "stochastic_coop_nav": {},
    "coop_nav": {"continuous_actions": True},
}


@pytest.fixture(scope="module", params=GAMES)
def recorded(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("demos") / request.param
    record(request.param, "random", 12, 0, path, **GAMES[request.param])
    return Demonstrations.open(path), mail_envs.make_vec(request.param, 2, **GAMES[request.param])


def test_demonstrations_are_read_as_they_were_recorded(recorded):
    demos, vec = recorded
    source = Demonstrated(demos, vec)
    for k, known in enumerate(demos):
        found = episode(source, k)
        pairs = [
            (found.rows.observations, known.observations), (found.rows.states, known.states),
            (found.rows.alive, known.alive), (found.actions, known.actions),
            (found.rewards, known.rewards), (found.seen.participation, known.participation != 0),
            (found.next.participation[-1:], known.final_participation[None] != 0),
        ]  # fmt: skip
        for a, b in pairs:
            assert np.array_equal(a[:, 0], b)
        mask = found.rows.action_mask
        assert (mask is None) == (known.action_masks is None)
        assert mask is None or np.array_equal(mask[:, 0], known.action_masks)
        assert found.terminated.flatten().tolist() == [False] * (len(known) - 1) + [
            known.terminated
        ]
        assert found.truncated.flatten().tolist() == [False] * (len(known) - 1) + [known.truncated]


def test_demonstrations_and_replay_are_sampled_alike(recorded):
    demos, vec = recorded
    source, rng = Demonstrated(demos, vec), torch.Generator().manual_seed(0)
    kept = Replay(vec, 2 * (vec.max_rounds + 2))
    batches = [sample_episodes(source, 30, rng), sample_transitions(source, 30, rng),
               sample_chunks(source, 30, 7, rng)]  # fmt: skip
    for batch in batches:
        L = len(batch.filled)
        other = kept.read(torch.zeros(L + 1, 30, dtype=torch.int64), batch.filled)
        for a, b in ((batch, other), (batch.rows, other.rows)):
            for field in dataclasses.fields(a):
                x, y = getattr(a, field.name), getattr(b, field.name)
                if isinstance(x, torch.Tensor):
                    assert (x.dtype, x.shape) == (y.dtype, y.shape), field.name
        assert (~batch.next.alive[~batch.filled]).all()
    assert batches[0].filled.sum(0).max() == len(batches[0].filled)
    assert torch.equal(batches[1].next.round, batches[1].seen.round + 1)
    first = batches[2].seen.round[0]
    assert len(set((first[first > 0] % 7).tolist())) == 1  # cut every seven rounds
    assert Demonstrated(demos, vec, state=False).read(
        torch.zeros(2, 1).long(), torch.ones(1, 1).bool()
    ).rows.states.shape == (2, 1, 0)


def test_only_sampled_episodes_are_read(recorded, monkeypatch):
    demos, vec = recorded
    read, original = [], Shard.rows

    def rows(self, chosen, *names):
        read.extend(chosen)
        return original(self, chosen, *names)

    monkeypatch.setattr(Shard, "rows", rows)
    source = Demonstrated(demos, vec)
    assert not read
    rng = torch.Generator().manual_seed(0)
    sample_transitions(source, 4, rng)
    assert 0 < len(read) <= 4
    for _ in range(50):
        sample_transitions(source, 4, rng)
    assert sorted(read) == list(range(12))  # each once
    rounds = int(demos.lengths.sum())
    assert str(source).startswith(f"{rounds:,} rounds of 12 episodes, ")


def test_where_phi_is_an_action_absent_demonstrators_chose_it(recorded):
    demos, vec = recorded
    if demos.metadata["id"] != "stochastic_coop_nav":
        return
    vec = mail_envs.make_vec("stochastic_coop_nav", 2, null_action="as_action")
    batch = sample_episodes(Demonstrated(demos, vec), 10, torch.Generator().manual_seed(0))
    absent = ~batch.seen.participation & batch.filled.unsqueeze(-1)
    assert (batch.actions[absent] == 5).all() and absent.any()
    assert batch.rows.action_mask is not None and batch.rows.action_mask.shape[-1] == 6
