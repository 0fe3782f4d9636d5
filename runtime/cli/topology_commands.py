"""The commands under ``morphogen topology`` and ``morphogen proposals``, with their options and help.

Added to the command line by main.py. What they do is in topology.py and proposals.py.
"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from runtime.cli.options import AsJson

topology_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The network's shape. See it, its history, and why a node is there; go back. Needs the operator key.",
)
proposals_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Proposed changes of the shape. See, make and decide them; needs the operator key.",
)
Id = Annotated[str, typer.Argument(metavar="ID", help="The proposal; the end of its id is enough.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="For the record.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")]


@topology_app.command("show")
def show(
    revision: Annotated[int | None, typer.Argument(min=0, help="The shape then; now where none is given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which nodes there should be, and how they stand."""
    from runtime.cli import topology

    topology.show(revision, as_json=as_json)


@topology_app.command("log")
def log(limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the revisions, newest first. What changed, why, and by whose word."""
    from runtime.cli import topology

    topology.log(limit=limit, as_json=as_json)


@topology_app.command("diff")
def diff(
    one: Annotated[int, typer.Argument(metavar="FROM", min=0)],
    other: Annotated[int, typer.Argument(metavar="TO", min=0)],
    as_json: AsJson = False,
) -> None:
    """Show what changed between two revisions."""
    from runtime.cli import topology

    topology.diff(one, other, as_json=as_json)


@topology_app.command("explain")
def explain(node: Annotated[str, typer.Argument(help="Its name or id.")], as_json: AsJson = False) -> None:
    """Say why a node is there. The proposal that it came from, with its evidence, and what became of it since."""
    from runtime.cli import topology

    topology.explain(node, as_json=as_json)


@topology_app.command("rollback")
def rollback(
    revision: Annotated[int, typer.Argument(min=0, help="The shape to go back to.")],
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Go back to an earlier shape. It is a change like any other: carried out step by step, and watched.

    \b
      morphogen topology rollback 12 --reason "the merge was no good"
    """
    from runtime.cli import topology

    topology.rollback(revision, reason=reason, yes=yes, as_json=as_json)


Status = Literal[
    "proposed",
    "approved",
    "rejected",
    "snoozed",
    "expired",
    "superseded",
    "applying",
    "verifying",
    "kept",
    "rolling_back",
    "rolled_back",
    "stuck",
    "any",
]


@proposals_app.command("list")
def list_(
    status: Annotated[Status, typer.Option(help="Which ones.")] = "any", limit: Limit = 20, as_json: AsJson = False
) -> None:
    """List proposals, newest first."""
    from runtime.cli import proposals

    proposals.listed(None if status == "any" else status, limit=limit, as_json=as_json)


@proposals_app.command("show")
def show_proposal(name: Id, as_json: AsJson = False) -> None:
    """Show one proposal. Its evidence, its steps, what it predicts, what was measured, and who decided what."""
    from runtime.cli import proposals

    proposals.show(name, as_json=as_json)


@proposals_app.command()
def approve(
    name: Id,
    digest: Annotated[str | None, typer.Option("--hash", help="Of what you saw; else of what it is now.")] = None,
    comment: Annotated[str, typer.Option(help="For the record.")] = "",
) -> None:
    """Let it be carried out. Once, and only as it is now."""
    from runtime.cli import proposals

    proposals.approve(name, digest=digest, comment=comment)


@proposals_app.command()
def reject(
    name: Id, reason: Annotated[str, typer.Option("--reason", "-r", help="Why; the rules hold back.", prompt=True)]
) -> None:
    """Say no. The rules do not propose it again for a while."""
    from runtime.cli import proposals

    proposals.word(name, "reject", {"reason": reason})


@proposals_app.command()
def snooze(
    name: Id, hours: Annotated[float, typer.Option("--hours", min=0.01, max=2160, help="Until it comes back.")] = 24.0
) -> None:
    """Not now. It comes back later."""
    from runtime.cli import proposals

    proposals.word(name, "snooze", {"for_s": hours * 3600})


@proposals_app.command()
def undo(name: Id, reason: Reason = "") -> None:
    """Take back a change on probation, or an approval that still waits. Or try again where taking it back got stuck."""
    from runtime.cli import proposals

    proposals.word(name, "undo", {"reason": reason})


@proposals_app.command()
def settle(name: Id, reason: Annotated[str, typer.Option("--reason", "-r", help="How.", prompt=True)]) -> None:
    """Say that a stuck change is dealt with."""
    from runtime.cli import proposals

    proposals.word(name, "settle", {"reason": reason})


@proposals_app.command("new")
def new(
    kind: Annotated[
        Literal["spawn", "split", "park", "wake", "prune", "merge", "recover", "rewire", "pool", "adopt_router", "tune"],
        typer.Argument(help="What is to change."),
    ],
    node: Annotated[str | None, typer.Argument(help="The node, by name; for spawn the new one's, for pool the pool's.")] = None,
    into: Annotated[str | None, typer.Option(help="merge: NODE goes, this one takes over.")] = None,
    child: Annotated[
        list[str] | None, typer.Option(help="split: a new node below NODE as name=what it is good at; may be repeated.")
    ] = None,
    speciality: Annotated[str | None, typer.Option(help="spawn, recover, rewire: what it is good at.")] = None,
    prompt: Annotated[str | None, typer.Option(help="spawn, recover, rewire: its system prompt.")] = None,
    role: Annotated[str | None, typer.Option(help="spawn: specialist where nothing is said.")] = None,
    parent: Annotated[str | None, typer.Option(help="spawn: the node that it descends from.")] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="spawn, recover, rewire: one that it prefers; may be repeated.")
    ] = None,
    pattern: Annotated[
        list[str] | None, typer.Option(help="spawn: an id of morphogen patterns list that it is for; may be repeated.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=0, max=64, help="pool: how many are kept ready.")] = None,
    version: Annotated[str | None, typer.Option(help="adopt_router: the version in the registry.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="tune: a setting of routing as name=value; may be repeated; none: back to the file.")
    ] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Propose a change by hand. It goes the way of every proposal: policy, steps, probation.

    \b
      morphogen proposals new spawn legal --speciality "contracts" --prompt "You know contract law."
      morphogen proposals new park legal
    """
    from runtime.cli import proposals

    given = {
        "children": proposals.children(child) if child else None,
        "speciality": speciality,
        "prompt": prompt,
        "role": role,
        "parent": parent,
        "backends": backend or None,
        "patterns": pattern or None,
        "size": size,
        "version": version,
        "settings": setting or None,
        "reason": reason,
    }
    proposals.new(kind, node, into, given, as_json=as_json)
