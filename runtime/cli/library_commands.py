"""The commands under ``morphogen library``, with their options and help. What they do is in library.py.

Added to the command line by main.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from runtime.cli.options import AsJson

library_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="What was solved before and may be given again.",
)
Tenant = Annotated[str | None, typer.Option(help="A key's id, or loopback.")]


@library_app.command()
def stats(as_json: AsJson = False) -> None:
    """Show how many solutions there are, how look-ups ended, and from which score on answers are given."""
    from runtime.cli import library

    library.stats(as_json=as_json)


@library_app.command()
def show(
    solution: Annotated[str | None, typer.Argument(help="A solution's id; without it the newest are listed.")] = None,
    tenant: Tenant = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show one solution with its answer and checks, or list the newest."""
    from runtime.cli import library

    library.show(solution, tenant=tenant, limit=limit, as_json=as_json)


@library_app.command()
def purge(
    solutions: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Solutions.")] = None,
    tenant: Tenant = None,
    older_than_days: Annotated[float | None, typer.Option(min=0, help="All that are older.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget solutions: those named, those of a tenant, or those older than so many days."""
    from runtime.cli import library

    library.purge(solutions or [], tenant=tenant, older_than_days=older_than_days, yes=yes, as_json=as_json)


@library_app.command("dry-run")
def dry_run(
    words: Annotated[list[str], typer.Argument(help="What would be asked.")],
    shape: Annotated[str | None, typer.Option(metavar="JSON", help="The form of the answer: JSON, or @FILE.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many items.")] = None,
    strategy: Annotated[str | None, typer.Option(help="A strategy's name.")] = None,
    tenant: Tenant = None,
    as_json: AsJson = False,
) -> None:
    """Show what would come of a request now, without giving, counting or learning anything."""
    from runtime.cli import library

    form = None
    if shape is not None:
        try:
            form = json.loads(Path(shape[1:]).read_text(encoding="utf-8") if shape.startswith("@") else shape)
        except (OSError, ValueError) as error:
            raise typer.BadParameter(f"cannot be read as JSON: {error}", param_hint="--shape") from error
    body = {"prompt": " ".join(words), "shape": form, "count": count, "strategy": strategy, "tenant": tenant}
    library.dry_run({name: value for name, value in body.items() if value is not None}, as_json=as_json)
