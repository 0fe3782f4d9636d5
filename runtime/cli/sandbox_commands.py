"""The commands under ``morphogen sandbox``, their options and their help. What they do is in sandbox.py.

That is imported when one runs, so that help is there at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from runtime.cli.options import AsJson, ConfigFile

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Run code in the sandbox. No daemon is needed.")


@app.command("run")
def run_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Python that defines run(inputs); - reads it from stdin.")],
    inputs: Annotated[str, typer.Option(metavar="JSON", help="What run gets: JSON, @FILE, or - for stdin.")] = "null",
    limits: Annotated[str | None, typer.Option(metavar="JSON", help='As {"wall_s": 2, "memory_bytes": 67108864}.')] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run one file and print the result as JSON. What it printed goes to stderr; exit 1 when there is no result.

    \b
      morphogen sandbox run sum.py --inputs '{"values": [1, 2, 3]}'
    """
    from runtime.cli import sandbox as work

    work.run_file(file, inputs, limits, config, as_json=as_json)


@app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Python that defines run(inputs).")],
    cases: Annotated[str, typer.Argument(metavar="CASES", help='List of {"inputs", "expected"?, "name"?}: JSON, @FILE or -.')],
    limits: Annotated[str | None, typer.Option(metavar="JSON", help="Limits of each run.")] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Run one file on a list of cases. Each in a fresh process; exit 1 when one of them fails.

    \b
      morphogen sandbox check sum.py '[{"inputs": {"values": [1, 2, 3]}, "expected": 6}]'
    """
    from runtime.cli import sandbox as work

    work.check_file(file, cases, limits, config, as_json=as_json)


@app.command("probe")
def probe_command(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Show which layers of the lock-down hold on this machine. Exit 1 where the sandbox refuses to run code."""
    from runtime.cli import sandbox as work

    work.show_probe(config, as_json=as_json)
