"""The language policy: RestrictedPython, extended so that ordinary Python works, and nothing that leads out of the interpreter.

Called by compiling.py. What the compiled code calls at run time (``_getattr_`` and the like) is in
guards.py. The only module that imports RestrictedPython. Collects problems, raises nothing.

What RestrictedPython guards and this does not: iteration, unpacking and reading of items. Nothing that is reachable here
withholds any of them, and native code is faster. Where a statement is not known to it, it stays refused.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from typing import Any

from RestrictedPython.transformer import RestrictingNodeTransformer, copy_locations

from sandbox.names import DEFINABLE, ENUM_HOOKS, FRAMES, METHODS, NAMED_TUPLE, READABLE, WATCHED, is_dunder

_NO_ASYNC = "async code cannot run here: write a plain function"
_HINTS: Mapping[str, str] = {
    "AsyncFunctionDef": _NO_ASYNC,
    "AsyncFor": _NO_ASYNC,
    "AsyncWith": _NO_ASYNC,
    "Await": _NO_ASYNC,
    "TryStar": "except* is not supported: use except",
    "TypeAlias": "type statements are not supported: assign the type to a name",
}

_WORDS: Mapping[str, str] = {
    "Exec calls are not allowed.": "exec cannot be used here: write the statements out",
    "Eval calls are not allowed.": "eval cannot be used here: parse the text yourself, or with json.loads",
}


class Policy(RestrictingNodeTransformer):
    """One pass over one tree. Collects ``problems`` as (line, reason)."""

    def __init__(self, modules: Mapping[str, frozenset[str]], loaded: frozenset[str], guarded: frozenset[int]) -> None:
        super().__init__([], [], {})
        self.problems: list[tuple[int | None, str]] = []
        self._modules = modules
        self._loaded = loaded
        self._guarded = guarded
        self._scopes = ["module"]

    def error(self, node: ast.AST, info: str) -> None:
        self.problems.append((getattr(node, "lineno", None), _WORDS.get(info, info)))

    def not_allowed(self, node: ast.AST) -> None:
        kind = type(node).__name__
        self.error(node, _HINTS.get(kind, f"{kind} is not supported here"))

    # ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    def check_name(self, node: ast.AST, name: str | None, allow_magic_methods: bool = False) -> None:
        """After rewriting, what begins with an underscore is a dunder; those that a class may define are allowed in its body."""
        if name is None or name == "_" or not name.startswith("_"):
            return
        if self._scopes[-1] == "class" and (name in DEFINABLE or name in ENUM_HOOKS):
            return
        self.error(node, f"{name} cannot be used or defined here")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        node = self.node_contents_visit(node)
        self.check_name(node, node.id)
        return node

    def visit_Nonlocal(self, node: ast.Nonlocal) -> Any:
        return self._named(node)

    def visit_Global(self, node: ast.Global) -> Any:
        return self._named(node)

    def _named(self, node: Any) -> Any:
        for name in node.names:
            self.check_name(node, name)
        return node

    def inject_print_collector(self, node: ast.AST, position: int = 0) -> None:
        """print is a builtin of our own."""

    # ── attributes and items ────────────────────────────────────────────────────────────────────────────────────────────

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        name = node.attr
        reads = isinstance(node.ctx, ast.Load)
        if name in FRAMES:
            self.error(node, f".{name} leads into the interpreter and cannot be used")
        elif is_dunder(name) and not (reads and (name in READABLE or name in METHODS)):
            self.error(node, f".{name} cannot be used here")
        base = node.value
        plain_super = isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id == "super"
        if reads and plain_super and (name in METHODS or name in ("__new__", "__post_init__")):
            return self.node_contents_visit(node)
        if not reads:
            node = self.node_contents_visit(node)
            node.value = self._call("_write_", node.value, at=node.value)
            return node
        guard = "_dunder_" if is_dunder(name) else "_named_tuple_" if name in NAMED_TUPLE else "_getattr_"
        node = self.node_contents_visit(node)
        return self._call(guard, node.value, ast.Constant(name), at=node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        node = self.node_contents_visit(node)
        if not isinstance(node.ctx, ast.Load):
            node.value = self._call("_items_", node.value, at=node.value)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """Native: the container or object goes through its write guard once, and is then read and written."""
        target = node.target
        if isinstance(target, ast.Attribute) and target.attr in WATCHED:
            self.error(node, f"write x.{target.attr} = x.{target.attr} … in full")
        return self.node_contents_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if self._scopes[-1] == "class" and isinstance(node.target, ast.Name):
            return self.node_contents_visit(node)
        if node.value is None:
            return ast.copy_location(ast.Pass(), node)
        plain = ast.Assign(targets=[node.target], value=node.value)
        copy_locations(plain, node)
        return self.visit_Assign(plain)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        first = node.targets[0]
        if (
            self._scopes[-1] == "class"
            and isinstance(first, ast.Name)
            and first.id == "__match_args__"
            and len(node.targets) == 1
        ):
            self._check_match_args(node)
            return node
        return self.node_contents_visit(node)

    def _check_match_args(self, node: ast.Assign) -> None:
        try:
            names = ast.literal_eval(node.value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            names = None
        fine = isinstance(names, tuple) and all(isinstance(name, str) and self._matchable(name) for name in names)
        if not fine:
            self.error(node, "__match_args__ must be a tuple of public attribute names")

    @staticmethod
    def _matchable(name: str) -> bool:
        return not name.startswith("_") and name not in FRAMES and name not in WATCHED

    def guard_iter(self, node: Any) -> Any:
        return self.node_contents_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST:
        return self.node_contents_visit(node)

    # ── functions and classes ───────────────────────────────────────────────────────────────────────────────────────────

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self.check_name(node, node.name)
        return self._function(node)

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return self._function(node)

    def _function(self, node: Any) -> Any:
        self._scopes.append("function")
        self.check_function_argument_names(node)
        node = self.node_contents_visit(node)
        self._scopes.pop()
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Made through ``__metaclass__`` (guards.py), which sees the real bases. ``metaclass=ABCMeta`` means a base ABC."""
        self.check_name(node, node.name)
        kept = []
        for keyword in node.keywords:
            if keyword.arg != "metaclass":
                kept.append(keyword)
            elif _last_name(keyword.value) == "ABCMeta":
                base = self._call("_from_", ast.Constant("abc"), ast.Constant("ABC"), at=keyword.value)
                node.bases = [*node.bases, _Done(base)]
            else:
                self.error(node, "metaclasses cannot be used here; inherit from a class instead")
        node.keywords = kept
        if any(keyword.arg is None for keyword in kept) or any(isinstance(base, ast.Starred) for base in node.bases):
            self.error(node, "name the bases of a class one by one")
        self._scopes.append("class")
        node.body = [new for statement in node.body for new in _listed(self.visit(statement))] or [ast.Pass()]
        self._scopes.pop()
        node.bases = [base.node if isinstance(base, _Done) else self.visit(base) for base in node.bases]
        node.decorator_list = [self.visit(each) for each in node.decorator_list]
        node.keywords = [self.visit(each) for each in kept]
        node.keywords.append(ast.keyword("metaclass", ast.Name("__metaclass__", ast.Load())))
        if getattr(node, "type_params", None):
            self.error(node, "type parameters are not supported: use typing.TypeVar and Generic")
        return node

    # ── imports: calls of our own importer, so that the builtin __import__ is only ever reached by C code ────────────────

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        made = []
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            if self._wanted(node, alias.name, name):
                values = [ast.Constant(alias.name), ast.Constant(alias.asname is not None)]
                made.append(self._bind(node, name, self._call("_import_", *values, at=node)))
        return made or [ast.copy_location(ast.Pass(), node)]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        module = node.module or ""
        if node.level or not module:
            self.error(node, "relative imports have no meaning here")
            return [node]
        made = []
        for alias in node.names:
            names = [alias.name]
            if alias.name == "*":
                names = sorted(self._loaded & self._modules.get(module, frozenset()))
            for name in names:
                bound = alias.asname or name
                if self._wanted(node, module, bound, name):
                    values = [ast.Constant(module), ast.Constant(name)]
                    made.append(self._bind(node, bound, self._call("_from_", *values, at=node)))
            if not names and module not in self._modules:
                self.error(node, self._missing(module))
        return made or [ast.copy_location(ast.Pass(), node)]

    def _wanted(self, node: ast.AST, module: str, bound: str, name: str | None = None) -> bool:
        """False where the import is of no use. A module that is not here is an error where its name is used later, unless a
        ``try`` around the import is there to deal with it."""
        self.check_name(node, bound)
        if module in self._modules or (name is not None and f"{module}.{name}" in self._modules) or id(node) in self._guarded:
            return True
        if bound in self._loaded:
            self.error(node, self._missing(module))
        return False

    def _missing(self, module: str) -> str:
        here = ", ".join(sorted(name for name in self._modules if "." not in name))
        return f"module {module!r} is not available; there are {here}"

    def _bind(self, node: ast.stmt, name: str, value: ast.expr) -> ast.stmt:
        made = ast.Assign(targets=[ast.Name(name, ast.Store())], value=value)
        copy_locations(made, node)
        return made

    # ── match: attribute names in patterns are read without a guard, so all that guards watch for is refused ─────────────

    def visit_Match(self, node: ast.AST) -> ast.AST:
        return self.node_contents_visit(node)

    visit_match_case = visit_MatchSequence = visit_MatchOr = visit_MatchSingleton = visit_Match

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        self.check_name(node, node.name)
        return self.node_contents_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        self.check_name(node, node.name)
        return node

    def visit_MatchValue(self, node: ast.MatchValue) -> ast.AST:
        self._pattern_value(node.value)
        return node

    def visit_MatchMapping(self, node: ast.MatchMapping) -> ast.AST:
        for key in node.keys:
            self._pattern_value(key)
        self.check_name(node, node.rest)
        node.patterns = [self.visit(each) for each in node.patterns]
        return node

    def visit_MatchClass(self, node: ast.MatchClass) -> ast.AST:
        self._pattern_value(node.cls)
        for name in node.kwd_attrs:
            if not self._matchable(name):
                self.error(node, f"{name} cannot be used in a pattern; test it with if")
        node.patterns = [self.visit(each) for each in node.patterns]
        node.kwd_patterns = [self.visit(each) for each in node.kwd_patterns]
        return node

    def _pattern_value(self, value: ast.expr) -> None:
        if isinstance(value, ast.Attribute):
            if not self._matchable(value.attr):
                self.error(value, f".{value.attr} cannot be used in a pattern; test it with if")
            self._pattern_value(value.value)
        elif isinstance(value, ast.Name):
            self.check_name(value, value.id)
        else:
            self.visit(value)

    # ── helpers ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    @staticmethod
    def _call(guard: str, *values: ast.expr, at: ast.expr | ast.stmt) -> ast.Call:
        made = ast.Call(func=ast.Name(guard, ast.Load()), args=list(values), keywords=[])
        copy_locations(made, at)
        return made


class _Done(ast.expr):
    """An expression that the policy wrote itself and must not look at again."""

    def __init__(self, node: ast.expr) -> None:
        super().__init__()
        self.node = node


def _listed(visited: Any) -> Iterable[ast.stmt]:
    return visited if isinstance(visited, list) else [] if visited is None else [visited]


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
