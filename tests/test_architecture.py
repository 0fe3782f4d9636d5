"""The rules of the house, checked on the source: who may import whom, which library belongs to which room, no import cycles.

The rules are data at the top; the checker is pure (module name -> source) and is itself tested below on made-up sources.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Each package may import itself and those before it. Nothing in here imports ops or tests.
ORDER = ("sandbox", "registry", "agents", "runtime")
OUTSIDE = ("ops", "tests")

# Library -> the only rooms that may import it (a module, or a package with all that is in it).
WEB = ("runtime.api", "runtime.console", "agents.llm.simulated")
FENCES: Mapping[str, tuple[str, ...]] = {
    "ray": ("runtime.ray_cluster",),
    "lancedb": ("registry.tables",),
    "pyarrow": ("registry.tables",),
    "sentence_transformers": ("registry.embedding",),
    "torch": ("registry.embedding", "registry.packed"),
    "transformers": ("registry.embedding",),
    "aiosqlite": ("runtime.ledger", "agents.stores"),
    "httpx": ("agents.llm", "agents.sources", "runtime.cli"),
    "httpx_sse": ("agents.llm", "agents.sources", "runtime.cli"),
    "RestrictedPython": ("sandbox.policy",),
    "prometheus_client": ("runtime.metrics",),
    "fastapi": WEB,
    "starlette": WEB,
    "uvicorn": (*WEB, "runtime.daemon"),
}

BANNED_NAMES = frozenset({"common", "util", "utils", "helpers", "misc"})
MAX_LINES = 350


@dataclass(frozen=True, slots=True)
class Module:
    """One source file. ``is_package`` for an ``__init__``."""

    name: str
    source: str
    is_package: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    target: str
    line: int


def house(root: Path) -> dict[str, Module]:
    """All modules of the four packages under ``root``, by dotted name."""
    found: dict[str, Module] = {}
    for package in ORDER:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            found[name] = Module(name, path.read_text(encoding="utf-8"), is_package)
    return found


def imports_of(module: Module, known: Iterable[str] = ()) -> list[Import]:
    """Every import, also in functions, under TYPE_CHECKING, and by importlib with a literal name.

    ``from a import b`` is an import of ``a.b`` where that is a ``known`` module, else of ``a``.
    """
    names = frozenset(known)
    found: list[Import] = []
    for node in ast.walk(ast.parse(module.source)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(module, node)
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                found.append(Import(deeper if deeper in names else base, node.lineno))
        elif isinstance(node, ast.Call) and (name := _literal_import(node)):
            found.append(Import(name, node.lineno))
    return found


def _base(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - node.level + (1 if module.is_package else 0)]
    return ".".join([*kept, node.module] if node.module else kept)


def _literal_import(call: ast.Call) -> str | None:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    if name not in ("import_module", "__import__") or not call.args:
        return None
    argument = call.args[0]
    return argument.value if isinstance(argument, ast.Constant) and isinstance(argument.value, str) else None


def within(name: str, rooms: Iterable[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def upward_imports(modules: Mapping[str, Module]) -> Iterator[str]:
    """Imports against the order of the packages, or of what stands outside the house."""
    for module in modules.values():
        own = ORDER.index(module.name.split(".")[0])
        forbidden = (*ORDER[own + 1 :], *OUTSIDE)
        for found in imports_of(module, modules):
            if within(found.target, forbidden):
                yield f"{module.name}:{found.line} imports {found.target}"


def fence_breaks(modules: Mapping[str, Module]) -> Iterator[str]:
    """Libraries that are imported outside their rooms."""
    for module in modules.values():
        for found in imports_of(module, modules):
            rooms = FENCES.get(found.target.split(".")[0])
            if rooms is not None and not within(module.name, rooms):
                yield f"{module.name}:{found.line} imports {found.target}, which belongs in {', '.join(rooms)}"


def cycles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Groups of modules that import each other, directly or around corners (Tarjan's strongly connected components)."""
    graph = {
        name: sorted({found.target for found in imports_of(module, modules)} & set(modules)) for name, module in modules.items()
    }
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in graph:
        if name not in index:
            visit(name)
    return found


def untidy(modules: Mapping[str, Module]) -> Iterator[str]:
    """Files that are too long, say nothing about themselves, or have a name that says nothing."""
    for module in modules.values():
        lines = len(module.source.splitlines())
        if lines > MAX_LINES:
            yield f"{module.name} has {lines} lines; at most {MAX_LINES}"
        if not ast.get_docstring(ast.parse(module.source)):
            yield f"{module.name} has no docstring"
        if module.name.rpartition(".")[2] in BANNED_NAMES:
            yield f"{module.name} has a name that says nothing"


# ── the house as it stands ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def modules() -> dict[str, Module]:
    return house(ROOT)


