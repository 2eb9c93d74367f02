"""The same worlds as the chain's tests have."""

from tests.chain.conftest import probe, probe_artifact, world

__all__ = ["probe", "probe_artifact", "world"]
