"""Google Research Football: scenarios, engines, rules and observations; the game is in `football.game`."""
