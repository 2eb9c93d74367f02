"""What a lie is, and the dishonest study that it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from web3.providers import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from tests.lies.played import KeptInMemory, Played
from wardround.chain.chain import Chain
from wardround.chain.rpc import Rpc
from wardround.chain.ward_round import WardRound
from wardround.protocol.identifiers import StudyId


@dataclass(frozen=True)
class Named:
    """An audit that fails: the error's code, and words that its sentence has."""

    code: str
    words: str


@dataclass(frozen=True)
class Stated:
    """An audit that holds: the field is taken as it is stated, as docs/protocol.md lists it."""

    field: str


@dataclass(frozen=True)
class Dishonest:
    """A study with a lie in it.

    Attributes:
        chain: what a node answers.
        address: of the WardRound.
        store: the study's objects.
    """

    chain: Chain
    address: str
    study: StudyId
    store: KeptInMemory

    @classmethod
    def of(cls, played: Played, chain: Chain | None = None) -> Dishonest:
        """Take a played study, seen by another node where one is given."""
        return cls(chain or played.chain, played.address, played.study, played.store)

    @property
    def ward(self) -> WardRound:
        """The contract, whatever its code is."""
        return WardRound(self.chain, self.address)


@dataclass(frozen=True)
class Lie:
    """One lie.

    Attributes:
        field: which field of which schema it is about: ``manifest.base.root``.
        how: what became of the field.
        expected: what an audit makes of it.
        make: plays the dishonest study; takes about a tenth of a second.
    """

    field: str
    how: str
    expected: Named | Stated
    make: Callable[[], Dishonest]

    @property
    def name(self) -> str:
        """For people, and for a test's name."""
        return f"{self.field}: {self.how}"

    @contextmanager
    def study(self) -> Iterator[Dishonest]:
        """Play it, and forget its chain afterwards."""
        made = self.make()
        try:
            yield made
        finally:
            if hasattr(made.chain, "close"):
                made.chain.close()


#: What a lying node makes of an answer: method, parameters, the true result.
Answer = Callable[[str, Any, Any], Any]


class LyingProvider(BaseProvider):
    """A node that answers for a chain, and changes some of the answers."""

    def __init__(self, inner: BaseProvider, answer: Answer) -> None:
        super().__init__()
        self._inner, self._answer = inner, answer

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        response: Any = self._inner.make_request(method, params)
        if "result" in response:
            response = {**response, "result": self._answer(method, params, response["result"])}
        return response  # type: ignore[no-any-return]


def lying_node(played: Played, answer: Answer) -> Chain:
    """The study's chain as a lying node shows it."""
    return Chain(Rpc(LyingProvider(played.chain.provider, answer), "http://lying"))
