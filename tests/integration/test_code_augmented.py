"""Code-augmented reasoning end to end: requests in plain words on the simulated pool, programs of others in the real sandbox, a
person's answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import openai
import pytest

from agents import quality
from agents.calls import Usage
from agents.llm.chat import BackendSpec, ChatReply, ChatRequest
from agents.quality.constraints import parse_constraints
from agents.records import Choice, Json, Work
from agents.schema_check import ShapeLimits
from agents.shaping import parse_shape
from agents.strategies.compose import run_strategy
from agents.strategy_specs import CodeAugmented
from runtime.cli.story import story_of
from sandbox.records import Limits, RunResult
from sandbox.runner import Sandbox
from tests.fakes.toolbox import FakeToolbox
from tests.integration.daemon_process import Running, running_daemon

pytestmark = pytest.mark.integration

ASKS: list[tuple[str, Json, int, list[Json]]] = [
    (
        "We need a roster of a rowing club. The members' ages follow a bell curve with an average of 44 and a standard deviation "
        "of 11, but nobody is younger or older than what the club allows: ages stay between 16 and 85.",
        {"members": [{"id": "integer", "age": "integer", "name": "string", "occupation": "string"}]},
        600,
        [
            {
                "field": "members[].age",
                "distribution": {"family": "normal", "mean": 44, "std": 11, "clip": [16, 85], "round": True},
            }
        ],
    ),
    (
        "Records of business clients, please. Their yearly turnover has to be log-normally distributed. Headcount correlates "
        "with turnover (r² of at least 0.75). The sector is 45% trade, 35% craft and 20% care.",
        {"clients": [{"turnover": "number", "headcount": "integer", "sector": "string", "company": "string", "city": "string"}]},
        300,
        [
            {"field": "clients[].turnover", "distribution": {"family": "lognormal"}},
            {"fields": ["clients[].turnover", "clients[].headcount"], "correlation": {"r2_at_least": 0.75, "scale": "log"}},
            {"field": "clients[].sector", "ratios": {"trade": 0.45, "craft": 0.35, "care": 0.2}},
        ],
    ),
    (
        "Simulate calls to a help desk: waiting_minutes is exponentially distributed with a mean of 7.5, talk_minutes is uniform "
        "between 2 and 25.",
        {"calls": [{"waiting_minutes": "number", "talk_minutes": "number"}]},
        400,
        [
            {"field": "calls[].waiting_minutes", "distribution": {"family": "exponential", "mean": 7.5}},
            {"field": "calls[].talk_minutes", "distribution": {"family": "uniform", "low": 2, "high": 25}},
        ],
    ),
    (
        "Reaction times that are bimodal with peaks at 230 and 410 and standard deviations of 20 and 35.",
        [{"reaction_ms": "number"}],
        500,
        [
            {
                "field": "[].reaction_ms",
                "distribution": {"family": "bimodal", "components": [{"mean": 230, "std": 20}, {"mean": 410, "std": 35}]},
            }
        ],
    ),
]


@pytest.mark.parametrize(("prompt", "shape", "count", "wanted"), ASKS, ids=["ages", "clients", "calls", "two peaks"])
def test_plain_words_come_out_right(daemon: Running, prompt: str, shape: Json, count: int, wanted: list[Json]) -> None:
    body = {"prompt": prompt, "shape": shape, "count": count, "strategy": "code_augmented", "deadline_s": 55}
    status, reply, _ = daemon.call("POST", "/v1/requests", body)
    assert status == 200, reply
    assert reply["status"] == "done", reply["issues"]
    data = reply["answer"]["data"]
    items = data if isinstance(data, list) else next(iter(data.values()))
    assert len(items) == count
    for check in quality.check(data, constraints=parse_constraints(wanted)).checks:
        assert check.score == 1.0, check
    assert all(all(value not in ("", None) for value in item.values()) for item in items)
    _, trace, _ = daemon.call("GET", f"/v1/requests/{reply['id']}", operator=True)
    story = "\n".join(story_of(trace))
    for words in (
        "stage classify",
        "stage constraints",
        wanted[0]["field"],
        "a program (write)",
        "def run(inputs):",
        "a run in the sandbox: ok",
        "p 0.",
    ):
        assert words in story, words


def test_declared_constraints_and_a_figure(daemon: Running) -> None:
    declared = [{"field": "[].points", "distribution": {"family": "poisson", "mean": 6}}, {"field": "[].share", "sum": 100}]
    shape = [{"points": "integer", "share": "number"}]
    body = {"prompt": "Scores of a league", "shape": shape, "count": 120, "constraints": declared, "strategy": "code_augmented"}
    status, reply, _ = daemon.call("POST", "/v1/requests", body)
    assert (status, reply["status"]) == (200, "done"), reply
    assert reply["verdict"]["score"] == 1.0
    asked = {"prompt": "Calculate the median of 12, 3, 44, 9 and 21 exactly", "strategy": "code_augmented"}
    _, reply, _ = daemon.call("POST", "/v1/requests", asked)
    assert reply["answer"]["text"] == "12"


# ── a person ────────────────────────────────────────────────────────────────────────────────────────────────────────────

IMPOSSIBLE = {
    "prompt": "Ages with a standard deviation of 3",
    "shape": [{"age": "integer"}],
    "count": 40,
    "constraints": [
        {"field": "[].age", "distribution": {"family": "normal", "mean": 30, "std": 3}},
        {"field": "[].age", "range": [90, 99]},
    ],
    "strategy": "code_augmented",
}


def test_what_no_program_can_do_is_asked_of_a_person(tmp_path: Path) -> None:
    with running_daemon(tmp_path) as daemon:
        status, reply, headers = daemon.call("POST", "/v1/requests", IMPOSSIBLE)
        assert (status, reply["status"], reply["answer"]) == (202, "needs_person", None), reply
        name = reply["escalation"]["id"]
        assert headers["x-morphogen-escalation-id"] == name
        assert b"morphogen_escalations_open 1.0" in daemon.call("GET", "/metrics", operator=True)[1].encode()
        assert daemon.call("GET", "/v1/escalations")[0] in (401, 403)
        _, listed, _ = daemon.call("GET", "/v1/escalations?state=open", operator=True)
        assert [one["id"] for one in listed["data"]] == [name]
        _, shown, _ = daemon.call("GET", f"/v1/requests/{reply['id']}")
        assert (shown["status"], shown["escalation"]["state"]) == ("needs_person", "open")
        where = f"/v1/escalations/{name}"
        status, refused, _ = daemon.call("POST", f"{where}/answer", {"data": [{"age": "x"}]}, operator=True)
        assert (status, refused["param"]) == (400, "data")
        given = [{"age": 30}] * 40
        assert daemon.call("POST", f"{where}/answer", {"data": given}, operator=True)[0] == 400
        status, ended, _ = daemon.call("POST", f"{where}/answer", {"data": given, "force": True}, operator=True)
        assert (status, ended["state"]) == (200, "answered")
        assert daemon.call("POST", f"{where}/close", {}, operator=True)[0] == 409
        _, shown, _ = daemon.call("GET", f"/v1/requests/{reply['id']}")
        assert (shown["status"], shown["answer"], shown["complete"]) == ("done", {"data": given}, True)
        _as_a_job_and_over_openai(daemon)


def _as_a_job_and_over_openai(daemon: Running) -> None:
    _, accepted, _ = daemon.call("POST", "/v1/requests", {**IMPOSSIBLE, "mode": "async"})
    shown: Any = {}
    for _ in range(300):
        _, shown, _ = daemon.call("GET", f"/v1/requests/{accepted['id']}")
        if shown["status"] not in ("queued", "running"):
            break
    assert shown["status"] == "needs_person"
    name = shown["escalation"]["id"]
    given = {"data": [{"age": 31}] * 40, "force": True}
    assert daemon.call("POST", f"/v1/escalations/{name}/answer", given, operator=True)[0] == 200
    _, shown, _ = daemon.call("GET", f"/v1/requests/{accepted['id']}")
    assert (shown["status"], shown["answer"]) == ("done", {"data": given["data"]})
    messages: Any = [{"role": "user", "content": "Amounts that sum to 100. The amounts also sum to 250."}]
    more = {"strategy": "code_augmented", "shape": [{"amount": "number"}], "count": 10}
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="none", max_retries=2) as client:
        with pytest.raises(openai.UnprocessableEntityError) as error:
            client.chat.completions.create(model="auto", messages=messages, extra_body={"morphogen": more})
        assert error.value.code == "escalated"
        assert error.value.response.headers["x-morphogen-escalation-id"].startswith("esc-")
        error.value.response.close()


# ── programs of others in the real sandbox ──────────────────────────────────────────────────────────────────────────────

WRONG_ARGUMENT = """
import numpy as np


