"""A GRU whose memory is updated only when its agent acts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GRU(nn.GRUCell):
    """torch's GRU cell, run over successive rounds of many agents.

    The memory is updated only in rounds in which its agent acts. An agent therefore has the same memory
    in the AEC view, where it is called only when it acts, and in a vector of games, where it is called every
    round.
    """

    def __init__(self, size: int):
        super().__init__(size, size)
        for weight in (*self.weight_ih.chunk(3), *self.weight_hh.chunk(3)):  # one gate each
            nn.init.orthogonal_(weight)
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)

    def forward(
        self, x: Tensor, memory: Tensor, acts: Tensor, fresh: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs of L rounds, and the memory after each of them.

        Args:
            x: inputs (L, B, H).
            memory: before the first round, (B, H).
            acts: bool (L, B), whether the agent acts.
            fresh: bool (L, B), where an episode begins, which resets the memory; None: nowhere.

        Returns:
            outputs (L, B, H) and memories (L, B, H), also of agents that do not act.
        """
        inputs = nn.functional.linear(x, self.weight_ih, self.bias_ih)  # all rounds at once
        acts = acts.unsqueeze(-1)
        outputs, memories = [], []
        # unbind: the gradient of every index operation would be a full-size tensor.
        gates, news = (part.unbind() for part in self._parts(inputs))
        for t in range(len(x)):
            if fresh is not None:
                memory = memory.masked_fill(fresh[t].unsqueeze(-1), 0.0)
            output = self._cell(gates[t], news[t], memory)
            memory = torch.where(acts[t], output, memory)
            outputs.append(output)
            memories.append(memory)
        return torch.stack(outputs), torch.stack(memories)

    def _cell(self, given_gates: Tensor, given: Tensor, memory: Tensor) -> Tensor:
        """One round, from the input's contributions to the gates (B, 2 H) and to the new memory (B, H)."""
        gates, recalled = self._parts(nn.functional.linear(memory, self.weight_hh, self.bias_hh))
        reset, keep = torch.sigmoid(given_gates + gates).chunk(2, -1)
        return torch.lerp(torch.tanh(torch.addcmul(given, reset, recalled)), memory, keep)

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split (..., 3 H) into the two gates, (..., 2 H), and the new memory, (..., H)."""
        return x.split([2 * self.hidden_size, self.hidden_size], -1)
