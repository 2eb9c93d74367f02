"""The chain: endpoints, contract bindings, events, and transactions that arrive once.

`chain.open_chain` finds a chain, `ward_round.WardRound` speaks to the contract.
"""
