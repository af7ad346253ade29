"""The nine multi-agent particle environments (MPE), in the rules of MPE2 and of its ancestors."""
