"""What the guard asks of the chain: reading only, at the first of its endpoints that answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from client.guard.errors import ChainSilent
from client.settings import ChainTable
from ledger.chain import Chain, open_chain
from ledger.errors import ChainError, ChainUnreachable
from ledger.ward_round import WardRound
from protocol.contribution import Domain

Answer = TypeVar("Answer")
_TIMEOUT_SECONDS = 10


class ChainReader:
    """The site's contract, wherever it answers."""

    def __init__(self, settings: ChainTable) -> None:
        self._endpoints: Sequence[str] = settings.endpoints
        self._chain_id, self._address = settings.chain_id, settings.contract
        self._open: tuple[Chain, WardRound] | None = None

    def ask(self, question: Callable[[WardRound], Answer]) -> Answer:
        """Ask the contract.

        Raises:
            ChainSilent: no endpoint answers.
            WrongChain: an endpoint serves another chain. It is not passed over: somebody should
                know.
            ContractReverted: the contract refuses.
        """
        reasons = []
        for _ in range(1 + len(self._endpoints)):
            try:
                return question(self.contract())
            except ChainUnreachable as error:
                self.close()
                self._endpoints = [*self._endpoints[1:], self._endpoints[0]]
                reasons.append(str(error))
        raise ChainSilent(reasons[-1])

    def contract(self) -> WardRound:
        """Connect to the first endpoint.

        Raises:
            ChainError: it does not answer, or serves another chain.
        """
        if self._open is None:
            chain = open_chain(self._endpoints[0], self._chain_id, _TIMEOUT_SECONDS)
            self._open = chain, WardRound(chain, self._address)
        return self._open[1]

    def domain(self) -> Domain:
        """What signatures for this contract are good for; from the settings alone."""
        return Domain(self._chain_id, self._address)

    def close(self) -> None:
        """Let go of the connection; the next question opens another."""
        if self._open is not None and not self._open[0].url.startswith("embedded:"):
            self._open[0].close()
        self._open = None


__all__ = ["ChainError", "ChainReader"]
