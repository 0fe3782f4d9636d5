"""``morphogen``: the commands, their options and their help. What they do is in the module named after each.

The console script's entry point. Imports the work of a command only when it runs, so that ``--help`` is there at once and a thin
client never loads the daemon.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from runtime.cli import sandbox_commands
from runtime.cli.errors import CliError
from runtime.cli.escalation_commands import escalations_app
from runtime.cli.job_commands import jobs_app
from runtime.cli.library_commands import library_app
from runtime.cli.observe_commands import proposals_app, topology_app
from runtime.cli.options import AsJson, ConfigFile
from runtime.cli.patterns_commands import patterns_app
from runtime.cli.registry_commands import registry_app
from runtime.cli.routes_commands import report_app, routes_app

app = typer.Typer(
    name="morphogen",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""A daemon that grows its own network of agents between your clients and your LLM backends.

    \b
    Start here:
      morphogen serve                        start the daemon (finds a model, or pretends with a simulated pool)
      morphogen ask "Why is the sky blue?"   ask it something
      morphogen trace last                   see how that answer came about
      morphogen demo                         watch the network at work, nothing to set up

    The commands talk to $MORPHOGEN_URL (http://127.0.0.1:5116 where it is not set). The operator key comes from $MORPHOGEN_KEY,
    or from the data folder of a daemon on this machine.""",
)
keys_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Make, list, limit and revoke keys. Needs the operator key."
)
config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Check, show, import, reload the configuration.")
app.add_typer(jobs_app)
_GROUPS = {
    "keys": keys_app, "config": config_app, "sandbox": sandbox_commands.app, "registry": registry_app,
    "library": library_app, "patterns": patterns_app, "escalations": escalations_app, "routes": routes_app,
    "topology": topology_app, "proposals": proposals_app,
}  # fmt: skip
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name)
app.add_typer(report_app)

UsdPerDay = Annotated[float | None, typer.Option(min=0, help="Most that it spends in a day (UTC), in USD.")]
TokensPerDay = Annotated[int | None, typer.Option(min=0, help="Most tokens that it takes in a day.")]


@app.command()
def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; anything but loopback needs keys.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the ledger and the operator key.")] = None,
    cluster: Annotated[
        Literal["ray", "local"] | None, typer.Option(help="Where nodes live: Ray actors, or inside the daemon.")
    ] = None,
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="How much to say.")] = "warning",
) -> None:
    """Start the daemon in the foreground. Ctrl-C drains and stops it, a second one stops it at once.

    \b
      morphogen serve                                  what is configured, else what this machine has
      MORPHOGEN_GGUF=model.gguf morphogen serve        a local model
      morphogen serve --config prod.toml --port 8080   flags win over the file
    """
    from runtime.cli import serve as work

    work.run(work.Flags(config=config, host=host, port=port, data_dir=data_dir, cluster=cluster, log_level=log_level))


