"""Gold Miner: the rules, the availability mask, the bots and the maps, one file each; `game` joins them."""
