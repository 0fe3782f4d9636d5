"""Options that several commands have, with their help. Used by main.py and the modules of commands; imports no work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="morphogen.toml to read.")]
