"""Several endpoints of one chain as one: the first that is well answers, until it is not.

An endpoint is left aside, and asked again later, when it does not answer, asks for patience,
answers nonsense, does not do what another one does, serves another chain, or lags: its head is
behind that of the best, or older. Requests stay with one endpoint as long as it is well. Another
one takes over only when it has reached the highest block that a caller was shown, so that the chain
never seems to go back: a count of transactions or a state from before would look like work undone.

Endpoints are trusted to tell the truth about the chain, like any single one.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from wardround.chain.blocks import Block, read_block
from wardround.chain.errors import (
    ChainBusy,
    ChainError,
    ChainUnreachable,
    RpcRefused,
    wrong_chain,
)
from wardround.chain.meaning import Meaning
from wardround.chain.portion import Portion
from wardround.chain.providers import provider_of
from wardround.chain.rpc import PATIENCE_SECONDS, Rpc, busy_pauses
from wardround.host.backoff import pauses

LAG_BLOCKS = 5
LAG_SECONDS = 120
CHECK_SECONDS = 15.0
#: The first pause before an endpoint is asked again; it doubles up to the last.
FIRST_ASIDE_SECONDS = 5.0
LAST_ASIDE_SECONDS = 300.0

_PROBE_SECONDS = 5.0
_ROUNDS = 5
_ROUND_PAUSE_SECONDS = 0.25
_ATTEMPTS = 2
_GWEI = 10**9
_NOT_PROBED = "not asked yet"
_SERVES = "serves chain "


@dataclass(frozen=True)
class ChainSettings:
    """What may follow an address after ``#``; see the attributes of `chain.Chain`."""

    confirmations: int = 0
    bump_seconds: float = 30.0
    max_fee_wei: int | None = None


def chain_unknown(url: str) -> ChainError:
    """An address that names no chain."""
    return ChainError(
        f"{url!r} is no chain's address: give http://, https://, ipc:// or, "
        "in the process that started it, embedded:NAME."
    )


def split_urls(url: str) -> list[str]:
    """The addresses of a list with commas between; a comma within an address stays."""
    return re.split(r"\s*,\s*(?=[a-z]+:)", url.strip())


def read_settings(text: str) -> ChainSettings:
    """Read what follows ``#``, such as ``confirmations=3&max_fee_gwei=40``.

    Raises:
        ChainError: an unknown name, one that comes twice, or no whole number.
    """
    found: dict[str, int] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        known = name in ("confirmations", "bump_seconds", "max_fee_gwei")
        least = 1 if name == "bump_seconds" else 0
        number = int(value) if re.fullmatch(r"[0-9]{1,9}", value) else -1
        if not known or name in found or number < least:
            raise ChainError(
                f"{part!r} is no setting of a chain: after # give confirmations=N, "
                "bump_seconds=N or max_fee_gwei=N, with & between."
            )
        found[name] = number
    fee = found.get("max_fee_gwei")
    return ChainSettings(
        found.get("confirmations", 0),
        float(found.get("bump_seconds", 30)),
        None if fee is None else fee * _GWEI,
    )


def _aside() -> Iterator[float]:
    return pauses(FIRST_ASIDE_SECONDS, LAST_ASIDE_SECONDS)


@dataclass
class _Candidate:
    url: str
    rpc: Rpc
    probe: Rpc
    reason: str | None = _NOT_PROBED
    again_at: float = 0.0
    pauses: Iterator[float] = field(default_factory=_aside)
    #: Until when it asks for patience; kept until it answers a request again.
    busy_until: float | None = None
    busy_pauses: Iterator[float] = field(default_factory=busy_pauses)

    @property
    def well(self) -> bool:
        return self.reason is None

    def may_be_asked(self, now: float) -> bool:
        return self.busy_until is None or self.busy_until <= now

    def has_answered(self) -> None:
        if self.busy_until is not None:
            self.busy_until, self.busy_pauses = None, busy_pauses()


