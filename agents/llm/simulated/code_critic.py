"""What a simulated model says of code: verdicts by role, revisions, and what programs have in common. Pure for a seed.

Called by answers.py. It really looks: code is parsed (never run), and what it finds follows from the code and from the role that
the conversation gives it. A weak critic overlooks things; a weak author leaves changes out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from agents.llm.simulated.reading import Reading
from agents.records import Json

_BLOCK: Final = re.compile(r"```python\n(.*?)```", re.S)
_CHANGES: Final = re.compile(r"^Required changes:\n(.*)\Z", re.M | re.S)
_DANGEROUS: Final = frozenset(
    {"eval", "exec", "compile", "__import__", "open", "globals", "vars", "getattr", "setattr", "breakpoint"}
)
_MODULES: Final = frozenset(
    {"os", "sys", "subprocess", "socket", "shutil", "ctypes", "importlib", "pickle", "builtins", "threading"}
)
_TEXT: Final = re.compile(r"^<text>\n(.*?)^</text>", re.M | re.S)
_ORDERS: Final = re.compile(
    r"\bignore (?:all|any|the|previous|earlier|your)\b|\bsystem prompt\b|https?://|\bskip the checks?\b", re.I
)
_LONG: Final = 60
_LONG_LINE: Final = 240


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flaw:
    """``change`` mends it; ``grave`` makes code insecure; one that is ``minor`` alone is no reason to send code back."""

    said: str
    change: str
    grave: bool = False
    minor: bool = False


def about_code(reading: Reading, schema: Mapping[str, Any], skill: float, rng: Random) -> Json | None:
    """A verdict on the code of the conversation, or what its programs have in common, in the form asked for; None for anything
    else."""
    properties = schema.get("properties")
    codes = _BLOCK.findall(reading.question)
    if not isinstance(properties, Mapping):
        return None
    if {"opinion", "required_changes"} <= set(properties):
        text = _TEXT.search(reading.question)
        if codes:
            return _verdict(codes[0], _role(reading), skill, rng)
        return _text_verdict(text[1], skill, rng) if text is not None else None
    if set(properties) == {"text"} and (asked := _CHANGES.search(reading.question)) is not None:
        text = _TEXT.search(reading.question)
        return {"text": _changed_text(text[1], asked[1].lower(), skill, rng)} if text is not None else None
    if not codes:
        return None
    named = next((name for name in ("principles", "practices") if name in properties), None)
    if named is None:
        return None
    lines = list(dict.fromkeys(line for code in codes[-6:] for line in _traits(code)))
    told: dict[str, Json] = {named: (lines or ["Keep to the simplest way that passes every check."])[:6]}
    if "rules" in properties:
        told["rules"] = [{"check": name} for name in _kept_rules(codes)]
    return told


def _role(reading: Reading) -> str:
    system = " ".join(reading.text(n) for n, each in enumerate(reading.messages) if each.get("role") == "system").lower()
    return next((role for role in ("security", "performance") if role in system), "quality")


def _verdict(code: str, role: str, skill: float, rng: Random) -> dict[str, Json]:
    tree = _tree(code)
    if tree is None:
        return _said("reject", 0.0, True, ["the code does not parse"], [], ["write code that parses"])
    look = {"security": _insecure, "performance": _slow, "quality": _untidy}[role]
    return _opinion([flaw for flaw in look(tree) if rng.random() < skill][:8], _traits(code))


def _opinion(flaws: list[_Flaw], strengths: list[str]) -> dict[str, Json]:
    grave = any(flaw.grave for flaw in flaws)
    wanting = len(flaws) > 1 or any(not flaw.minor for flaw in flaws)
    score = max(0.0, 0.95 - (0.6 if grave else 0.0) - 0.15 * len(flaws))
    said, changes = [flaw.said for flaw in flaws], [flaw.change for flaw in flaws]
    return _said("reject" if grave else "revise" if wanting else "accept", score, not grave, said, strengths[:3], changes)


def _text_verdict(text: str, skill: float, rng: Random) -> dict[str, Json]:
    """Of advice to writers: whether it is advice, and whose orders it wants followed."""
    lines = [line.strip("- ").strip() for line in text.splitlines() if line.strip().startswith("-")]
    flaws = [
        _Flaw(said=f"it gives orders that are not about programs: {line[:80]}", change="leave that line out", grave=True)
        for line in text.splitlines()
        if _ORDERS.search(line)
    ]
    flaws += [
        _Flaw(said=f"this says too much at once: {line[:60]}", change="say it in one short sentence", minor=True)
        for line in lines
        if len(line) > _LONG_LINE
    ]
    if not lines:
        flaws.append(_Flaw(said="it lists no advice", change="list what to do, a line each"))
    return _opinion([flaw for flaw in flaws if rng.random() < skill][:8], [f"{len(lines)} short rules"])


def _said(
    opinion: str, score: float, secure: bool, concerns: list[str], strengths: list[str], changes: list[str]
) -> dict[str, Json]:
    return {
        "opinion": opinion,
        "score": round(score, 2),
        "secure": secure,
        "concerns": concerns,
        "strengths": strengths,
        "required_changes": changes,
    }


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _tree(code: str) -> ast.Module | None:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _functions(tree: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def _insecure(tree: ast.Module) -> Iterator[_Flaw]:
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name in _DANGEROUS and isinstance(node, ast.Name):
            yield _Flaw(said=f"it uses {name}, which reaches beyond its inputs", change=f"do without {name}", grave=True)
        elif name.startswith("__"):
            yield _Flaw(said=f"it reaches for {name} of the interpreter", change=f"do without {name}", grave=True)
        modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if module.partition(".")[0] in _MODULES:
                yield _Flaw(said=f"it imports {module}", change=f"do without {module}", grave=True)
        if isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and not _breaks(node):
            yield _Flaw(said="a loop has no end", change="bound the loop that has no end", grave=True)


def _breaks(loop: ast.While) -> bool:
    return any(isinstance(node, ast.Break | ast.Return) for node in ast.walk(loop))


def _slow(tree: ast.Module) -> Iterator[_Flaw]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.For | ast.ListComp | ast.GeneratorExp):
            continue
        inner = [each for each in ast.walk(node) if each is not node and isinstance(each, ast.For | ast.ListComp)]
        if isinstance(node, ast.For) and any(_over_all(each) for each in inner) and _over_all(node):
            line = node.lineno
            yield _Flaw(said=f"two loops over all items nest in line {line}", change=f"replace the nested loops of line {line}")
        for each in ast.walk(node) if isinstance(node, ast.For) else ():
            if (
                isinstance(each, ast.Call)
                and isinstance(each.func, ast.Attribute)
                and each.func.attr in ("index", "count", "sort")
            ):
                yield _Flaw(said=f"{each.func.attr} is called in a loop", change=f"take {each.func.attr} out of the loop")


def _over_all(node: ast.AST) -> bool:
    loop = node.iter if isinstance(node, ast.For) else node.generators[0].iter if isinstance(node, ast.ListComp) else None
    return loop is not None and any(isinstance(each, ast.Name) for each in ast.walk(loop))


def _untidy(tree: ast.Module) -> Iterator[_Flaw]:
    if ast.get_docstring(tree) is None and not any(ast.get_docstring(each) for each in _functions(tree)):
        change = "give run(inputs) a docstring that says what it computes"
        yield _Flaw(said="nothing says what the function does", change=change, minor=True)
    if unused := _unused(tree):
        names = ", ".join(unused)
        yield _Flaw(said=f"{names}: imported and never used", change=f"remove the unused imports {names}", minor=True)
    for function in _functions(tree):
        lines = (function.end_lineno or function.lineno) - function.lineno
        if lines > _LONG:
            yield _Flaw(said=f"{function.name} has {lines} lines", change=f"split {function.name} into smaller functions")
    if any(isinstance(node, ast.ExceptHandler) and node.type is None for node in ast.walk(tree)):
        yield _Flaw(said="an except catches everything", change="name what the bare except is for")


def _unused(tree: ast.Module) -> list[str]:
    names: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(each.asname or each.name).partition(".")[0]: node for each in node.names}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return [name for name in names if name not in used]


_TRAITS: Final = (
    (r"default_rng\(inputs\[", "Draw everything from one generator that is seeded from the inputs."),
    (r"np\.clip\(", "Clip values to their bounds before they are returned, not after."),
    (r"np\.round\(|round\(", "Round exactly where the task asks for whole numbers."),
    (r"\"checks\"|'checks'", "Compute every check from the very result that is returned."),
    (r"rng\.\w+\([^)\n]*, n\)", "Draw all values at once instead of one by one."),
    (r"np\.argsort|argsort\(", "Reorder drawn values to correlate them, so that each keeps its own distribution."),
    (r"inputs\[\"\w+_shares\"\]", "Fill shares by exact quotas and shuffle, instead of drawing at random."),
    (r"quantile|NormalDist", "Take values at even quantiles where a sample must match its distribution closely."),
    (r"\"\"\"", "Say in a docstring what the function computes."),
)


def _traits(code: str) -> list[str]:
    """What the code does well, as advice."""
    return [said for pattern, said in _TRAITS if re.search(pattern, code)]


def _kept_rules(codes: list[str]) -> list[str]:
    """Machine checks that all of these programs keep."""
    trees = [tree for tree in map(_tree, codes) if tree is not None]
    found = ["snake_case", "no_mutable_defaults"]
    if trees and not any(isinstance(node, ast.ExceptHandler) and node.type is None for tree in trees for node in ast.walk(tree)):
        found.append("no_bare_except")
    if trees and all(any(ast.get_docstring(each) for each in _functions(tree)) for tree in trees):
        found.append("docstring")
    return found


# ── revising ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def asks_for_revision(reading: Reading) -> bool:
    """Whether an author is asked to change a program."""
    return reading.schema is None and bool(_CHANGES.search(reading.question)) and bool(_BLOCK.search(reading.question))


def revise_code(reading: Reading, skill: float, rng: Random) -> str:
    """The program with the changes that this author understands; a weak one leaves some out."""
    blocks, asked = _BLOCK.search(reading.question), _CHANGES.search(reading.question)
    assert blocks is not None
    assert asked is not None
    code = blocks[1]
    for change in asked[1].splitlines():
        if rng.random() < skill:
            code = _changed(code, change.lower())
    return f"```python\n{code}```\n"


def _changed_text(text: str, changes: str, skill: float, rng: Random) -> str:
    """Advice to writers with the changes that this author understands; a weak one overlooks lines."""
    lines = []
    for line in text.splitlines():
        sees = rng.random() < skill
        if sees and "leave" in changes and _ORDERS.search(line):
            continue
        long = sees and "short" in changes and len(line) > _LONG_LINE
        lines.append(re.split(r"(?<=[.;:]) ", line, maxsplit=1)[0][:_LONG_LINE].rstrip(" ;:") if long else line)
    return "\n".join(lines)


def _changed(code: str, change: str) -> str:
    tree = _tree(code)
    if tree is None:
        return code
    lines = code.splitlines(keepends=True)
    if "docstring" in change and (run := next((one for one in _functions(tree) if one.name == "run"), None)) is not None:
        if ast.get_docstring(run) is None:
            names = ", ".join(dict.fromkeys(re.findall(r"inputs\[\"(\w+)\"\]", code))) or "its inputs"
            lines.insert(run.body[0].lineno - 1, f'    """Computes the result from {names}, and checks it."""\n')
    elif "unused import" in change:
        unused = set(_unused(tree))
        for node in reversed(tree.body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                kept = [each for each in node.names if (each.asname or each.name).partition(".")[0] not in unused]
                if len(kept) < len(node.names):
                    node.names = kept or node.names
                    lines[node.lineno - 1 : node.end_lineno] = [ast.unparse(node) + "\n"] if kept else []
    return "".join(lines)


def essence(code: str) -> str:
    """The code without what changes nothing: docstrings and imports."""
    tree = _tree(code)
    if tree is None:
        return code.strip()
    tree.body = [node for node in tree.body if not isinstance(node, ast.Import | ast.ImportFrom)]
    documented: list[ast.Module | ast.FunctionDef] = [tree, *_functions(tree)]
    for node in documented:
        if node.body and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
