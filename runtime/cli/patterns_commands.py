"""The commands under ``morphogen patterns``, with their options and help. What they do is in patterns.py.

Added to the command line by main.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.options import AsJson

patterns_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Recurring kinds of requests. Needs the operator key."
)


@patterns_app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="Only these: found, candidate, dormant or merged.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=2_000, help="How many.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List the patterns, the largest share first. Trend: how much more or less of the newest requests."""
    from runtime.cli import patterns

    patterns.list_(state=state, limit=limit, as_json=as_json)


@patterns_app.command()
def show(
    pattern: Annotated[str, typer.Argument(metavar="ID", help="The pattern, as in p12.")],
    examples: Annotated[int, typer.Option(min=0, max=100, help="How many of its requests.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show one pattern with requests that are typical of it.

    \b
      morphogen patterns show p12
    """
    from runtime.cli import patterns

    patterns.show(pattern, examples=examples, as_json=as_json)
