"""Gold Miner: rules, availability mask, bots and maps, one file each; `game` combines them."""
