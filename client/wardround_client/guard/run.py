"""Start a site's guard in the foreground, and end it cleanly."""

from __future__ import annotations

import ctypes
import resource
import signal
from collections.abc import Callable
from pathlib import Path

from wardround.chain.errors import ChainUnreachable
from wardround.host.log import configure
from wardround.protocol.errors import WardroundError
from wardround_client.guard.errors import TableUnusable
from wardround_client.guard.guard import Guard
from wardround_client.guard.log import GuardLog, Now
from wardround_client.guard.server import GuardServer
from wardround_client.home import Home
from wardround_client.keystore import keystore_address, open_keystore
from wardround_client.settings import HomeSettings

_PR_SET_DUMPABLE = 4

#: Told what happens, a line at a time.
Say = Callable[[str], None]


def run_guard(folder: Path, password: str, now: Now, say: Say, warn: Say) -> None:
    """Guard a site until SIGTERM or Ctrl-C.

    Args:
        folder: the site's home.
        password: of its keystore.
        now: seconds since 1970.
        say: told when it is ready, and when it has stopped.
        warn: told what will be refused until it is mended.
    Raises:
        HomeInvalid: not a site's home, or others can enter it.
        SpecificationError: ``site.toml`` cannot be used.
        KeystoreError: the key cannot be read.
        LogError: the log is missing, damaged or in use.
        WrongChain: an endpoint serves another chain than ``site.toml`` names.
    """
    keep_memory_private()
    home = Home(folder)
    settings = home.settings()
    events = configure(home.folder, "guard")

    def note(words: str) -> None:
        say(words)
        events.info(words)

    def caution(words: str) -> None:
        warn(words)
        events.warning(words)

    try:
        _guard(home, settings, password, now, note, caution)
    except WardroundError as error:
        events.error(error)
        raise


def _guard(
    home: Home, settings: HomeSettings, password: str, now: Now, say: Say, warn: Say
) -> None:
    keystore = home.keystore(settings)
    address = keystore_address(keystore)
    log = GuardLog(home.log, now)
    guard = Guard(home, settings, address, open_keystore(keystore, password), log)
    try:
        try:
            guard.check_chain()
        except ChainUnreachable as error:
            warn(f"{error}")
        try:
            guard.check_table()
        except TableUnusable as error:
            warn(f"{error}")
        server = GuardServer(guard, home)
        before = {one: signal.signal(one, lambda *_: server.stop()) for one in _ENDING}
        try:
            guard.note("started", name=settings.site.name)
            say(f"guard of {settings.site.name} ({address}) listens at {home.socket}")
            server.serve()
            guard.note("stopped")
            say("guard stopped")
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)
    finally:
        guard.close()


def keep_memory_private() -> None:
    """Let no other process of the same user read this one's memory, nor a crash write it down.

    Without the kernel's help (it is Linux that has it) the site's key is only as safe as the
    user that runs the guard.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


_ENDING = (signal.SIGTERM, signal.SIGINT)
