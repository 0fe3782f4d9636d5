"""Coding standards as data: the rules of a standard that a machine can check, and how much of the code keeps them. Pure.

Called by inspect.py. A standard is an artifact whose content is prose for its readers with one fenced block ``rules`` of JSON
in it, for what can be checked: ``[{"check": "docstring"}, {"check": "function_lines", "most": 40}]``. Code is parsed, never
run. Imports nothing of the project but this package's records.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from registry.records import InvalidArtifact

MAX_RULES = 50
_MAX_CODE_CHARS = 64 * 1024
_FENCE = re.compile(r"^```rules[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
_SNAKE = re.compile(r"_{0,2}[a-z0-9]+(?:_[a-z0-9]+)*_{0,2}|_+")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``most`` is the bound of rules that have one."""

    check: str
    most: int = 0


def _has_docstring(tree: ast.Module, source: str, most: int) -> bool:
    return ast.get_docstring(tree) is not None or any(
        ast.get_docstring(node) is not None for node in tree.body if isinstance(node, _FUNCTIONS)
    )


def _short_lines(tree: ast.Module, source: str, most: int) -> bool:
    return all(len(line) <= most for line in source.splitlines())


def _short_functions(tree: ast.Module, source: str, most: int) -> bool:
    return all((node.end_lineno or node.lineno) - node.lineno < most for node in ast.walk(tree) if isinstance(node, _FUNCTIONS))


def _annotated(tree: ast.Module, source: str, most: int) -> bool:
    functions = [node for node in tree.body if isinstance(node, _FUNCTIONS)]
    return all(node.returns is not None and all(arg.annotation for arg in node.args.args) for node in functions)


def _snake_case(tree: ast.Module, source: str, most: int) -> bool:
    return all(_SNAKE.fullmatch(node.name) for node in ast.walk(tree) if isinstance(node, _FUNCTIONS))


def _no_bare_except(tree: ast.Module, source: str, most: int) -> bool:
    return all(node.type is not None for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler))


def _no_mutable_defaults(tree: ast.Module, source: str, most: int) -> bool:
    defaults = [
        each for node in ast.walk(tree) if isinstance(node, _FUNCTIONS) for each in (*node.args.defaults, *node.args.kw_defaults)
    ]
    return not any(isinstance(each, ast.List | ast.Dict | ast.Set) for each in defaults)


def _few_branches(tree: ast.Module, source: str, most: int) -> bool:
    branching = (ast.If, ast.For, ast.While, ast.IfExp, ast.ExceptHandler, ast.BoolOp, ast.comprehension, ast.match_case)
    functions = [node for node in ast.walk(tree) if isinstance(node, _FUNCTIONS)]
    return all(1 + sum(isinstance(each, branching) for each in ast.walk(node)) <= most for node in functions)


Check = Callable[[ast.Module, str, int], bool]
CHECKS: Mapping[str, tuple[Check, int]] = MappingProxyType(
    {
        "docstring": (_has_docstring, 0),
        "line_chars": (_short_lines, 120),
        "function_lines": (_short_functions, 60),
        "annotated": (_annotated, 0),
        "snake_case": (_snake_case, 0),
        "no_bare_except": (_no_bare_except, 0),
        "no_mutable_defaults": (_no_mutable_defaults, 0),
        "branches": (_few_branches, 12),
    }
)
"""Every check with the bound it takes when a rule names none."""


def rules_of(content: str) -> tuple[Rule, ...]:
    """The rules of a standard; none where it has no such block. Raises InvalidArtifact for a block that is not understood."""
    found = _FENCE.search(content)
    if found is None:
        return ()
    try:
        listed = json.loads(found[1])
    except (ValueError, RecursionError) as error:
        raise InvalidArtifact("rules", f"the block is not JSON: {error}") from error
    if not isinstance(listed, list) or len(listed) > MAX_RULES:
        raise InvalidArtifact("rules", f"must be a list of at most {MAX_RULES} rules")
    return tuple(_rule(n, each) for n, each in enumerate(listed))


def _rule(n: int, listed: object) -> Rule:
    if not isinstance(listed, dict) or not set(listed) <= {"check", "most"} or listed.get("check") not in CHECKS:
        raise InvalidArtifact(f"rules[{n}]", f'must be {{"check": NAME, "most": NUMBER}} with one of {", ".join(CHECKS)}')
    most = listed.get("most", CHECKS[listed["check"]][1])
    if isinstance(most, bool) or not isinstance(most, int) or not 0 <= most <= 100_000:
        raise InvalidArtifact(f"rules[{n}].most", "must be a whole number from 0 to 100000")
    return Rule(check=listed["check"], most=most)


def broken(code: str, rules: Iterable[Rule]) -> list[str]:
    """The checks that ``code`` does not pass; all of them where it cannot be parsed."""
    rules = list(rules)
    try:
        tree = ast.parse(code[:_MAX_CODE_CHARS])
        return [rule.check for rule in rules if not CHECKS[rule.check][0](tree, code, rule.most)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [rule.check for rule in rules]


def compliance(codes: Iterable[str], rules: Iterable[Rule]) -> float | None:
    """Share of ``codes`` that pass every rule; None without rules or without code."""
    rules = list(rules)
    passed = [not broken(code, rules) for code in codes]
    return sum(passed) / len(passed) if passed and rules else None
