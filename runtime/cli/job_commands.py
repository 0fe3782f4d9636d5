"""The commands for requests that are answered later, with their options and help. What they do is in jobs.py.

Added to the command line by main.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.options import AsJson

jobs_app = typer.Typer(rich_markup_mode=None)
AnId = Annotated[str, typer.Argument(metavar="ID", help="A request's id, or last.")]


@jobs_app.command()
def watch(
    request_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="A request's id, or last; none: the network.")] = None,
    for_s: Annotated[float | None, typer.Option("--for", min=0.1, help="The network: end after so many seconds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Watch the network live. Nodes, patterns, proposals, rates, cost; keys approve and reject. Or watch one request to its end.

    \b
      morphogen watch
      morphogen watch --json --for 60 | jq 'select(.kind == "proposal")'
      morphogen watch last                   a request; picks up where it was when the connection broke
    Into a pipe it prints a line an event. The network needs the operator key.
    """
    from runtime.cli import jobs
    from runtime.cli import watch as network

    if request_id is None:
        network.run(as_json=as_json, for_s=for_s)
    else:
        jobs.watch(request_id, as_json=as_json)


@jobs_app.command()
def result(request_id: AnId) -> None:
    """Print the items of a request, one line of JSON each.

    \b
      morphogen result last > customers.ndjson
    """
    from runtime.cli import jobs

    jobs.result(request_id)


@jobs_app.command()
def cancel(request_id: AnId, as_json: AsJson = False) -> None:
    """End a request handed in with --async. What is done of it stays."""
    from runtime.cli import jobs

    jobs.cancel(request_id, as_json=as_json)
