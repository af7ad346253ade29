"""One thread: many small networks on few cores."""

import torch

torch.set_num_threads(1)
