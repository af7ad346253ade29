"""A stand-in for Isaac Gym. Like the original, it must be imported before torch."""

import sys

if "torch" in sys.modules:
    raise ImportError("PyTorch was imported before isaacgym modules")