def run(inputs):
    generator = np.random.default_rng(inputs["seed"])
    drawn = generator.normal(loc=inputs["mean"], std=inputs["deviation"], size=inputs["count"])
    return {"result": [{"age": int(age)} for age in np.clip(drawn, 25, 90)], "checks": {"filled": True}}
"""
UNDECLARED_CLIP = WRONG_ARGUMENT.replace("std=", "scale=")
RIGHT = UNDECLARED_CLIP.replace('"age": int(age)', '"age": float(age)').replace("np.clip(drawn, 25, 90)", "drawn")
TOO_WEAK = """
import math
import numpy as np


def run(inputs):
    generator = np.random.default_rng(inputs["seed"])
    worth = generator.lognormal(9, 1.1, inputs["count"])
    size = np.log10(worth) * 40 + generator.normal(0, 16, inputs["count"])
    rows = [{"worth": math.log(a), "size": float(b)} for a, b in zip(worth, size)]
    return {"result": rows, "checks": {"correlated": True}}
"""
BOTH = '```json\n{{"parameters": {{"mean": 37, "deviation": 9}}}}\n```\n```python\n{code}\n```'


async def _with(answers: list[str], asked: Work) -> tuple[Any, FakeToolbox]:
    left = [BOTH.format(code=code) for code in answers]

    def answer(request: ChatRequest, choice: Choice) -> Json:
        return ChatReply(text=left.pop(0), model="m", usage=Usage(), backend="coder")

    class Box(FakeToolbox):
        async def run_code(self, code: str, inputs: Json, limits: Limits | None = None) -> RunResult:
            return await sandbox.run(code, inputs, limits)

    async with Sandbox() as sandbox:
        await sandbox.health()
        await sandbox.run("import numpy\n\n\ndef run(inputs):\n    return 1\n", None, Limits(wall_s=60))
        coder = BackendSpec(name="coder", capabilities=frozenset({"code", "words"}))
        box = Box(answer=answer, backends=(coder,))
        return await run_strategy(asked, CodeAugmented(extractor=None), box, Choice(), visible=False), box


def _work(prompt: str, shape: Json, constraints: list[Json]) -> Work:
    schema = parse_shape(shape, limits=ShapeLimits())
    messages = ({"role": "user", "content": prompt},)
    return Work(messages=messages, schema=schema, count=1000, constraints=parse_constraints(constraints), index=3)


async def test_usual_mistakes_are_refused_with_the_failing_check_and_repaired() -> None:
    wanted = [{"field": "[].age", "distribution": {"family": "normal", "mean": 37, "std": 9}}]
    asked = _work("Ages, normally distributed", [{"age": "number"}], wanted)
    draft, box = await _with([WRONG_ARGUMENT, UNDECLARED_CLIP, RIGHT], asked)
    assert draft.complete
    told = [str(request.messages[-1]["content"]) for request, _, _ in box.asked]
    assert "unexpected keyword argument 'std'" in told[1]
    assert "line 6" in told[1]
    assert "Kolmogorov-Smirnov" in told[2]


async def test_a_correlation_below_what_the_program_asserts_is_seen() -> None:
    wanted = [{"fields": ["[].worth", "[].size"], "correlation": {"r2_at_least": 0.8}}]
    asked = _work("Firms whose size correlates with their worth", [{"worth": "number", "size": "number"}], wanted)
    draft, box = await _with([TOO_WEAK, TOO_WEAK.replace("16,", "4,")], asked)
    assert draft.complete
    assert "r² of at least 0.8 (r 0.7" in str(box.asked[1][0].messages[-1]["content"])
    assert math.isclose(len(draft.data), 1000)
