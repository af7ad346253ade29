"""Particle worlds: discs in a plane that are moved by forces (multi-agent particle environments)."""
