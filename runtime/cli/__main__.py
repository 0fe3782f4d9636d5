"""``python -m runtime.cli``: the same as the ``morphogen`` command, for where its script is not on the PATH."""

from __future__ import annotations

from runtime.cli.main import main

if __name__ == "__main__":
    main()
