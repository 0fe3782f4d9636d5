"""What a changed configuration means: live now, or with the next start."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.config.settings import Settings
from runtime.reload_plan import LIVE, WHOLE, plan


def settings(**sections: Any) -> Settings:
    return Settings.model_validate(sections)


def backend(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "base_url": f"http://{name}/v1", "model": "m", **fields}


def test_nothing_changed_is_nothing_to_do() -> None:
    same = settings(backends=[backend("a")], retry={"max_attempts": 4})
    todo = plan(same, settings(backends=[backend("a")], retry={"max_attempts": 4}))
    assert todo.is_empty
    assert todo.settings == same
    assert todo.sentence() == "nothing changed"


def test_backends_come_go_and_change_by_name() -> None:
    before = settings(backends=[backend("a"), backend("b", api_key="sk-old"), backend("c")])
    after = settings(backends=[backend("c"), backend("b", api_key="sk-new", output_usd_per_mtok=2.0), backend("d")])
    todo = plan(before, after)
    assert (todo.added, todo.removed) == (("d",), ("a",))
    assert set(todo.changed) == {"backends.b.api_key", "backends.b.output_usd_per_mtok", "backends (their order)"}
    assert todo.settings.backends == after.backends
    assert "sk-" not in todo.sentence() + repr(todo.changed)


def test_a_section_can_be_live_in_part_and_the_rest_keeps_its_running_value() -> None:
    before = settings(server={"port": 5116, "max_inflight": 10}, cluster={"kind": "local", "max_hops": 2})
    after = settings(server={"port": 6000, "max_inflight": 20}, cluster={"kind": "ray", "max_hops": 3, "warm_nodes": 9})
    todo = plan(before, after)
    assert set(todo.changed) == {"server.max_inflight", "cluster.max_hops"}
    assert set(todo.needs_restart) == {"server.port", "cluster.kind", "cluster.warm_nodes"}
    assert (todo.settings.server.port, todo.settings.server.max_inflight) == (5116, 20)
    assert (todo.settings.cluster.kind, todo.settings.cluster.max_hops) == ("local", 3)
    assert "needs a restart: server.port" in todo.sentence()
    again = plan(todo.settings, after)
    assert again.is_empty, "what waits for a restart is not applied twice"
    assert again.needs_restart == todo.needs_restart
    assert (
        plan(todo.settings, settings(server={"max_inflight": 20}, cluster={"kind": "local", "max_hops": 3})).needs_restart == ()
    )


def test_policies_limits_and_strategies_are_live() -> None:
    after = settings(
        retry={"max_attempts": 1},
        breaker={"open_s": 1},
        requests={"fallback": ["a"], "max_deadline_s": 5},
        simulated={"speed": 0},
        strategies={"mine": "single"},
    )
    todo = plan(settings(), after)
    assert set(todo.changed) == {
        "retry.max_attempts",
        "breaker.open_s",
        "requests.fallback",
        "requests.max_deadline_s",
        "simulated.speed",
        "strategies.mine",
    }
    assert todo.needs_restart == ()
    assert todo.settings == after


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("server", "host", "127.0.0.2"),
        ("data", "dir", "/elsewhere"),
        ("data", "retention_days", 3),
        ("ray", "namespace", "other"),
        ("embedding", "enabled", False),
        ("cluster", "max_live_nodes", 3),
    ],
)
def test_what_is_built_at_start_needs_a_restart(section: str, name: str, value: Any) -> None:
    running = settings()
    todo = plan(running, settings(**{section: {name: value}}))
    assert todo.needs_restart == (f"{section}.{name}",)
    assert todo.is_empty
    assert todo.settings == running


def test_the_table_of_live_settings_names_only_settings_that_exist() -> None:
    for section, names in LIVE.items():
        assert section in Settings.model_fields
        if names != WHOLE:
            assert names <= set(type(getattr(settings(), section)).model_fields), section
