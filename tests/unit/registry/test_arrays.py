"""Arrays survive as bytes; damaged bytes are refused with one error, whatever the archive's reader raises."""

import random

import numpy as np
import pytest

from registry.arrays import packed, unpacked

ARRAYS = {"counts": np.arange(400.0).reshape(20, 20) ** 0.5, "version": np.array(1), "texts": np.array([3, 5], dtype=np.uint8)}


def test_arrays_come_back_as_they_were() -> None:
    found = unpacked(packed(ARRAYS))
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_damage_at_any_place_is_one_error() -> None:
    data = packed(ARRAYS)
    rng, refused = random.Random(1), 0
    for at in range(len(data)):  # every place once: it takes certain bits of certain bytes to be an unknown way to compress
        spoilt = bytearray(data)
        spoilt[at] ^= rng.randrange(1, 256)
        try:
            unpacked(bytes(spoilt))
        except ValueError:
            refused += 1
    assert refused > len(data) / 3


@pytest.mark.parametrize("data", [b"", b"PK", b"not an archive", packed(ARRAYS)[:-30], packed({"o": np.arange(3)})[::-1]])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        unpacked(data)


def test_pickles_are_neither_written_nor_read() -> None:
    with pytest.raises(ValueError, match=r"allow_pickle|Object arrays"):
        packed({"o": np.array([{"a": 1}], dtype=object)})