def test_the_house_is_found(modules: dict[str, Module]) -> None:
    assert {name.split(".")[0] for name in modules} == set(ORDER)
    assert {"agents.records", "agents.llm.chat", "runtime.config.settings"} <= set(modules)
    assert modules["agents.llm"].is_package


def test_packages_import_in_one_direction(modules: dict[str, Module]) -> None:
    assert list(upward_imports(modules)) == []


def test_libraries_stay_in_their_rooms(modules: dict[str, Module]) -> None:
    assert list(fence_breaks(modules)) == []


def test_no_import_cycles(modules: dict[str, Module]) -> None:
    assert cycles(modules) == []


def test_files_are_short_and_say_what_they_are_for(modules: dict[str, Module]) -> None:
    assert list(untidy(modules)) == []


# ── the checker ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def made_up(**sources: str) -> dict[str, Module]:
    """Modules from keyword arguments; ``__`` stands for a dot, and a name that others begin with is a package."""
    names = {key: key.replace("__", ".") for key in sources}
    packages = {name for name in names.values() if any(other.startswith(f"{name}.") for other in names.values())}
    return {name: Module(name, sources[key], name in packages) for key, name in names.items()}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("import agents.node", "agents.node"),
        ("from agents import node", "agents.node"),
        ("from agents.node import Node", "agents.node"),
        ("def f():\n    import agents.node as n", "agents.node"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from agents.node import Node", "agents.node"),
        ("import importlib\nimportlib.import_module('agents.node')", "agents.node"),
        ("__import__('agents.node')", "agents.node"),
    ],
)
def test_every_way_to_import_is_seen(source: str, target: str) -> None:
    seen = [found.target for found in imports_of(Module("registry.x", source), {"agents", "agents.node"})]
    assert target in seen


def test_relative_imports_are_resolved() -> None:
    known = {"a", "a.b", "a.b.c", "a.d"}
    assert imports_of(Module("a.b.c", "from . import x\nfrom ..d import y"), known) == [Import("a.b", 1), Import("a.d", 2)]
    assert imports_of(Module("a.b", "from . import c\nfrom .. import d", True), known) == [Import("a.b.c", 1), Import("a.d", 2)]


def test_upward_imports_are_found() -> None:
    modules = made_up(
        sandbox__runner="import registry.records",
        registry__records="from sandbox import runner",
        agents__node="from runtime.config.settings import Settings",
        runtime__daemon="import agents.node\nimport tests.fakes",
        runtime__other="import runtimes",
    )
    assert list(upward_imports(modules)) == [
        "sandbox.runner:1 imports registry.records",
        "agents.node:1 imports runtime.config.settings",
        "runtime.daemon:2 imports tests.fakes",
    ]


def test_fence_breaks_are_found() -> None:
    modules = made_up(
        runtime__ray_cluster="import ray",
        runtime__ray_cluster__actors="from ray.util import state",
        runtime__cluster="def f():\n    import ray",
        agents__llm__http="import httpx",
        agents__node="from httpx import AsyncClient",
        runtime__daemon="import uvicorn\nimport fastapi",
        agents__llm__simulated__server="import fastapi",
        runtime__apis="from fastapi import FastAPI",
        runtime__rays="import rayon",
    )
    assert [each.split(",")[0] for each in fence_breaks(modules)] == [
        "runtime.cluster:2 imports ray",
        "agents.node:1 imports httpx",
        "runtime.daemon:2 imports fastapi",
        "runtime.apis:1 imports fastapi",
    ]


def test_cycles_are_found_around_corners_and_under_type_checking() -> None:
    modules = made_up(
        agents__a="import agents.b",
        agents__b="from agents.c import x",
        agents__c="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import agents.a",
        agents__d="import agents.a",
        agents__own="import agents.own",
        agents__e="import agents.f",
        agents__f="",
    )
    assert cycles(modules) == [["agents.a", "agents.b", "agents.c"], ["agents.own"]]


def test_a_package_that_reexports_its_own_is_no_cycle_unless_they_import_it() -> None:
    fine = made_up(agents__p="from agents.p import one", agents__p__one="")
    assert cycles(fine) == []
    bad = made_up(agents__p="from agents.p import one", agents__p__one="import agents.p")
    assert cycles(bad) == [["agents.p", "agents.p.one"]]


def test_untidy_files_are_found() -> None:
    modules = made_up(
        agents__long='"""Doc."""\n' + "x = 1\n" * MAX_LINES,
        agents__fits='"""Doc."""\n' + "x = 1\n" * (MAX_LINES - 1),
        agents__silent="x = 1",
        agents__utils='"""Doc."""',
    )
    assert list(untidy(modules)) == [
        f"agents.long has {MAX_LINES + 1} lines; at most {MAX_LINES}",
        "agents.silent has no docstring",
        "agents.utils has a name that says nothing",
    ]
