"""How many threads a batch may use: two only where it is certain that they sleep while they wait for each other."""

import pytest

from registry.packed import batch_threads


@pytest.mark.parametrize(
    ("loaded", "chosen", "cores", "threads"),
    [
        (False, None, 8, 2),
        (False, None, 1, 1),
        (False, "passive", 8, 2),
        (False, "ACTIVE", 8, 1),
        (True, None, 8, 1),
        (True, "PASSIVE", 8, 1),
    ],
)
def test_two_threads_need_patience(loaded: bool, chosen: str | None, cores: int, threads: int) -> None:
    assert batch_threads(loaded=loaded, chosen=chosen, cores=cores) == threads
