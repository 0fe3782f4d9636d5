"""The commands of self-observation with their options and help: ``topology analyse`` and ``proposals simulate``.

Added to the others of those names where it is imported, by main.py. What they do is in analysis.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.options import AsJson
from runtime.cli.topology_commands import Id, proposals_app, topology_app

__all__ = ("proposals_app", "topology_app")


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
