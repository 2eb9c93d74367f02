"""The rules every party must agree on. Pure: no files, no sockets, no clock, no torch."""

import sys

import py_ecc  # noqa: F401 - the first import raises the limit, no later one does

#: Calls within calls. py_ecc, which eth-account brings, raises the limit to 100,000: JSON from
#: outside that is nested so deep would overflow C's stack and end the process. py-evm needs this.
RECURSION_MAX = 12 * 1024

sys.setrecursionlimit(min(sys.getrecursionlimit(), RECURSION_MAX))
