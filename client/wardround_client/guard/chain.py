"""What the guard asks of the chain: reading only, at whichever of its endpoints is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from wardround.chain.chain import Chain, open_chain
from wardround.chain.errors import ChainUnreachable
from wardround.chain.ward_round import WardRound
from wardround.protocol.contribution import Domain
from wardround_client.settings import ChainTable

Answer = TypeVar("Answer")
_TIMEOUT_SECONDS = 10


class ChainReader:
    """The site's contract, wherever it answers."""

    def __init__(self, settings: ChainTable) -> None:
        self._settings = settings
        self._open: tuple[Chain, WardRound] | None = None

    def ask(self, question: Callable[[WardRound], Answer]) -> Answer:
        """Ask the contract.

        Raises:
            ChainError: no endpoint answers, or one serves another chain.
            ContractReverted: the contract refuses.
        """
        try:
            return question(self.contract())
        except ChainUnreachable:
            # The next question opens a connection of its own.
            self.close()
            raise

    def contract(self) -> WardRound:
        """Connect, unless that was done.

        Raises:
            ChainError: no endpoint answers, or one serves another chain.
        """
        if self._open is None:
            settings = self._settings
            chain = open_chain(settings.url, settings.chain_id, _TIMEOUT_SECONDS)
            self._open = chain, WardRound(chain, settings.contract)
        return self._open[1]

    def domain(self) -> Domain:
        """What signatures for this contract are good for; from the settings alone."""
        return Domain(self._settings.chain_id, self._settings.contract)

    def close(self) -> None:
        """Let go of the connection."""
        if self._open is not None and not self._open[0].url.startswith("embedded:"):
            self._open[0].close()
        self._open = None