@app.command()
def ask(
    prompt: Annotated[list[str] | None, typer.Argument(help="The question; - reads it from stdin.")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="auto, a backend, node/NAME or strategy/NAME.")] = "auto",
    shape: Annotated[str | None, typer.Option(help="The answer by example, or a JSON Schema: JSON or @FILE.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="How many items of the shape's list.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    strategy: Annotated[str | None, typer.Option(help="How to go about it: a name, JSON or @FILE.")] = None,
    later: Annotated[bool, typer.Option("--async", help="Only hand it in; prints an id that survives any restart.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a question. The answer streams to stdout; where it came from goes to stderr.

    \b
      morphogen ask "Name three rivers"
      morphogen ask --model strategy/pipeline "Plan a week of dinners"
      morphogen ask --shape '{"cities": [{"name": "string", "population": 0}]}' --count 5 "Cities by the sea"
      morphogen ask --strategy '{"pipeline": [{"single": {}}, {"single": {"tier": "premium"}}]}' "Plan a trip"
      morphogen ask --async --shape @customer.json --count 10000 "Customers of a bakery"
      git diff | morphogen ask - --system "Review this change"
    """
    from runtime.cli import ask as work

    if count is not None and shape is None:
        raise CliError("--count needs --shape: it says how many items the shape's list holds", exit_code=2)
    question = work.Question(
        prompt=work.read_prompt(prompt or []),
        model=model,
        shape=work.read_shape(shape),
        count=count,
        system=system,
        strategy=work.read_strategy(strategy),
        later=later,
    )
    work.run(question, as_json=as_json)


@app.command()
def nodes(as_json: AsJson = False) -> None:
    """Show the live nodes. Role, load, what they handled, restarts."""
    from runtime.cli import show

    show.nodes(as_json=as_json)


@app.command()
def backends(as_json: AsJson = False) -> None:
    """Show the backends. Model, breaker, load, price, and why it is these."""
    from runtime.cli import show

    show.backends(as_json=as_json)


@app.command()
def requests(
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="How many.")] = 20, as_json: AsJson = False
) -> None:
    """Show the newest requests. Who answered, how long it took, what it cost."""
    from runtime.cli import show

    show.requests(limit=limit, as_json=as_json)


@app.command()
def budget(as_json: AsJson = False) -> None:
    """Show today's budgets. Limit, spent, held by running calls, left; every key with the operator key.

    What simulated backends took is counted at their pretended prices; a line says so where there are any.
    """
    from runtime.cli import budget as work

    work.show(as_json=as_json)


@app.command()
def trace(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="A request's id, or last.")], as_json: AsJson = False
) -> None:
    """Tell how one answer came about. Node, strategy, every call, retries, stand-ins, cost.

    \b
      morphogen trace last
      morphogen trace req_0198c0ffee…      (from `morphogen requests`, or the x-morphogen-request-id header)
    """
    from runtime.cli import show

    show.trace(request_id, as_json=as_json)


@app.command()
def demo(
    keep_data: Annotated[bool, typer.Option(help="Keep the data folder and the daemon's log, and say where.")] = False,
) -> None:
    """Watch the network at work. An own daemon on a free port, real requests, a fault that heals; ends by itself."""
    from runtime.cli import demo as work

    work.run(keep_data=keep_data)


@app.command()
def doctor(
    config: ConfigFile = None,
    deep: Annotated[bool, typer.Option(help="Start Ray and load the embedding model too (slower).")] = False,
    as_json: AsJson = False,
) -> None:
    """Check this machine and say what to do. Python, port, Ray, disk, backends, models; exit 1 when something fails."""
    from runtime.cli import doctor as work

    work.run(config, deep=deep, as_json=as_json)


@app.command()
def version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    number = installed("morphogen")
    if as_json:
        from runtime.cli import tables

        tables.print_json({"version": number, "python": sys.version.split()[0]})
    else:
        typer.echo(f"morphogen {number}")


@keys_app.command("list")
def keys_list(as_json: AsJson = False) -> None:
    """List the keys, without their secrets."""
    from runtime.cli import keys

    keys.list_keys(as_json=as_json)


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[Literal["client", "operator"], typer.Option(help="operator may manage, client may ask.")] = "client",
    usd_per_day: UsdPerDay = None,
    tokens_per_day: TokensPerDay = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. Its secret is printed once.

    \b
      KEY=$(morphogen keys create laptop)
      KEY=$(morphogen keys create team-a --usd-per-day 5 --tokens-per-day 100000)
    """
    from runtime.cli import keys

    keys.create(name, scope, keys.Limits(usd_per_day=usd_per_day, tokens_per_day=tokens_per_day), as_json=as_json)


@keys_app.command("limit")
def keys_limit(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from keys list.")],
    usd_per_day: UsdPerDay = None,
    tokens_per_day: TokensPerDay = None,
    clear: Annotated[bool, typer.Option(help="Take its own limits away first; the default of every key holds.")] = False,
) -> None:
    """Change what a key may spend in a day, from its next call on.

    \b
      morphogen keys limit 4f1c2a9b03de --usd-per-day 20
    """
    from runtime.cli import keys

    if usd_per_day is None and tokens_per_day is None and not clear:
        raise CliError("name --usd-per-day, --tokens-per-day or --clear", exit_code=2)
    keys.limit(key_id, keys.Limits(usd_per_day=usd_per_day, tokens_per_day=tokens_per_day), clear=clear)


@keys_app.command("revoke")
def keys_revoke(key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, from keys list.")]) -> None:
    """End a key at once."""
    from runtime.cli import keys

    keys.revoke(key_id)


@config_app.command("validate")
def config_validate(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check a configuration. Names the file, the line and the setting of everything that is wrong."""
    from runtime.cli import config as work

    work.validate(config, as_json=as_json)


@config_app.command("show")
def config_show(config: ConfigFile = None) -> None:
    """Print what holds, as JSON, with secrets masked."""
    from runtime.cli import config as work

    work.show(config)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of morphogen.toml."""
    from runtime.cli import config as work

    work.schema()


@config_app.command("import")
def config_import(
    source: Annotated[Path, typer.Argument(metavar="FILE", help="LLMockApi's appsettings.json.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write here, not to stdout.")] = None,
    force: Annotated[bool, typer.Option(help="Write over an existing file.")] = False,
) -> None:
    """Turn an appsettings.json with LlmBackends into a morphogen.toml.

    \b
      morphogen config import appsettings.json -o morphogen.toml
    """
    from runtime.cli import config as work

    work.import_file(source, output, force=force)


@config_app.command("status")
def config_status(as_json: AsJson = False) -> None:
    """Show how the running daemon's configuration stands. Exit 1 when what is in the file is not used."""
    from runtime.cli import config_live

    config_live.status(as_json=as_json)


@config_app.command("reload")
def config_reload(as_json: AsJson = False) -> None:
    """Have the running daemon read its configuration again. Exit 1 with the line and the setting when it is invalid."""
    from runtime.cli import config_live

    config_live.reload(as_json=as_json)


def main() -> None:
    """Run the command line. Ends the process: 0 done, 1 failed, 2 wrong usage, 3 no daemon, 130 Ctrl-C."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of one command; messages go to stderr, never a traceback for what a user can mend."""
    try:
        app(args=arguments, prog_name="morphogen")
    except CliError as error:
        if error.message:
            typer.echo(f"Error: {error.message}", err=True)
        if error.hint:
            typer.echo(error.hint, err=True)
        return error.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader (head, less) went away. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0
