"""Whatever the program, only a result comes out."""

from __future__ import annotations

import asyncio
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.records import Limits, Problem, RunResult, Setup
from sandbox.runner import Sandbox
from tests.integration.sandbox_own import GRACE_S

pytestmark = [pytest.mark.integration, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]


def words(text: str) -> list[str]:
    return text.split()


NAMES = st.sampled_from(words("x y i run self _p __class__ print len str np math getattr type super object e f format data base"))
ATTRIBUTES = st.sampled_from(
    words("real format data base append join mro obj _x __class__ __dict__ __init__ T sum gi_frame upper")
)
ATOMS = st.one_of(
    NAMES, st.sampled_from(["1", "'{0.x}'", "[1, 2]", "{'a': 1}", "(1,)", "None", "1.5", "b'x'", "10**9", "lambda *a, **k: a"])
)
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, ATTRIBUTES).map(lambda p: f"({p[0]}).{p[1]}"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]})({p[1]})"),
        st.tuples(inner, inner).map(lambda p: f"({p[0]})[{p[1]}]"),
        st.tuples(inner, st.sampled_from(words("+ * - % ** == in and @ <<")), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, NAMES, inner).map(lambda p: f"[{p[0]} for {p[1]} in {p[2]}]"),
        inner.map(lambda e: f"f'{{{e}!r:>3}}'" if "'" not in e and "{" not in e else e),
    ),
    max_leaves=8,
)
STATEMENTS = st.one_of(
    EXPRESSIONS,
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"{p[0]} = {p[1]}"),
    st.tuples(NAMES, ATTRIBUTES, EXPRESSIONS).map(lambda p: f"{p[0]}.{p[1]} += {p[2]}"),
    st.tuples(NAMES, EXPRESSIONS, EXPRESSIONS).map(lambda p: f"{p[0]}[{p[1]}] = {p[2]}"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"for {p[0]} in {p[1]}: pass"),
    EXPRESSIONS.map(lambda e: f"raise {e}"),
    EXPRESSIONS.map(lambda e: f"yield {e}"),
    NAMES.map(lambda n: f"import {n}"),
    NAMES.map(lambda n: f"class A({n}): {n} = 1"),
    st.tuples(NAMES, EXPRESSIONS).map(lambda p: f"with {p[1]} as {p[0]}: pass"),
)
PROGRAMS = st.lists(STATEMENTS, min_size=1, max_size=6).flatmap(
    lambda lines: EXPRESSIONS.map(
        lambda last: "import numpy as np, math\ndef run(i):\n    " + "\n    ".join(lines) + f"\n    return {last}\n"
    )
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(PROGRAMS, st.text(max_size=80)), min_size=4, max_size=4))
def test_whatever_the_program_only_a_result_comes_out(sandbox_setup: Setup, programs: list[str]) -> None:
    async def work() -> list[RunResult]:
        async with Sandbox(sandbox_setup) as sandbox:
            return list(await asyncio.gather(*(sandbox.run(code, {"n": 1}, Limits(wall_s=3)) for code in programs)))

    for result in asyncio.run(work()):
        assert isinstance(result, RunResult)
        assert result.ok == (result.problem is None)
        assert result.problem is not Problem.UNAVAILABLE, result
        assert result.wall_s < 3 + GRACE_S
