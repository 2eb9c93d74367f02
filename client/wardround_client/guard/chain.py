"""What the guard asks of the chain: reading only, at whichever of its endpoints is well."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

from wardround.chain.chain import connected
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
        self._open: tuple[WardRound, ExitStack] | None = None

    def ask(self, question: Callable[[WardRound], Answer]) -> Answer:
        """Ask the contract.

        Raises:
            ChainError: no endpoint answers, or one serves another chain.
            UnknownContract: the code of the contract is not known.
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
            UnknownContract: the code of the contract is not known.
        """
        if self._open is None:
            settings = self._settings
            with ExitStack() as opening:
                chain = opening.enter_context(
                    connected(settings.url, settings.chain_id, _TIMEOUT_SECONDS)
                )
                ward = WardRound.opened(chain, settings.contract)
                self._open = ward, opening.pop_all()
        return self._open[0]

    def domain(self) -> Domain:
        """What signatures for this contract are good for; from the settings alone."""
        return Domain(self._settings.chain_id, self._settings.contract)

    def close(self) -> None:
        """Let go of the connection."""
        if self._open is not None:
            self._open[1].close()
        self._open = None
