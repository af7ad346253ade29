"""Reference learners: `python -m learners` lists them."""

import importlib.util

if importlib.util.find_spec("torch") is None:
    raise ImportError("learners need PyTorch: pip install 'mail-envs[learners]'")
