"""Tools that compile, check and prove the contracts (see `wardround.chain.artifacts`)."""
