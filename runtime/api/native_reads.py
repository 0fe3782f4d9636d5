"""What is done with a request by its id: its state and trace, its items, its progress as a stream, feedback, an end.

Mounted by app.py; sees the daemon only through ``Service``. A client sees the requests of its own key (on loopback without a key,
those made without one), an operator all; another's are unknown to it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response, StreamingResponse

from agents.records import Json, NotFound
from runtime.api.auth import principal_of
from runtime.api.body import SMALL_BYTES, read_model
from runtime.api.errors import ApiError, Fault
from runtime.api.native_models import NewFeedback
from runtime.api.query import whole_number
from runtime.api.streams import EventStream, sse
from runtime.api.wire import dumps, json_response, mark
from runtime.escalations import NEEDS_PERSON, Escalation, id_of, pointer
from runtime.jobs.records import STATE_OF_STATUS, Feedback, Job
from runtime.jobs.views import progress_body
from runtime.records import Service

MAX_ITEMS: Final = 5_000
DEFAULT_ITEMS: Final = 1_000
MAX_PAGE_CHARS: Final = 8 * 2**20
HEARTBEAT_S: Final = 15.0
_EVENTS: Final = 200
"""Events read from the ledger at once for one watcher: a slow one costs no more memory than that."""
_POLL_S: Final = 1.0
_MAX_ID_CHARS: Final = 128
_MAX_EVENT_CHARS: Final = 256 * 1024
_LAST: Final = 2**31


class NativeReads:
    """The endpoints under /v1/requests/{id}. ``clock`` gives epoch seconds."""

    def __init__(self, service: Service, *, clock: Callable[[], float] = time.time) -> None:
        self._service = service
        self._clock = clock

    async def show(self, http: HttpRequest) -> Response:
        """GET /v1/requests/{id}: state, progress, the answer when it is there, and the whole trace."""
        job, trace = await self._found(http)
        feedback = list(await self._service.jobs.feedbacks(trace["id"]))
        question = await self._service.escalations.find(id_of(trace["id"]))
        view = _with_question(_view_of_job(job) if job is not None else _view_of_trace(trace), question)
        return json_response({**trace, **view, "feedback": feedback}, headers=mark(simulated=_simulated(job, trace)))

    async def items(self, http: HttpRequest) -> Response:
        """GET /v1/requests/{id}/items?from=&limit=: items of a list with their places; ``next`` is where to go on."""
        start = whole_number(http, "from", low=0, high=_LAST, default=0)
        limit = whole_number(http, "limit", low=1, high=MAX_ITEMS, default=DEFAULT_ITEMS)
        job, trace = await self._found(http)
        simulated = _simulated(job, trace)
        if job is None or job.total is None:
            whole = _lines_of(job, trace)
            page: list[Json] = [{"index": n, "item": item} for n, item in enumerate(whole[start : start + limit], start)]
            following = start + len(page) if page and start + len(page) < len(whole) else None
            body: dict[str, Json] = {"data": page, "total": len(whole), "done": len(whole), "next": following}
        else:
            page, following = await self._page(job, start, limit)
            body = {"data": page, "total": job.total, "done": job.done, "status": job.state, "next": following}
        return json_response({**body, "simulated": simulated}, headers=mark(simulated=simulated))

    async def _page(self, job: Job, start: int, limit: int) -> tuple[list[Json], int | None]:
        """``next`` is None at the end of what there is."""
        page: list[Json] = []
        place, room = start, MAX_PAGE_CHARS
        while True:
            parts = await self._service.jobs.parts(job.request_id, first=place, limit=1)
            if not parts:
                return page, None
            if len(page) >= limit or room <= 0:
                return page, place
            part = parts[0]
            room -= len(part.items)
            items = orjson.loads(part.items)[max(0, place - part.range.first) :][: limit - len(page)]
            place = max(place, part.range.first)
            page += [{"index": place + n, "item": item} for n, item in enumerate(items)]
            place += len(items)

    async def result(self, http: HttpRequest) -> Response:
        """GET /v1/requests/{id}/result: the items as NDJSON, one a line in order; an answer that is no list is one line."""
        job, trace = await self._found(http)
        headers = mark(simulated=_simulated(job, trace))
        if job is None or job.total is None:
            body = b"".join(dumps(item) + b"\n" for item in _lines_of(job, trace))
            return Response(body, headers=headers, media_type="application/x-ndjson")
        headers |= {"x-morphogen-status": job.state, "x-morphogen-missing": str(job.total - job.done)}
        return StreamingResponse(self._lines(job), headers=headers, media_type="application/x-ndjson")

    async def _lines(self, job: Job) -> AsyncIterator[bytes]:
        place = 0
        while parts := await self._service.jobs.parts(job.request_id, first=place, limit=1):
            yield b"".join(dumps(item) + b"\n" for item in orjson.loads(parts[0].items))
            place = parts[0].range.end

    async def stream(self, http: HttpRequest) -> Response:
        """GET /v1/requests/{id}/stream?from_seq=: events from that number on, also ``Last-Event-ID``; the outcome ends it.

        204 where it ended before that number: an EventSource would ask again and again for a stream that is only empty.
        """
        seq = whole_number(http, "from_seq", low=0, high=_LAST, default=0)
        last = http.headers.get("last-event-id", "").strip()
        if last.isascii() and last.isdecimal() and len(last) <= 10:
            seq = max(seq, int(last) + 1)
        job, trace = await self._found(http)
        if job is not None and not job.is_open and not await self._service.jobs.events(trace["id"], from_seq=seq, limit=1):
            return Response(status_code=204)
        events = self._events(trace["id"], seq) if job is not None else self._outcome_alone(trace["id"])
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no", "x-morphogen-request-id": trace["id"]}
        headers |= mark(simulated=_simulated(job, trace))
        return EventStream(events, events, headers, final=b"event: outcome")

    async def _events(self, request_id: str, seq: int) -> AsyncIterator[bytes]:
        jobs = self._service.jobs
        said = time.monotonic()
        yield b": the events of this request\n\n"
        while True:
            job = await jobs.find(request_id)
            for event in await jobs.events(request_id, from_seq=seq, limit=_EVENTS):
                seq, said = event.seq + 1, time.monotonic()
                if event.kind != "outcome":
                    yield sse(event.kind, {**_dict(event.data), "at": event.at}, seq=event.seq)
                    continue
                ended = await jobs.find(request_id)
                body = _outcome_of(ended) if ended is not None else _dict(event.data)
                yield sse("outcome", {**body, "at": event.at}, seq=event.seq)
                return
            if job is None or not job.is_open:
                # It was over before the events were read: nothing more comes.
                if not await jobs.events(request_id, from_seq=seq, limit=1):
                    return
                continue
            await jobs.changed(request_id, timeout_s=_POLL_S)
            if time.monotonic() - said >= HEARTBEAT_S:
                said = time.monotonic()
                yield b": still at work\n\n"

    async def _outcome_alone(self, request_id: str) -> AsyncIterator[bytes]:
        """The stream of a request that was asked synchronously: only its outcome, once there is one."""
        yield b": the outcome of this request\n\n"
        beats = 0
        while True:
            trace = await self._service.trace(request_id)
            if trace is None:
                return
            if trace["outcome"] is not None:
                yield sse("outcome", _view_of_trace(trace), seq=1)
                return
            await asyncio.sleep(_POLL_S)
            beats += 1
            if beats % HEARTBEAT_S == 0:
                yield b": still at work\n\n"

    async def feedback(self, http: HttpRequest) -> Response:
        """POST /v1/requests/{id}/feedback ``{"score": 0..1, "comment"}``: the latest of each key counts."""
        given = await read_model(http, NewFeedback, self._service.settings.server, most=SMALL_BYTES)
        _, trace = await self._found(http)
        kept = Feedback(score=given.score, comment=given.comment, at=self._clock())
        # The library first: what both write is durable together, so that an answer that was found wrong stays out after a kill.
        learned = self._service.library.feedback(trace["id"], given.score, trace)
        await self._service.jobs.feedback(trace["id"], principal_of(http).key_id, kept)
        shown = {"id": trace["id"], "score": kept.score, "comment": kept.comment, "at": kept.at}
        return json_response({**shown, "library": learned})

    async def cancel(self, http: HttpRequest) -> Response:
        """DELETE /v1/requests/{id}: end it. One that is over stays as it is and its state is the answer: it may be repeated."""
        job, trace = await self._found(http)
        if job is not None:
            ended = await self._service.jobs.cancel(job.request_id) or job
            return json_response(_view_of_job(ended), headers=mark(simulated=ended.simulated))
        if trace["outcome"] is None:
            message = "This request is answered on its own connection; closing that connection cancels it"
            raise ApiError(Fault(status=409, type="invalid_request_error", code="not_a_job", message=message, param="id"))
        return json_response(_view_of_trace(trace), headers=mark(simulated=_simulated(job, trace)))

    async def _found(self, http: HttpRequest) -> tuple[Job | None, dict[str, Any]]:
        """The job, where it is one, and the trace. Raises NotFound, also for another's."""
        request_id = http.path_params["request_id"]
        if len(request_id) <= _MAX_ID_CHARS:
            job = await self._service.jobs.find(request_id)
            trace = await self._service.trace(request_id)
            principal = principal_of(http)
            if trace is not None and (principal.operator or _owner(job, trace) == (True, principal.key_id)):
                return job, trace
        raise NotFound(f"No request {request_id[:_MAX_ID_CHARS]!r} is known", param="id")


