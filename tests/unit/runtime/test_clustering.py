"""Groups without being told how many: the number, the partition, and who keeps a name."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from runtime.topology.clustering import Partition, fit, means, sizes_of_linked, unit


def blobs(k: int, each: int, *, spread: float = 0.3, d: int = 24, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    middles = unit(rng.standard_normal((k, d)))
    labels = np.repeat(np.arange(k), each)
    return unit(middles[labels] + spread * rng.standard_normal((k * each, d)) / np.sqrt(d)), labels


@pytest.mark.parametrize("distance", [0.2, 0.5, 0.8])
def test_linked_sizes_are_those_of_average_linkage(distance: float) -> None:
    points, _ = blobs(6, 15, spread=1.5, seed=3)
    ours = sorted(sizes_of_linked(points, distance).tolist())
    theirs = fcluster(linkage(points, "average", metric="cosine"), distance, "distance")
    assert ours == sorted(np.bincount(theirs)[1:].tolist())


def test_means_of_groups_leave_an_empty_one_at_zero() -> None:
    points = np.array([[1, 0], [3, 0], [0, 2]], dtype=np.float32)
    assert means(points, np.array([0, 0, 2]), 4).tolist() == [[2, 0], [0, 0], [0, 2], [0, 0]]


def test_a_partition_bends_to_the_true_groups_from_one() -> None:
    points, labels = blobs(5, 30)
    parts = Partition(points, np.zeros(len(points), dtype=np.int64), [None])
    parts.bend_to(5, 5, 0.5)
    parts.settle(2)
    assert len(parts.names) == 5
    assert all(len(set(parts.labels[labels == group].tolist())) == 1 for group in range(5))


def test_a_merged_group_leaves_its_name_to_the_larger() -> None:
    points, labels = blobs(2, 30)
    halves = labels.copy()
    halves[:10] = 2
    parts = Partition(points, halves, [7, 8, 9])
    parts.bend_to(2, 2, 0.5)
    assert sorted(name for name in parts.names if name is not None) == [7, 8]
    assert parts.absorbed == {9: 7}
    assert len({*parts.labels[labels == 0].tolist()}) == 1


def test_the_larger_half_of_a_split_keeps_the_name() -> None:
    points, labels = blobs(2, 20)
    keep = np.flatnonzero((labels == 0) | (np.arange(len(labels)) >= 32))
    parts = Partition(points[keep], np.zeros(len(keep), dtype=np.int64), [3])
    parts.bend_to(2, 2, 0.5)
    assert parts.names == [3, None]
    assert np.bincount(parts.labels).tolist() == [20, 8]


def test_identical_points_are_one_group_and_nothing_is_split_off() -> None:
    points = np.tile(unit(np.ones((1, 8), dtype=np.float32)), (50, 1))
    assert fit(points, 4, 0.4)(points).shape == (50, 4)
    assert sizes_of_linked(fit(points, 4, 0.4)(points), 0.65).tolist() == [50]
    parts = Partition(points, np.zeros(50, dtype=np.int64), [None])
    parts.bend_to(4, 4, 0.5)
    assert len(parts.names) == 1


def test_what_is_not_apart_is_not_two_beyond_the_least_number() -> None:
    points, labels = blobs(3, 30)
    parts = Partition(points, np.zeros(len(points), dtype=np.int64), [None])
    parts.bend_to(1, 8, 0.5)
    assert len(parts.names) == 3
    halves = np.where(np.arange(len(labels)) % 2, labels, labels + 3)
    again = Partition(points, halves, list(range(6)))
    again.bend_to(1, 8, 0.5)
    assert len(again.names) == 3
