"""Whether a client lets the library answer: its ``Cache-Control``, and the ``cache`` of its body. Pure.

Called by openai.py and native.py.
"""

from __future__ import annotations

import re

from starlette.requests import Request as HttpRequest

from runtime.library.looked import LibraryUse

_STALE = re.compile(r"max-age\s*=\s*0+")


def library_use(http: HttpRequest, cache: bool | None) -> LibraryUse:
    """``no-store`` stands above all, then ``cache`` false; ``no-cache`` and ``max-age=0`` want it solved anew, and kept."""
    said = [part.strip().lower() for part in http.headers.get("cache-control", "").split(",")]
    if "no-store" in said or cache is False:
        return "off"
    if "no-cache" in said or any(_STALE.fullmatch(part) for part in said):
        return "refresh"
    return "on" if cache else "default"
