"""What is done to source text before RestrictedPython sees it: bounds, and rewrites that can add no capability.

Called by policy.py, in a locked child. Pure. Raises CodeRefused with the line and what to do instead.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import TypeVar

from sandbox.names import ENUM_HOOKS, NAMED_TUPLE, hide, is_private
from sandbox.records import MAX_SOURCE_BYTES, CodeRefused

FILENAME = "<code>"
MAX_NODES = 20_000
MAX_DEPTH = 200
MAX_FINALLY_DEPTH = 4
_BIDI = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_CONTROL = {chr(code) for code in (*range(9), 11, 12, *range(14, 32), 127)}
_DROPPED = frozenset({"__slots__", "__author__", "__version__", "__all__", "__license__", "__email__", "__date__"})
"""Assignments that say something about the code and change nothing that is needed here."""

Node = TypeVar("Node", bound=ast.AST)


def parse(source: str) -> ast.Module:
    """The tree of ``source``, within the bounds. Raises CodeRefused."""
    text = check_text(source)
    try:
        tree = ast.parse(text, FILENAME)
    except SyntaxError as error:
        raise CodeRefused(f"this is not valid Python: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise CodeRefused(f"the parser cannot read this: {type(error).__name__}") from None
    _check_shape(tree)
    return tree


def check_text(source: str) -> str:
    """``source`` with plain line ends. Raises CodeRefused for what is too long or holds characters that mislead a reader."""
    try:
        size = len(source.encode())
    except UnicodeEncodeError:
        raise CodeRefused("the source holds lone surrogates, which are no text") from None
    if size > MAX_SOURCE_BYTES:
        raise CodeRefused(f"the source has {size} bytes; at most {MAX_SOURCE_BYTES}")
    text = source.replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        for character in line:
            if character in _CONTROL or character == "\r" or ord(character) in _BIDI:
                raise CodeRefused(f"the source holds the control character U+{ord(character):04X}; remove it", number)
    return text


def _check_shape(tree: ast.Module) -> None:
    """Bounds the work of everything that follows. The compiler writes a ``finally`` block out twice at each level."""
    count = 0
    pending: list[tuple[ast.AST, int, int]] = [(tree, 0, 0)]
    while pending:
        node, depth, finals = pending.pop()
        count += 1
        line = getattr(node, "lineno", None)
        if count > MAX_NODES:
            raise CodeRefused(f"the source is too large: more than {MAX_NODES} syntax nodes", line)
        if depth > MAX_DEPTH:
            raise CodeRefused(f"nested more than {MAX_DEPTH} levels deep: write it in steps", line)
        if finals > MAX_FINALLY_DEPTH:
            raise CodeRefused(f"finally blocks nested more than {MAX_FINALLY_DEPTH} deep", line)
        final = {id(each) for each in getattr(node, "finalbody", ())}
        pending += [(child, depth + 1, finals + (id(child) in final)) for child in ast.iter_child_nodes(node)]


class Rewrite(ast.NodeTransformer):
    """Hides private names, turns ``__name__`` into a constant, and takes out what has no meaning here."""

    def __init__(self, *, lazy_annotations: bool) -> None:
        self._lazy = lazy_annotations

    def _bound(self, node: ast.AST, name: str) -> str:
        if name == "super":
            raise CodeRefused("the name 'super' cannot be given to something else; choose another", getattr(node, "lineno", None))
        return hide(name)

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id == "__name__" and isinstance(node.ctx, ast.Load):
            return ast.copy_location(ast.Constant("__code__"), node)
        node.id = hide(node.id) if isinstance(node.ctx, ast.Load) else self._bound(node, node.id)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        if node.attr not in NAMED_TUPLE or not isinstance(node.ctx, ast.Load):
            node.attr = hide(node.attr)
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        self.generic_visit(node)
        node.arg = self._bound(node, node.arg)
        if self._lazy:
            node.annotation = None
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        if node.arg:
            node.arg = hide(node.arg)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        if node.name not in ENUM_HOOKS:
            node.name = self._bound(node, node.name)
        if self._lazy:
            node.returns = None
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        node.name = self._bound(node, node.name)
        return node

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if all(isinstance(target, ast.Name) and target.id in _DROPPED for target in node.targets):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if self._lazy:
            text = ast.unparse(node.annotation)
            node.annotation = ast.copy_location(ast.Constant(text), node.annotation)
        return self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        self.generic_visit(node)
        if node.name:
            node.name = self._bound(node, node.name)
        return node

    def visit_Global(self, node: ast.Global) -> ast.AST:
        node.names = [self._bound(node, name) for name in node.names]
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> ast.AST:
        node.names = [self._bound(node, name) for name in node.names]
        return node

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        self.generic_visit(node)
        if node.name:
            node.name = self._bound(node, node.name)
        return node

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        if node.name:
            node.name = self._bound(node, node.name)
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> ast.AST:
        self.generic_visit(node)
        if node.rest:
            node.rest = self._bound(node, node.rest)
        return node

    def visit_MatchClass(self, node: ast.MatchClass) -> ast.AST:
        self.generic_visit(node)
        node.kwd_attrs = [hide(name) for name in node.kwd_attrs]
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            if alias.asname:
                alias.asname = self._bound(node, alias.asname)
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module == "__future__":
            return ast.copy_location(ast.Pass(), node)
        for alias in node.names:
            if alias.asname is None and is_private(alias.name):
                raise CodeRefused(f"{node.module}.{alias.name} is private to its module", node.lineno)
            if alias.asname:
                alias.asname = self._bound(node, alias.asname)
        return node


def rewritten(tree: ast.Module) -> ast.Module:
    """``tree`` ready for the policy. Annotations are not evaluated where a future import asks for that. Raises CodeRefused."""
    lazy = any(
        isinstance(node, ast.ImportFrom) and node.module == "__future__" and any(a.name == "annotations" for a in node.names)
        for node in tree.body
    )
    changed: ast.Module = ast.fix_missing_locations(Rewrite(lazy_annotations=lazy).visit(tree))
    return changed


def loaded_names(tree: ast.AST) -> frozenset[str]:
    """All names that are read somewhere in ``tree``."""
    return frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def guarded_imports(tree: ast.Module) -> frozenset[int]:
    """The ids of import statements inside a ``try``, where the code itself says what to do without the module."""

    def inside() -> Iterator[ast.AST]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Try):
                for statement in node.body:
                    yield from ast.walk(statement)

    return frozenset(id(node) for node in inside() if isinstance(node, ast.Import | ast.ImportFrom))