def _owner(job: Job | None, trace: Mapping[str, Json]) -> tuple[bool, str | None]:
    """(known, whose key). A trace that lost its request belongs to nobody but operators."""
    if job is not None:
        return True, job.key_id
    request = trace.get("request")
    return (True, request.get("key_id")) if isinstance(request, dict) else (False, None)


def _simulated(job: Job | None, trace: Mapping[str, Json]) -> bool:
    """Whether a simulated backend has had a part in it, as far as it is."""
    return job.simulated if job is not None else bool(_dict(trace.get("outcome")).get("simulated"))


def _view_of_job(job: Job) -> dict[str, Json]:
    sofar = {"deadline_at": job.deadline_at, "simulated": job.simulated}
    body = {"id": job.request_id, "status": job.state, **progress_body(job), **sofar}
    return body if job.reply is None else {**body, **orjson.loads(job.reply)}


def _with_question(view: dict[str, Json], question: Escalation | None) -> dict[str, Json]:
    """The view of a request that a person was asked about: it waits, has the person's whole answer, or stays without one."""
    if question is None:
        return view
    told = {**pointer(question.request_id), "state": question.state, "comment": question.comment}
    if question.state == "answered":
        view |= {"status": "done", "answer": question.answer, "complete": True, "issues": []}
    else:
        view["status"] = NEEDS_PERSON if question.state == "open" else "failed"
    return {**view, "escalation": told}


