"""The commands of self-observation with their options and help: ``watch``, ``topology analyse``, ``proposals simulate``.

Added to the command line by main.py. What they do is in watch.py and analysis.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.options import AsJson
from runtime.cli.topology_commands import Id, proposals_app, topology_app

watch_app = typer.Typer(rich_markup_mode=None)


@watch_app.command()
def watch(
    for_s: Annotated[float | None, typer.Option("--for", min=0.1, help="End after so many seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch the network live. Nodes, patterns, proposals, rates, cost; keys approve and reject. Needs the operator key.

    \b
      morphogen watch
      morphogen watch --json --for 60 | jq 'select(.kind == "proposal")'
    Into a pipe it prints a line an event.
    """
    from runtime.cli import watch as work

    work.run(as_json=as_json, for_s=for_s)


@topology_app.command("analyse")
def analyse(
    ask: Annotated[bool, typer.Option("--ask", help="Ask a model for recommendations as well; costs a call.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let the network analyse itself. Efficiency, what is wrong, what is proposed, what changes brought."""
    from runtime.cli import analysis

    analysis.show(ask=ask, as_json=as_json)


@proposals_app.command("simulate")
def simulate(proposal: Id, as_json: AsJson = False) -> None:
    """Show what a change would have done to the logged traffic of the last day."""
    from runtime.cli import analysis

    analysis.simulate(proposal, as_json=as_json)
