"""The commands under ``morphogen registry``, with their options and help. What they do is in registry.py.

Added to the command line by main.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from runtime.cli.options import AsJson

registry_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="""The registry of code and prompts. Find, read, review and move them; needs the operator key.

    \b
    REF is NAME, NAME@1.2.3, NAME@latest, NAME@champion or NAME@challenger.""",
)
Ref = Annotated[str, typer.Argument(metavar="REF", help="An artifact or one of its versions.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept in the log.")]
Improvement = Annotated[list[str] | None, typer.Option(help="What was improved; may be given several times.")]
Cases = Annotated[Path | None, typer.Option(help='JSON: [{"inputs": …, "expected": …}]; code needs at least one.')]
Draft = Annotated[bool, typer.Option(help="Keep it without publishing it.")]
Kind = Literal["generator", "validator", "router", "adapter", "prompt", "standard"]


@registry_app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words, a problem, or @FILE with code.")],
    by: Annotated[Literal["text", "code", "problem"], typer.Option(help="What the words are.")] = "text",
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    state: Annotated[
        Literal["draft", "published", "deprecated", "archived", "any"], typer.Option(help="Only versions in this state.")
    ] = "published",
    author: Annotated[str | None, typer.Option(help="Only what this node wrote.")] = None,
    locale: Annotated[str | None, typer.Option(help="Only of this locale.")] = None,
    min_quality: Annotated[float | None, typer.Option(min=0, max=1, help="Only what proved at least this good.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=50, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Find artifacts, the best first. By words and by meaning.

    \b
      morphogen registry search "list of dates between two days" --kind generator
    """
    from runtime.cli import registry

    filters = {"by": by, "kind": kind, "state": state, "author": author, "locale": locale, "min_quality": min_quality}
    registry.search(words, filters, limit=limit, as_json=as_json)


@registry_app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List the artifacts by name."""
    from runtime.cli import registry

    registry.list_all(kind, limit=limit, as_json=as_json)


@registry_app.command()
def show(ref: Ref, as_json: AsJson = False) -> None:
    """Show one version. Its content, how it stands, what it did, its reviews, and its artifact's other versions."""
    from runtime.cli import registry

    registry.show(ref, as_json=as_json)


@registry_app.command()
def publish(
    name: Annotated[str, typer.Argument(help="Its name: a-z, 0-9, '.', '_' and '-'.")],
    file: Annotated[Path, typer.Argument(help="The file with its content.")],
    kind: Annotated[Kind, typer.Option(help="What it is.")],
    problem: Annotated[str, typer.Option(help="What it solves, in a sentence.")],
    parent: Annotated[
        list[str] | None, typer.Option(metavar="VERSION", help="NAME@1.2.3 that it was made of; several are a synthesis.")
    ] = None,
    improvement: Improvement = None,
    cases: Cases = None,
    draft: Draft = False,
    as_json: AsJson = False,
) -> None:
    """Check and publish a new version, or keep it as a draft.

    \b
      morphogen registry publish dates dates.py --kind generator --problem "dates between two days" --cases cases.json
    """
    from runtime.cli import registry

    more = {"problem": problem, "parents": parent or [], "improvements": improvement or [], "draft": draft}
    registry.publish(name, file, {"kind": kind, **more}, cases, as_json=as_json)


@registry_app.command()
def log(ref: Ref, as_json: AsJson = False) -> None:
    """Show what happened to an artifact, the newest first."""
    from runtime.cli import registry

    registry.log(ref, as_json=as_json)


