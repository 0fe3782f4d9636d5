"""Who descends from whom: ancestors, descendants, contributors, depth, and the check that nothing becomes its own ancestor.

Called by artifacts.py before every write, by upkeep.py and inspect.py. Pure; a graph is a mapping from each version to its
parents. Imports nothing of the project but this package's records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from registry.records import InvalidArtifact, LineageCycle, UnknownArtifact, VersionId

Parents = Mapping[VersionId, Sequence[VersionId]]

MAX_PARENTS = 16


def ancestors(graph: Parents, version: VersionId) -> list[VersionId]:
    """Every version above ``version``, nearest first, each once. Parents that are not in the graph count, but have none
    themselves."""
    found: dict[VersionId, None] = {}
    waiting = deque(graph.get(version, ()))
    while waiting:
        parent = waiting.popleft()
        if parent not in found:
            found[parent] = None
            waiting.extend(graph.get(parent, ()))
    return list(found)


def children(graph: Parents) -> dict[VersionId, list[VersionId]]:
    """The graph the other way round."""
    found: dict[VersionId, list[VersionId]] = {}
    for version, parents in graph.items():
        for parent in dict.fromkeys(parents):
            found.setdefault(parent, []).append(version)
    return found


def descendants(graph: Parents, version: VersionId) -> list[VersionId]:
    """Every version below ``version``, nearest first, each once."""
    return ancestors(children(graph), version)


def check(graph: Parents, version: VersionId, parents: Sequence[VersionId]) -> None:
    """Whether ``version`` may have these parents.

    Raises InvalidArtifact (too many, or one twice), UnknownArtifact (a parent that is not there), LineageCycle.
    """
    if len(parents) > MAX_PARENTS:
        raise InvalidArtifact("parents", f"there are {len(parents)} of them; at most {MAX_PARENTS}")
    if len(set(parents)) != len(parents):
        raise InvalidArtifact("parents", "one is named twice")
    for parent in parents:
        if parent == version:
            raise LineageCycle(f"{version} cannot be its own parent")
        if parent not in graph:
            raise UnknownArtifact(f"parents: there is no version {parent}")
        if version in ancestors(graph, parent):
            raise LineageCycle(f"{version} is an ancestor of {parent} already, and cannot descend from it")


def depth(graph: Parents, parents: Iterable[VersionId], known: Mapping[VersionId, int]) -> int:
    """Length of the longest chain above a version with these parents; ``known`` has the depths of versions in the graph."""
    return max((known.get(parent, 0) + 1 for parent in parents), default=0)


def contributors(author: str, parents: Iterable[VersionId], known: Mapping[VersionId, Sequence[str]]) -> tuple[str, ...]:
    """Authors of the whole line, the newest first, each once; ``known`` has the contributors of versions in the graph."""
    names = dict.fromkeys([author])
    for parent in parents:
        names.update(dict.fromkeys(known.get(parent, ())))
    return tuple(names)


def draw(graph: Parents, version: VersionId, label: Callable[[VersionId], str], *, max_lines: int = 400) -> list[str]:
    """The whole family of ``version`` as lines of text: from its roots down, a version that has several parents in full once.

    Lines beyond ``max_lines`` are left out, and that is said.
    """
    family = {version, *ancestors(graph, version), *descendants(graph, version)}
    below = {parent: sorted(set(kids) & family) for parent, kids in children(graph).items()}
    roots = sorted(each for each in family if not set(graph.get(each, ())) & family)
    lines: list[str] = []
    drawn: set[VersionId] = set()
    waiting: list[tuple[VersionId, str, str]] = [(root, "", "") for root in reversed(roots)]
    while waiting:
        each, branch, indent = waiting.pop()
        if len(lines) == max_lines:
            return [*lines, f"… and more: {len(family - drawn)} versions are not shown"]
        again = each in drawn
        mark = " ◀" if each == version else ""
        lines.append(f"{branch}{label(each)}{mark}{' (see above)' if again and below.get(each) else ''}")
        drawn.add(each)
        kids = [] if again else below.get(each, [])
        for n, kid in reversed(list(enumerate(kids))):
            last = n == len(kids) - 1
            waiting.append((kid, f"{indent}{'└─ ' if last else '├─ '}", f"{indent}{'   ' if last else '│  '}"))
    return lines