def _outcome_of(job: Job) -> dict[str, Json]:
    """The last event: the reply, without an answer that is larger than an event should be."""
    view = _view_of_job(job)
    if job.reply is not None and len(job.reply) > _MAX_EVENT_CHARS:
        view |= {"answer": None, "answer_at": f"/v1/requests/{job.request_id}"}
    return view


def _view_of_trace(trace: Mapping[str, Json]) -> dict[str, Json]:
    """The same of a synchronous request, as far as the trace kept it (long texts are cut there, and marked)."""
    outcome = trace.get("outcome")
    if not isinstance(outcome, dict):
        return {"id": trace["id"], "status": "running", "progress": {"done": 0, "total": 1}}
    status = str(outcome.get("status"))
    body = _dict(outcome.get("body"))
    issues = body.pop("issues", [])
    answered = status in ("ok", "partial")
    prompt, completion = int(outcome.get("prompt_tokens") or 0), int(outcome.get("completion_tokens") or 0)
    view: dict[str, Json] = {
        "id": trace["id"],
        "status": STATE_OF_STATUS.get(status, status),
        "progress": {"done": int(answered), "total": 1},
        "answer": _kept_answer(trace, body) if answered else None,
        "complete": status == "ok",
        "issues": issues,
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "estimated": bool(outcome.get("estimated")),
        },
        **{name: outcome.get(name) for name in ("cost_usd", "node", "strategy", "backend", "simulated", "attempts", "latency_s")},
    }
    if not answered:
        view["error"] = {
            "code": outcome.get("error_code"),
            "message": outcome.get("error_message"),
            "param": outcome.get("error_param"),
        }
    return view


def _kept_answer(trace: Mapping[str, Json], body: dict[str, Json]) -> Json:
    """The answer as its client got it, as far as the ledger kept it; None where bodies are not kept."""
    asked = _dict(_dict(trace.get("request")).get("body"))
    if "schema" in asked and isinstance(body.get("text"), str):
        try:
            return {**{name: value for name, value in body.items() if name != "text"}, "data": orjson.loads(body["text"])}
        except orjson.JSONDecodeError:  # it was cut, or never became what was asked for
            pass
    return body or None


def _lines_of(job: Job | None, trace: Mapping[str, Json]) -> list[Json]:
    """The answer as lines: the items of its list, else the answer itself. Raises ApiError 409 where there is none yet."""
    view = _view_of_job(job) if job is not None else _view_of_trace(trace)
    answer = view.get("answer")
    if not isinstance(answer, dict):
        over = view["status"] in ("done", "partial")
        why = "answers are not kept (data.store_bodies)" if over else f"it is {view['status']}"
        message = f"This request has no answer to show: {why}"
        raise ApiError(Fault(status=409, type="invalid_request_error", code="no_answer", message=message, param="id"))
    if "data" not in answer:
        return [answer]
    data = answer["data"]
    if isinstance(data, list):
        return data
    lists = [value for value in data.values() if isinstance(value, list)] if isinstance(data, dict) else []
    return lists[0] if len(lists) == 1 else [data]


def _dict(value: Json) -> dict[str, Json]:
    return dict(value) if isinstance(value, dict) else {}
