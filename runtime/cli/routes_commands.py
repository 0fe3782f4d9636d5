"""The commands under ``morphogen routes``, and ``morphogen report``, with their options and help. What they do is in routes.py.

Added to the command line by main.py.
"""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.options import AsJson

routes_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Learned routing and generated routers: show, explain, try. Needs the operator key.",
)
experiment_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Try other settings against those in force.")
routes_app.add_typer(experiment_app, name="experiment")
report_app = typer.Typer(rich_markup_mode=None)
Router = Annotated[str, typer.Argument(metavar="VERSION", help="The router, as in router@1.2.0.")]
Experiment = Annotated[str, typer.Argument(metavar="ID", help="The experiment.")]


@routes_app.command()
def show(as_json: AsJson = False) -> None:
    """Show how the router stands. Candidates and how they did, the policy in a few rules, what could go."""
    from runtime.cli import routes

    routes.show(as_json=as_json)


@routes_app.command()
def explain(
    request_id: Annotated[str, typer.Argument(metavar="ID", help="A request's id, or last.")], as_json: AsJson = False
) -> None:
    """Tell why a request went where it did. Every candidate with estimate, interval, share.

    \b
      morphogen routes explain last
    """
    from runtime.cli import routes

    routes.explain(request_id, as_json=as_json)


@routes_app.command()
def routers(as_json: AsJson = False) -> None:
    """List the routers that models wrote. Lineage, conduct, attempts, and the prompts that they were written by."""
    from runtime.cli import routers

    routers.routers(as_json=as_json)


@routes_app.command()
def router(version: Router, as_json: AsJson = False) -> None:
    """Show a router step by step.

    \b
      morphogen routes router router@1.2.0
    """
    from runtime.cli import routers

    routers.router(version, as_json=as_json)


@routes_app.command()
def evolve(as_json: AsJson = False) -> None:
    """Have a better router written now. It is checked, scored on the log, reviewed and tried before it serves."""
    from runtime.cli import routers

    routers.evolve(as_json=as_json)


@routes_app.command()
def adopt(version: Router, as_json: AsJson = False) -> None:
    """Put a router that won its experiment into force."""
    from runtime.cli import routers

    routers.adopt(version, as_json=as_json)


@routes_app.command()
def decline(version: Router, why: Annotated[str, typer.Option(help="For the record.")] = "", as_json: AsJson = False) -> None:
    """Put a router that won its experiment away."""
    from runtime.cli import routers

    routers.decline(version, why, as_json=as_json)


@routes_app.command()
def back(as_json: AsJson = False) -> None:
    """Go back to the router before. To the learner alone, where there is none."""
    from runtime.cli import routers

    routers.back(as_json=as_json)


@experiment_app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the experiments with what they found."""
    from runtime.cli import routes

    routes.experiments(as_json=as_json)


@experiment_app.command()
def start(
    changes: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE", help="Settings of [routing] that the challenger changes.")
    ],
    share: Annotated[float, typer.Option(help="Share of the conversations that are the challenger's.")] = 0.2,
    holdout: Annotated[float, typer.Option(help="Share that stays with the champion for good.")] = 0.05,
    min_requests: Annotated[int, typer.Option(min=1, help="Judged requests of each side before anything is adopted.")] = 100,
    min_dwell_s: Annotated[float, typer.Option(min=0, help="Seconds before anything is adopted.")] = 3600.0,
    min_gain: Annotated[float, typer.Option(min=0, help="The gain that is worth a change.")] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Begin an experiment. First in the shadow of logged decisions, then on a share of the traffic.

    \b
      morphogen routes experiment start cost_weight=20
      morphogen routes experiment start exploration_floor=0.05 --share 0.1
    """
    from runtime.cli import routes

    terms = {"share": share, "holdout": holdout, "min_requests": min_requests, "min_dwell_s": min_dwell_s, "min_gain": min_gain}
    routes.start(changes, terms, as_json=as_json)


@experiment_app.command()
def stop(
    experiment_id: Experiment, why: Annotated[str, typer.Option(help="For the record.")] = "", as_json: AsJson = False
) -> None:
    """End an experiment. The settings in force stay.

    \b
      morphogen routes experiment stop exp-1a2b3c4d --why "seen enough"
    """
    from runtime.cli import routes

    routes.stop(experiment_id, why, as_json=as_json)


@report_app.command()
def report(window: Annotated[str, typer.Option(help="How far back: 30m, 24h, 7d.")] = "24h", as_json: AsJson = False) -> None:
    """Show the measures of a window. Quality, satisfaction, money saved, latency, ways, simplicity, recovery from drift."""
    from runtime.cli import routes

    routes.report(window, as_json=as_json)
