"""Start a site's guard in the foreground, and end it cleanly."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from eth_account import Account

from wardround.chain.errors import ChainUnreachable
from wardround.host.log import configure
from wardround.protocol.errors import WardroundError
from wardround.protocol.identifiers import SiteAddress
from wardround_client.errors import RefusedForNow
from wardround_client.guard.guard import Guard
from wardround_client.guard.log import Now
from wardround_client.guard.server import GuardServer
from wardround_client.home import Home
from wardround_client.keystore import open_keystore
from wardround_client.trainer.start import start_trainer

#: Prints a line.
Print = Callable[[str], None]


def run_guard(folder: Path, password: str, now: Now, inform: Print, warn: Print) -> None:
    """Guard a site until SIGTERM or Ctrl-C.

    Args:
        folder: the site's home.
        password: of its keystore.
        now: seconds since 1970.
        inform: prints when it is ready, and when it has stopped.
        warn: prints what will be refused until it is repaired.
    Raises:
        SpecificationError: not a site's home, others can enter it, or ``site.toml`` cannot be used.
        KeystoreError: the key cannot be read.
        LogError: the log is missing, damaged or in use.
        ChainError: an endpoint serves another chain than ``site.toml`` names.
    """
    home = Home(folder)
    events = configure(home.folder, "guard")

    def note(words: str) -> None:
        inform(words)
        events.info(words)

    def caution(words: str) -> None:
        warn(words)
        events.warning(words)

    try:
        _guard(home, password, now, note, caution, events.warning)
    except WardroundError as error:
        events.error(error)
        raise


def _guard(home: Home, password: str, now: Now, inform: Print, warn: Print, tell: Print) -> None:
    key = open_keystore(home.keystore(home.settings()), password)
    policy = home.settings_in_force(SiteAddress(Account.from_key(key).address)).policy
    trainer = start_trainer(home, policy, tell)
    try:
        guard = Guard(home, key, now, trainer)
    except WardroundError:
        trainer.close()
        raise
    try:
        try:
            guard.check_chain()
        except ChainUnreachable as error:
            warn(f"{error}")
        try:
            guard.check_table()
        except RefusedForNow as error:
            warn(f"{error}")
        for line in guard.check_policy():
            warn(f"{line} once you approve it with `wardround site policy`")
        server = GuardServer(guard)
        before = {one: signal.signal(one, lambda *_: server.stop()) for one in _ENDING}
        try:
            guard.note("started", name=guard.name)
            inform(f"guard of {guard.name} ({guard.address}) listens at {home.socket}")
            server.serve()
            guard.note("stopped")
            inform("guard stopped")
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
    finally:
        guard.close()


_ENDING = (signal.SIGTERM, signal.SIGINT)
