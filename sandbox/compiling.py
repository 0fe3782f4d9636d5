"""From source text to code: bounds, rewriting, the policy, the compiler. Called by child.py, in a locked child.

Raises CodeRefused with the line and what to do instead, and nothing else.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from types import CodeType

from sandbox.policy import Policy
from sandbox.records import CodeRefused
from sandbox.rewrite import FILENAME, guarded_imports, loaded_names, parse, rewritten

_COMPILE_RECURSION = 6000
_MAX_ERRORS = 5


def compile_code(source: str, modules: Mapping[str, frozenset[str]]) -> CodeType:
    """``source`` as code to be executed with the globals of world.py. ``modules``: what may be imported, with the names in each.

    Raises CodeRefused.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(_COMPILE_RECURSION)
    try:
        tree = rewritten(parse(source))
        policy = Policy(modules, loaded_names(tree), guarded_imports(tree))
        tree = policy.visit(tree)
        if policy.problems:
            raise _refusal(policy.problems)
        return _compiled(ast.fix_missing_locations(tree))
    except RecursionError:
        raise CodeRefused("nested too deeply: write it in steps") from None
    finally:
        sys.setrecursionlimit(before)


def compile_plain(source: str) -> CodeType:
    """``source`` without any policy: for measuring what the lock-down holds alone. Raises CodeRefused for what is no Python."""
    return _compiled(parse(source))


def _compiled(tree: ast.Module) -> CodeType:
    try:
        return compile(tree, FILENAME, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise CodeRefused(f"this is not valid Python: {error.msg}", error.lineno) from None
    except (ValueError, RecursionError, MemoryError, OverflowError, SystemError) as error:
        raise CodeRefused(f"the compiler cannot take this: {type(error).__name__}: {error}") from None


def _refusal(problems: list[tuple[int | None, str]]) -> CodeRefused:
    unique = list(dict.fromkeys(problems))
    first, rest = unique[0], unique[1:_MAX_ERRORS]
    more = "".join(f"; line {line}: {reason}" for line, reason in rest)
    return CodeRefused(first[1] + more, first[0])
