"""The commands under ``morphogen escalations``, with their options and help. What they do is in escalations.py.

Added to the command line by main.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from runtime.cli.options import AsJson

escalations_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Questions that only a person can answer. See, answer and close them; needs the operator key.",
)
Name = Annotated[str, typer.Argument(metavar="ID", help="The escalation.")]
Comment = Annotated[str, typer.Option(help="For the record.")]


@escalations_app.command("list")
def list_(
    state: Annotated[Literal["open", "answered", "closed", "any"], typer.Option(help="Which ones.")] = "open",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the questions, newest first."""
    from runtime.cli import escalations

    escalations.listed(state, limit=limit, as_json=as_json)


@escalations_app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show one question. The request, what was made of it, and why that is not enough."""
    from runtime.cli import escalations

    escalations.show(name, as_json=as_json)


@escalations_app.command()
def answer(
    name: Name,
    value: Annotated[str, typer.Argument(metavar="ANSWER", help="JSON where data is asked for, else words; @FILE, - for stdin.")],
    comment: Comment = "",
    force: Annotated[bool, typer.Option("--force", help="Take it although it breaks the request's form or constraints.")] = False,
) -> None:
    """Answer the request in the machines' place. What is given must keep to the request's form and constraints.

    \b
      morphogen escalations answer esc-req_0198c0ffee… @answer.json --comment "asked the supplier"
    """
    from runtime.cli import escalations

    escalations.answer(name, value, comment=comment, force=force)


@escalations_app.command()
def close(name: Name, comment: Comment = "") -> None:
    """End the question without an answer."""
    from runtime.cli import escalations

    escalations.close(name, comment=comment)
