"""Where things are kept: the chain, the content store, and the journal of development chains.

`chain.open_chain` finds a chain, `embedded` and `anvil` start one, `ward_round.WardRound` speaks to
the contract, `store.open_store` finds a store, `journal` keeps and repeats a development chain.
"""
