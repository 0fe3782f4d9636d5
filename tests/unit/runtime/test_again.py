"""Beginning anew: when, after which pause, and what is handed to the next process."""

from __future__ import annotations

import asyncio

import pytest

from runtime import again
from runtime.again import LISTENER, TIMES, Again, begun, pause_s, worth_beginning
from runtime.ray_cluster.head import Place, place_of, until_gone


@pytest.mark.parametrize(
    ("times", "lived_s", "pause"),
    [(0, 1.0, 0.0), (1, 1.0, 1.0), (2, 1.0, 2.0), (5, 1.0, 16.0), (50, 1.0, 60.0), (50, 500.0, 0.0)],
)
def test_who_begins_anew_too_often_waits_longer(times: int, lived_s: float, pause: float) -> None:
    assert pause_s(times, lived_s=lived_s) == pause


def test_what_the_process_before_left_is_taken_out_of_the_environment() -> None:
    env = {TIMES: "3", LISTENER: "987654", "OTHER": "x"}
    found = begun(env)
    assert (found.times, found.left, env) == (3, None, {"OTHER": "x"})
    assert found.patience_s > 0
    assert (begun({TIMES: "-1; rm"}).times, begun({}).patience_s) == (0, 0.0)


def test_the_next_process_gets_the_arguments_the_socket_and_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(again.os, "execve", lambda path, argv, env: ran.append((argv, env)))
    monkeypatch.setattr(again, "_open_files", lambda: iter(()))
    monkeypatch.setattr(again.sys, "orig_argv", ["python", "-m", "runtime.cli", "serve"])
    again.begin(Again(times=2, fd=7), env={"A": "b", TIMES: "2"}, lived_s=5.0)
    again.begin(Again(times=2, fd=7), env={}, lived_s=500.0)
    assert [argv[1:] for argv, _ in ran] == [["-m", "runtime.cli", "serve"]] * 2
    assert [env for _, env in ran] == [{"A": "b", TIMES: "3", LISTENER: "7"}, {TIMES: "1", LISTENER: "7"}]


async def test_a_cluster_at_an_address_is_waited_for_and_a_stop_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    knocks: list[Place] = []
    monkeypatch.setattr(again, "KNOCK_EVERY_S", 0.0)
    monkeypatch.setattr(again, "SETTLE_S", 0.0)

    async def at_the_third(place: Place) -> bool:
        knocks.append(place)
        return len(knocks) >= 3

    monkeypatch.setattr(again, "answers", at_the_third)
    await worth_beginning(Again(), asyncio.Event(), address="head:6379", lived_s=1.0)
    assert knocks == [("head", 6379)] * 3
    stop = asyncio.Event()
    stop.set()
    await worth_beginning(Again(times=9), stop, address="head:1", lived_s=1.0)
    assert len(knocks) == 3


@pytest.mark.parametrize(
    ("address", "place"),
    [("ray://h:10001", ("h", 10001)), ("[::1]:6379", ("::1", 6379)), ("auto", None), ("h:", None)],
)
def test_where_an_address_points(address: str, place: Place | None) -> None:
    assert place_of(address) == place


async def test_a_head_that_misses_a_knock_is_not_gone_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    heard: list[float] = []

    async def answers(place: Place) -> bool:
        clock[0] += 1.0
        heard.append(clock[0])
        return clock[0] <= 5.0 and clock[0] != 3.0

    monkeypatch.setattr("runtime.ray_cluster.head.answers", answers)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock[0])
    assert await until_gone([("h", 1)], after_s=2.5, poll_s=0.0) == ("h", 1)
    assert heard[-1] == 8.0
