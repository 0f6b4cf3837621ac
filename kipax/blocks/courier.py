"""Courier as the carrier of a pool's messages: bytes in, bytes out, and time-outs on both.

What it needs to know of courier, all tried with dm-launchpad 0.5.2: a numpy array or scalar
as an argument hangs for ever, so only bytes go in; a default client waits for ever for a dead
peer, so every client here has a time-out and does not wait for a server to be ready; a server
handles all calls that arrive at once (tried with 600), independent of its ``thread_pool_size``, so
that idle workers whose requests wait do not delay the answers of others.

Courier listens on all interfaces, without authentication, and unpickles what arrives before
we see it: trusted networks only.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

from kipax.errors import PoolError, UsageError

__all__ = ["CLIENT_OPTIONS", "call_through", "check_installed", "connect", "split_address"]

# A message of the largest size takes some ten seconds on one machine.
CLIENT_OPTIONS = {"call_timeout": 60.0, "wait_for_ready": False}
_UNREACHABLE = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")


def check_installed() -> None:
    """Raises a `UsageError` that says what to install, where courier cannot be imported."""
    if importlib.util.find_spec("launchpad") is not None:
        return
    if sys.version_info[:2] == (3, 10):
        raise UsageError("Launchpad is missing: pip install 'kipax[launchpad]'.")
    raise UsageError(
        "Launchpad exists for Python 3.10 only; there: pip install 'kipax[launchpad]'. Here: "
        "--engine=ray with pip install 'kipax[ray]'."
    )


def split_address(address: str) -> tuple[str, int]:
    """Returns the host and port of ``HOST:PORT``; raises a `UsageError` for another form.

    Example:
        >>> split_address("head:7400")
        ('head', 7400)
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise UsageError(f"a server is HOST:PORT, as the server prints it; got {address!r}.")
    return host, int(port)


def connect(address: str) -> Callable[[bytes], bytes]:
    """Returns a function that sends a message to ``HOST:PORT`` and returns the reply.

    See `call_through`.

    Raises:
        UsageError: the address has another form, or this Python has no courier.
    """
    split_address(address)
    check_installed()
    import courier

    return call_through(courier.Client(address, **CLIENT_OPTIONS))


def call_through(client: Any) -> Callable[[bytes], bytes]:
    """Returns a function that carries a message through a courier client.

    It raises `ConnectionError` where the server is out of reach, and a `PoolError` where
    something other than a kipax server answers.
    """
    from courier.python.client import StatusNotOk

    def call(message: bytes) -> bytes:
        try:
            return client.handle(message)
        except StatusNotOk as error:
            code = getattr(error.code, "name", str(error.code))
            words = str(error).splitlines()[0] if str(error) else code
            if code in _UNREACHABLE:
                raise ConnectionError(words) from error
            raise PoolError(f"no server of kipax answers there: {words}") from error

    return call
