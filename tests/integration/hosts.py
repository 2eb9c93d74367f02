"""Hosts with addresses, ports and cables of their own: network namespaces of Linux, and a router.

A cut between two of them is silence: packets vanish at the router, and neither side is notified, as
when a firewall or a cable fails somewhere in between. A connection that a process closes, or that
a proxy cuts, is noticed at once instead.

    host ── router ── host
              │
             host
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType

#: Inside namespaces that are made here, so nothing of this machine's own networks is meant.
_NETWORK = "10.77"


class Internet:
    """A router and the hosts around it; use it in a ``with``, which removes everything."""

    def __init__(self, names: Sequence[str]) -> None:
        """Choose names.

        Args:
            names: of the hosts.
        """
        self.name = f"wr{os.getpid()}"
        self._router = self._namespace("router")
        self._names = tuple(names)
        self._made: list[str] = []

    def __enter__(self) -> Internet:
        """Make the hosts, each reachable from every other one."""
        try:
            self._add(self._router)
            forward = "echo 1 > /proc/sys/net/ipv4/ip_forward"
            _run("ip", "netns", "exec", self._router, "sh", "-c", forward)
            for name in self._names:
                self._join(name)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the hosts; whatever still runs in them is its starter's to end."""
        self._remove()

    def address(self, name: str) -> str:
        """A host's address."""
        return f"{_NETWORK}.{self._names.index(name) + 1}.2"

    def on(self, name: str, command: Sequence[str]) -> list[str]:
        """A command as it is run on a host, in the place of this one and with the same number."""
        return ["ip", "netns", "exec", self._namespace(name), *command]

    def cut(self, one: str, other: str) -> None:
        """Let everything between two hosts vanish."""
        self._between("add", one, other)

    def mend(self, one: str, other: str) -> None:
        """Let packets through again."""
        self._between("del", one, other)

    def _between(self, verb: str, one: str, other: str) -> None:
        for source, target in ((one, other), (other, one)):
            addresses = ("from", self.address(source), "to", self.address(target))
            _run("ip", "-n", self._router, "rule", verb, *addresses, "blackhole")

    def _join(self, name: str) -> None:
        namespace, number = self._namespace(name), self._names.index(name) + 1
        self._add(namespace)
        near, far = f"to-{number}", f"{_NETWORK}.{number}.1"
        cable = ("type", "veth", "peer", "name", "eth0", "netns", namespace)
        _run("ip", "-n", self._router, "link", "add", near, *cable)
        _run("ip", "-n", self._router, "addr", "add", f"{far}/24", "dev", near)
        _run("ip", "-n", self._router, "link", "set", near, "up")
        _run("ip", "-n", namespace, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
        _run("ip", "-n", namespace, "link", "set", "eth0", "up")
        _run("ip", "-n", namespace, "route", "add", "default", "via", far)

    def _namespace(self, name: str) -> str:
        return f"{self.name}-{name}"

    def _add(self, namespace: str) -> None:
        _run("ip", "netns", "add", namespace)
        self._made.append(namespace)
        _run("ip", "-n", namespace, "link", "set", "lo", "up")

    def _remove(self) -> None:
        while self._made:
            _run("ip", "netns", "del", self._made.pop())


def why_not() -> str | None:
    """Return why there can be no hosts on this machine; None when there can."""
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    if shutil.which("ip") is None:
        return "there is no `ip`: install iproute2"
    try:
        with Internet(["one", "two"]) as internet:
            internet.cut("one", "two")
            internet.mend("one", "two")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {error.stderr.strip()}"
    return None


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
