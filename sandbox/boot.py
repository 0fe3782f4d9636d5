"""The start of the zygote's process: namespaces, fork, lock-down, probes, the system-call filter, service.

Executed by launch.py (``python -I -B``, an empty environment, the listening socket as the only descriptor). Must never be
imported in a daemon: what it does to its process cannot be undone.
"""

from __future__ import annotations

import gc
import linecache
import os
import resource
import socket
import sys
import warnings

from sandbox import child, confine, probes
from sandbox.records import Layer
from sandbox.seccomp import SUPPORTED, Filter, child_steps, zygote_steps
from sandbox.world import build
from sandbox.zygote import Config, Zygote


def main(text: str, descriptor: int) -> None:
    """The process's whole life, from the exec on. ``text`` is a Config as JSON, ``descriptor`` the listening socket."""
    config = Config.read(text)
    if not SUPPORTED:
        raise SystemExit("the sandbox needs Linux on x86_64 or aarch64")
    namespaces = _namespaces(config)
    if os.fork():
        os._exit(0)  # the one that goes on is the first process of the new namespace, and nobody's child
    _prepare_interpreter()
    world = build(scientific=config.scientific)
    address_bytes = _address_bytes()
    listener = socket.socket(fileno=descriptor)
    layers = confine.lock_zygote(config.mount_point, namespaces, config.without)
    layers = probes.check_open(layers)
    locks = child.Locks(
        seccomp=None if "seccomp" in config.without else Filter(child_steps()), rlimits="rlimits" not in config.without
    )
    gc.collect()
    gc.freeze()

    def fork(sock: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            child.main(sock.fileno(), parent, world, locks, policy=config.policy)
        return pid

    parent = os.getpid()
    zygote = Zygote(listener, config, fork)
    if locks.seccomp is not None:
        Filter(zygote_steps()).install()
    layers += probes.check_locked(locks, parent, address_bytes)
    zygote.introduce(layers, address_bytes)
    os.dup2(1, 2)  # the launcher sees the end of our error stream: ready
    zygote.serve()
    os._exit(0)  # no tidying up: it would make system calls that are no longer allowed


def _namespaces(config: Config) -> Layer:
    if "namespaces" in config.without:
        return Layer(name="namespaces", holds=False, how="switched off")
    return confine.enter_namespaces()


def _prepare_interpreter() -> None:
    """No source lines, no warnings, nothing written. (One BLAS thread and UTC come with the environment, from launch.py.)"""
    warnings.simplefilter("ignore")
    sys.dont_write_bytecode = True
    linecache.getlines = lambda *_, **__: []
    linecache.getline = lambda *_, **__: ""


def _address_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()
