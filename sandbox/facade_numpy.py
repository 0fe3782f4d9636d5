"""numpy behind a facade: its numerical face, without files, raw memory, modules and the classes that make objects out of bytes.

Called by world.py, once. What is left out and why: everything that reads or writes files; ``ndarray`` and ``frombuffer`` (memory
as objects); ``matrix``, ``bmat`` and strings in ``r_`` (look names up in the caller's frames); ``nditer`` and ``as_strided``
(unchecked memory); ``frompyfunc`` and ``require``; the submodules but for four.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sandbox.classes import instead, public_types
from sandbox.facade import Facade, Hint, pick
from sandbox.guards import watch
from sandbox.names import OF_ARRAYS, OF_RANDOM, words
from sandbox.owned import attribute_writable, item_writable

_LEFT_OUT = words("""load loadtxt genfromtxt fromregex fromfile fromstring frombuffer from_dlpack memmap save savez
    savez_compressed savetxt DataSource ndarray matrix asmatrix bmat nditer nested_iters frompyfunc require ufunc flatiter record
    recarray void character broadcast seterrcall seterr geterrcall setbufsize getbufsize set_printoptions resize may_share_memory
    shares_memory byte_bounds info test show_config show_runtime get_include r_ c_ vectorize
    lib core rec char strings ma emath dtypes exceptions testing typing ctypeslib f2py random linalg fft polynomial
    ScalarType sctypeDict mintypecode busdaycalendar compat distutils version""")
_RANDOM = """seed rand randn randint random random_sample ranf sample uniform normal standard_normal choice shuffle permutation
binomial poisson exponential gamma beta lognormal multivariate_normal multinomial dirichlet geometric gumbel hypergeometric
laplace logistic logseries negative_binomial noncentral_chisquare noncentral_f pareto power rayleigh standard_cauchy
standard_exponential standard_gamma standard_t triangular vonmises wald weibull zipf chisquare f bytes RandomState SeedSequence"""


class _ArrayType(type):
    def __instancecheck__(cls, obj: Any) -> bool:
        return isinstance(obj, np.ndarray)

    def __subclasscheck__(cls, kind: Any) -> bool:
        return kind is cls or (isinstance(kind, type) and issubclass(kind, np.ndarray))


class ndarray(metaclass=_ArrayType):
    """What code sees of numpy.ndarray: a class to test with and to write in hints."""

    def __new__(cls, *args: Any, **named: Any) -> Any:
        raise TypeError("make arrays with np.array, np.zeros, np.empty or np.full")

    def __class_getitem__(cls, key: Any) -> Any:
        return cls


class _Joiner:
    """``np.r_`` and ``np.c_`` without their strings, which numpy takes for names in the caller's frame."""

    __slots__ = ("_real",)

    def __init__(self, real: Any) -> None:
        object.__setattr__(self, "_real", real)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError("cannot be changed here")

    def __getitem__(self, key: Any) -> Any:
        if any(isinstance(part, str) for part in (key if isinstance(key, tuple) else (key,))):
            raise TypeError("strings in np.r_ and np.c_ are not available here: use np.concatenate")
        return object.__getattribute__(self, "_real")[key]


def _vectorize(pyfunc: Any = None, otypes: Any = None, excluded: Any = None, **named: Any) -> Any:
    """np.vectorize as a function: its objects keep settings that numpy trusts."""
    if pyfunc is None:
        return lambda function: _vectorize(function, otypes, excluded, **named)
    made = np.vectorize(pyfunc, otypes=otypes, excluded=excluded, **named)

    def vectorized(*args: Any, **given: Any) -> Any:
        return made(*args, **given)

    return vectorized


def _resize(array: Any, shape: Any) -> Any:
    return np.resize(array, shape)


def _nothing(*args: Any, **named: Any) -> dict[str, Any]:
    return {}


def _default_rng(seed: Any = None) -> np.random.Generator:
    """Seeds are numbers, lists of them, a SeedSequence or a generator: not an object that claims to be a bit generator."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(seed if isinstance(seed, np.random.SeedSequence) or seed is None else _as_seed(seed))


def _as_seed(seed: Any) -> Any:
    if isinstance(seed, int | np.integer):
        return int(seed)
    return [int(part) for part in seed]


def facades() -> Mapping[str, Facade]:
    """numpy and its usable submodules, by their names; tells the guards about numpy's types."""
    watch(OF_ARRAYS, (np.ndarray, np.generic, np.flatiter, np.dtype))
    watch(("flags", "base"), (np.ndarray,))
    watch(OF_RANDOM, (np.random.Generator, np.random.RandomState))
    instead[np.ndarray] = ndarray
    public_types.update(kind for kind in np.sctypeDict.values() if isinstance(kind, type) and not issubclass(kind, np.void))
    item_writable.add(np.ndarray)
    attribute_writable[np.ndarray] = frozenset({"shape"})
    sliding = {"sliding_window_view": np.lib.stride_tricks.sliding_window_view}
    parts = {
        "numpy.random": {**pick(np.random, _RANDOM), "default_rng": _default_rng, "Generator": Hint("numpy.random.Generator")},
        "numpy.linalg": pick(np.linalg, np.linalg.__all__),
        "numpy.fft": pick(np.fft, np.fft.__all__),
        "numpy.polynomial": pick(np.polynomial, "Polynomial Chebyshev Legendre Laguerre Hermite HermiteE"),
        "numpy.typing": {name: Hint(f"numpy.typing.{name}") for name in ("NDArray", "ArrayLike", "DTypeLike")},
        "numpy.lib.stride_tricks": sliding,
    }
    made = {name: Facade(name, members) for name, members in parts.items()}
    made["numpy.lib"] = Facade("numpy.lib", {"stride_tricks": made["numpy.lib.stride_tricks"]})
    members = {n: getattr(np, n) for n in dir(np) if not n.startswith("_") and n not in _LEFT_OUT}
    members = {name: value for name, value in members.items() if not isinstance(value, type(np))}
    members.update({name.partition(".")[2]: facade for name, facade in made.items() if name.count(".") == 1})
    members.update(
        ndarray=ndarray, r_=_Joiner(np.r_), c_=_Joiner(np.c_), resize=_resize, vectorize=_vectorize, seterr=_nothing,
        set_printoptions=_nothing, ufunc=Hint("numpy.ufunc"), **sliding,
    )  # fmt: skip
    made["numpy"] = Facade("numpy", members)
    return made


def warm() -> None:
    """Touch what a run will touch, so that the pages and caches are there before the children are forked."""
    rng = np.random.default_rng(1)
    table = rng.normal(35, 12, (50, 4))
    for act in (np.linalg.inv, np.fft.fft, repr, np.linalg.eigvalsh):
        act(np.eye(3))
    np.percentile(table, [5, 95])
    np.corrcoef(table.T)
    np.histogram(table, bins=4)
    np.unique(np.array([1, 2]), return_counts=True)
    np.round(table, 2).tolist()
    np.random.seed(1)
    np.random.normal(size=3)
