"""Where the daemon listens, bound before anything else starts.

Called by daemon.py. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from runtime.config.settings import ServerSettings


class PortTaken(OSError):
    """Another process listens on ``server.port``."""


@contextlib.contextmanager
def listener(server: ServerSettings, left: socket.socket | None = None) -> Iterator[socket.socket]:
    """The listening socket, bound before anything else starts, so that a taken port is known at once. ``left`` is one that this
    process listened at before; it is used where the settings still say the same place."""
    host, port = server.host, server.port
    if left is not None and _stands(left, host, port):
        with contextlib.closing(left):
            yield left
        return
    if left is not None:
        left.close()
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, proto)
    except OSError as error:
        raise PortTaken(f"server.host: cannot listen on {host!r}: {error.strerror or error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(address)
            listening.listen(2048)
        except OSError as error:
            raise PortTaken(
                f"server.port: {host}:{port} cannot be used ({error.strerror}); another daemon may listen there. "
                "Set server.port or --port, or stop it."
            ) from error
        yield listening
    finally:
        listening.close()


def _stands(left: socket.socket, host: str, port: int) -> bool:
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
        return port == 0 or left.getsockname() == address
    except OSError:
        return False


def shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