@registry_app.command()
def diff(
    old: Annotated[str, typer.Argument(metavar="REF", help="The older version.")],
    new: Annotated[str, typer.Argument(metavar="REF", help="The newer version.")],
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions."""
    from runtime.cli import registry

    registry.diff(old, new, as_json=as_json)


@registry_app.command()
def lineage(ref: Ref, as_json: AsJson = False) -> None:
    """Draw what a version descends from, and what descends from it."""
    from runtime.cli import registry

    registry.lineage(ref, as_json=as_json)


@registry_app.command()
def fork(
    ref: Ref,
    name: Annotated[str, typer.Argument(help="The fork's name.")],
    file: Annotated[Path | None, typer.Option(help="Its content, where it differs.")] = None,
    improvement: Improvement = None,
    cases: Cases = None,
    draft: Draft = False,
    as_json: AsJson = False,
) -> None:
    """Make an artifact that descends from this version."""
    from runtime.cli import registry

    registry.fork(ref, name, file, improvement or [], cases, draft=draft, as_json=as_json)


@registry_app.command()
def review(
    ref: Ref,
    role: Annotated[Literal["quality", "security", "performance"], typer.Option(help="What was looked at.")],
    opinion: Annotated[Literal["accept", "revise", "reject"], typer.Option(help="What should become of it.")],
    score: Annotated[float, typer.Option(min=0, max=1, help="How good it is.")],
    secure: Annotated[bool | None, typer.Option("--secure/--insecure", help="The security check's result.")] = None,
    change: Annotated[list[str] | None, typer.Option(help="A required change; may be given several times.")] = None,
    as_json: AsJson = False,
) -> None:
    """Review a version. Says what is decided with it.

    \b
      morphogen registry review dates@1.0.0 --role quality --opinion accept --score 0.9
    """
    from runtime.cli import registry

    body = {"role": role, "opinion": opinion, "score": score, "secure": secure, "required_changes": change or []}
    registry.review(ref, body, as_json=as_json)


@registry_app.command()
def star(ref: Ref, as_json: AsJson = False) -> None:
    """Star a version. Refused where nobody but its author has measurably used it."""
    from runtime.cli import registry

    registry.star(ref, as_json=as_json)


@registry_app.command()
def deprecate(
    ref: Ref,
    reason: Reason = "",
    successor: Annotated[str | None, typer.Option(metavar="REF", help="Who takes over.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take a version, or all of an artifact, out of use. restore takes it back."""
    from runtime.cli import registry

    registry.move(ref, {"to": "deprecated", "reason": reason, "successor": successor}, as_json=as_json)


@registry_app.command()
def archive(ref: Ref, reason: Reason = "", as_json: AsJson = False) -> None:
    """Put a version, or all of an artifact, away."""
    from runtime.cli import registry

    registry.move(ref, {"to": "archived", "reason": reason}, as_json=as_json)


@registry_app.command()
def restore(
    ref: Annotated[str | None, typer.Argument(metavar="REF", help="An artifact or one of its versions.")] = None,
    snapshot: Annotated[str | None, typer.Option(help="Bring all states and aliases back to this snapshot instead.")] = None,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Take what was deprecated or archived back into use. With --snapshot, go back to a named moment."""
    from runtime.cli import registry

    registry.restore(ref, snapshot, reason=reason, as_json=as_json)


@registry_app.command()
def snapshot(
    name: Annotated[str | None, typer.Argument(help="A name for this moment; without it the snapshots are listed.")] = None,
    as_json: AsJson = False,
) -> None:
    """Name how things stand now, or list such names."""
    from runtime.cli import registry

    registry.snapshot(name, as_json=as_json)


@registry_app.command()
def alias(
    name: Annotated[str, typer.Argument(help="An artifact.")],
    which: Annotated[Literal["champion", "challenger"], typer.Argument(help="Which alias.")],
    number: Annotated[str | None, typer.Argument(help="A version number like 1.2.3; without it the alias is taken away.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let champion or challenger point at a published version."""
    from runtime.cli import registry

    registry.alias(name, which, number, as_json=as_json)


@registry_app.command()
def inspect(as_json: AsJson = False) -> None:
    """Print the repository report. Totals, most used, breakthroughs, quality trend, lineage, standards."""
    from runtime.cli import registry

    registry.inspect(as_json=as_json)


@registry_app.command()
def at(
    time: Annotated[str, typer.Argument(help="Unix seconds, or a date like 2026-11-23T10:00:00 (UTC).")],
    as_json: AsJson = False,
) -> None:
    """Show how every artifact stood at a time."""
    from runtime.cli import registry

    registry.at(time, as_json=as_json)
