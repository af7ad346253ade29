"""The nine multi-agent particle environments (MPE), with the rules of MPE2 and its predecessors."""
