"""The one error of the command line. Raised by its modules, printed by main.py; imports nothing."""

from __future__ import annotations


class CliError(Exception):
    """What went wrong and, where there is something to do, ``hint``.

    ``exit_code`` ends the process: 1 for what failed, 2 for wrong usage, 3 for a daemon that is not there. ``status`` is the HTTP
    status where a daemon said it. An empty message says nothing: all was printed already.
    """

    def __init__(self, message: str, *, hint: str = "", exit_code: int = 1, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.status = status
