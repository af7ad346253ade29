"""Use one thread: small networks are faster that way on few cores."""

import pytest

torch = pytest.importorskip("torch", reason="the clients' tests need PyTorch")
torch.set_num_threads(1)
