"""The tasks of Bi-DexHands: two Shadow Hands, simulated by MuJoCo."""
