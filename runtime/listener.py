"""Where the daemon listens, bound before anything else starts.

Called by daemon.py. Knows nothing of HTTP.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from runtime.config import ServerSettings


class PortTaken(OSError):
    """Another process listens on ``server.port``."""


@contextlib.contextmanager
def listener(server: ServerSettings) -> Iterator[socket.socket]:
    """The listening socket, bound before anything else starts, so that a taken port is known at once."""
    host, port = server.host, server.port
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


def shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
