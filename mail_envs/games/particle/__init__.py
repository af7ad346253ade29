"""Particle worlds: round bodies on a plane, driven by forces (multi-agent particle environments)."""