class Endpoints(Rpc):
    """Requests to whichever endpoint is well.

    Attributes:
        chain_id: what each of them must serve.
    """

    def __init__(
        self,
        urls: Sequence[str],
        expected_chain_id: int | None,
        timeout_seconds: float,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        """Ask every endpoint once.

        Args:
            urls: in the order of preference.
            expected_chain_id: None for that of the first one that answers.
            timeout_seconds: how long an answer may take.
            patience_seconds: how long a request waits in all, where every endpoint asks for it.

        Raises:
            ChainError: an address is none of an endpoint; those that answer serve another chain.
            ChainUnreachable: none answers; gives the reason by address.
        """
        self._endpoints = [_endpoint(url, timeout_seconds) for url in urls]
        self._current = self._endpoints[0]
        #: The highest block that a caller was shown: none that is behind it may take over.
        self._highest = 0
        self._highest_lock = threading.Lock()
        self._lock = threading.RLock()
        self._next_check = 0.0
        self._expected = expected_chain_id
        super().__init__(
            self._current.rpc.provider, ",".join(urls), patience_seconds=patience_seconds
        )
        try:
            self._patiently(self._begin)
        except BaseException:
            self.close()
            raise

    @property
    def current(self) -> str:
        """The address of the endpoint that answers now."""
        return self._current.url

    @property
    def log_blocks(self) -> Portion:
        """How many blocks' logs the endpoint that answers now gives at once."""
        return self._current.rpc.log_blocks

    def aside(self) -> dict[str, str]:
        """Why endpoints are left aside, by address."""
        return {one.url: one.reason for one in self._endpoints if one.reason is not None}

    def __call__(self, method: str, *parameters: Any) -> Any:
        """Ask an endpoint that is well; another one when it fails.

        Raises:
            ChainBusy: those that would answer ask for more patience than there is.
            ChainUnreachable: none is well; gives the reason by address.
            RpcRefused: the node answers with an error.
        """
        found = self._patiently(partial(self._asked, lambda rpc: rpc(method, *parameters)))
        self._remember(method, parameters, found)
        return found

    def many(self, requests_: Sequence[tuple[str, tuple[Any, ...]]]) -> list[Any]:
        """Ask several things of one endpoint at once. See `Rpc.many`."""
        answers: list[Any] = self._patiently(partial(self._asked, lambda rpc: rpc.many(requests_)))
        for (method, parameters), found in zip(requests_, answers, strict=True):
            self._remember(method, parameters, found)
        return answers

    def close(self) -> None:
        """Let go of every connection."""
        for one in self._endpoints:
            one.rpc.close()
            one.probe.close()

    # ---------------------------------------------------------------- inside

    def _begin(self) -> None:
        for one in self._endpoints:
            # The first that answers sets the chain id; then all are probed together.
            if self._expected is None:
                self._look([one])
        self._look(self._endpoints)
        if not any(one.well for one in self._endpoints):
            raise self._none_left()

    def _asked(self, request: Callable[[Rpc], Any]) -> Any:
        self._check()
        # An endpoint may fail here and yet pass every probe: that must end, too.
        for _ in range(2 * len(self._endpoints)):
            endpoint = self._well()
            try:
                found = request(endpoint.rpc)
            except ChainUnreachable as error:
                self._leave(endpoint, error)
            except RpcRefused as error:
                if error.meaning is not Meaning.UNSERVED:
                    raise
                return self._elsewhere(endpoint, error, request)
            else:
                endpoint.has_answered()
                return found
        raise self._none_left()

    def _elsewhere(
        self, endpoint: _Candidate, error: RpcRefused, request: Callable[[Rpc], Any]
    ) -> Any:
        """Ask the others for what one does not do; where one does it, leave the first aside."""
        for other in self._endpoints:
            if other is endpoint or not other.well or not self._up_to_date(other):
                continue
            try:
                found = request(other.rpc)
            except ChainUnreachable as unreachable:
                self._leave(other, unreachable)
            except RpcRefused as refused:
                if refused.meaning is not Meaning.UNSERVED:
                    raise
            else:
                self._leave(endpoint, ChainUnreachable(endpoint.url, error.message))
                return found
        raise error

    def _remember(self, method: str, parameters: Sequence[Any], found: Any) -> None:
        number = None
        if method == "eth_blockNumber":
            number = found
        elif method == "eth_getBlockByNumber" and parameters[:1] == ("latest",) and found:
            number = found.get("number")
        elif method == "eth_getTransactionReceipt" and found:
            number = found.get("blockNumber")
        if isinstance(number, str):
            with self._highest_lock:
                self._highest = max(self._highest, int(number, 16))

    def _check(self) -> None:
        """Look at all endpoints from time to time, also at those left aside."""
        if time.monotonic() < self._next_check or not self._lock.acquire(blocking=False):
            return
        try:
            now = time.monotonic()
            self._look([one for one in self._endpoints if one.well or now >= one.again_at])
        finally:
            self._lock.release()

    def _well(self) -> _Candidate:
        with self._lock:
            if self._current.well:
                return self._current
            for turn in range(_ROUNDS):
                for one in self._endpoints:
                    if one.well and self._up_to_date(one):
                        self._current, self.provider = one, one.rpc.provider
                        return one
                now = time.monotonic()
                if not any(one.may_be_asked(now) for one in self._endpoints):
                    break
                # None is well: probe all again, however recently they failed.
                time.sleep(turn * _ROUND_PAUSE_SECONDS)
                self._look(self._endpoints)
            raise self._none_left()

    def _up_to_date(self, endpoint: _Candidate) -> bool:
        head = self._probe(endpoint)
        if isinstance(head, ChainUnreachable):
            self._leave(endpoint, head)
            return False
        if head.number < self._highest:
            self._leave(endpoint, self._behind(endpoint, head))
            return False
        return True

    def _behind(self, endpoint: _Candidate, head: Block) -> ChainUnreachable:
        reason = f"is at block {head.number}, not yet {self._highest}"
        return ChainUnreachable(endpoint.url, reason)

    def _look(self, endpoints: Sequence[_Candidate]) -> None:
        """Probe endpoints together, and sort out those that fail or lag."""
        now = time.monotonic()
        asked = [one for one in endpoints if one.may_be_asked(now)]
        heads: list[tuple[_Candidate, Block]] = []
        trusted = self._current if self._current.well else None
        with ThreadPoolExecutor(len(self._endpoints)) as pool:
            for one, found in zip(asked, pool.map(self._probe, asked), strict=True):
                if isinstance(found, ChainUnreachable):
                    self._leave(one, found)
                else:
                    heads.append((one, found))
        best = max((head.number for _, head in heads), default=0)
        newest = max((head.timestamp for _, head in heads), default=0)
        for one, head in heads:
            if best - head.number > LAG_BLOCKS:
                reason = f"is at block {head.number} while another is at {best}"
                self._leave(one, ChainUnreachable(one.url, reason))
            elif newest - head.timestamp > LAG_SECONDS:
                reason = f"its head is {newest - head.timestamp} s older than another's"
                self._leave(one, ChainUnreachable(one.url, reason))
            elif one is not trusted and head.number < self._highest:
                self._leave(one, self._behind(one, head))
            else:
                one.reason, one.pauses = None, _aside()
        self._next_check = time.monotonic() + CHECK_SECONDS

    def _probe(self, endpoint: _Candidate) -> Block | ChainUnreachable:
        """Ask an endpoint for its head; or give the reason why it is not well."""
        try:
            chain_id = int(endpoint.probe("eth_chainId"), 16)
            if self._expected is None:
                self._expected = chain_id
            elif chain_id != self._expected:
                return ChainUnreachable(endpoint.url, f"{_SERVES}{chain_id}")
            return read_block(endpoint.probe("eth_getBlockByNumber", "latest", False))
        except ChainUnreachable as error:
            return error
        except RpcRefused as error:
            return ChainUnreachable(endpoint.url, error.message)
        except (TypeError, ValueError, AttributeError):
            return ChainUnreachable(endpoint.url, "it does not speak Ethereum")

    def _leave(self, endpoint: _Candidate, error: ChainUnreachable) -> None:
        with self._lock:
            now = time.monotonic()
            endpoint.reason = error.reason
            if isinstance(error, ChainBusy):
                wait = error.wait_seconds or next(endpoint.busy_pauses)
                endpoint.busy_until = endpoint.again_at = now + wait
            else:
                endpoint.busy_until = None
                endpoint.again_at = now + next(endpoint.pauses)

    def _none_left(self) -> ChainError:
        wrong = [one for one in self._endpoints if (one.reason or "").startswith(_SERVES)]
        if len(wrong) == len(self._endpoints) and self._expected is not None:
            actual = int((wrong[0].reason or "").removeprefix(_SERVES))
            return wrong_chain(self.url, self._expected, actual)
        reasons = "; ".join(f"{url}: {reason}" for url, reason in self.aside().items())
        now = time.monotonic()
        busy = [one.busy_until - now for one in self._endpoints if one.busy_until is not None]
        if busy and not any(one.well for one in self._endpoints):
            return ChainBusy(self.url, reasons, max(0.0, min(busy)) or None)
        return ChainUnreachable(self.url, reasons)


def _endpoint(url: str, timeout_seconds: float) -> _Candidate:
    answering = provider_of(url, timeout_seconds)
    probing = provider_of(url, min(timeout_seconds, _PROBE_SECONDS))
    if answering is None or probing is None:
        raise chain_unknown(url)
    # Few attempts and no patience: there are others to fall back to.
    answers, probes = (Rpc(one, url, _ATTEMPTS, 0) for one in (answering, probing))
    return _Candidate(url, answers, probes)
