"""One column of a made-up table, as lines of Python over ``n``, ``rng``, ``inputs``, ``columns``. Pure; called by datacode.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agents.llm.simulated.rules import words_of
from agents.llm.simulated.vocabulary import NUMBERS
from agents.records import Json
from agents.schema_check import resolve

_MARGIN: Final = 0.65
"""How far a correlation is aimed above what is asked, of what is left to 1."""


@dataclass
class Column:
    """``entries`` are the conditions on this field alone, ``pair`` a correlation with a field that is drawn before it."""

    name: str
    schema: dict[str, Any]
    entries: list[dict[str, Any]]
    pair: dict[str, Any] | None
    root: Mapping[str, Any]
    rank: int = 0
    """Those that follow another column come after it."""
    parameters: dict[str, Json] = field(default_factory=dict)

    def lines(self) -> list[str]:
        drawn = self._drawn()
        if self.pair is not None:
            drawn = [*drawn, *self._ordered_like()] if self._one("distribution") else self._following()
        drawn += self._finished()
        return [*drawn, f'columns["{self.name}"] = {self._plain()}']

    def checks(self) -> list[str]:
        """What the program says of this column itself, as items of a dict."""
        found: list[str] = []
        values = f'columns["{self.name}"]'
        if self.pair is not None:
            log = self.pair["correlation"].get("scale") == "log"
            sides = [f'columns["{name}"]' for name in self.pair["fields"]]
            a, b = (f"np.log({side})" if log else side for side in sides)
            r = f"np.corrcoef({a}, {b})[0, 1]"
            wanted = self.pair["correlation"]
            held = (
                f"{r} ** 2 >= {wanted['r2_at_least']}"
                if "r2_at_least" in wanted
                else f"{wanted['r'][0]} <= {r} <= {wanted['r'][1]}"
            )
            found.append(f'"{self.name} correlates": bool({held})')
        clip = (self._one("distribution") or {}).get("clip")
        if clip:
            low, high = ("-math.inf" if clip[0] is None else clip[0]), ("math.inf" if clip[1] is None else clip[1])
            found.append(f'"{self.name} within its ends": bool(min({values}) >= {low} and max({values}) <= {high})')
        if (total := self._one("sum")) is not None:
            found.append(f'"{self.name} sums up": abs(sum({values}) - {_target(total)}) < 0.01')
        if self._one("unique"):
            found.append(f'"{self.name} is unique": len(set({values})) == n')
        return found

    def _one(self, kind: str) -> Any:
        return next((entry[kind] for entry in self.entries if kind in entry), None)

    def _named(self, key: str, value: Json) -> str:
        """A parameter of the program; how it is read in the code."""
        name = re.sub(r"\W", "_", f"{self.name}_{key}")
        self.parameters[name if name.isidentifier() else f"p_{name}"] = value
        return f'inputs["{name if name.isidentifier() else f"p_{name}"}"]'

    # ── drawing ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drawn(self) -> list[str]:
        wanted = self._one("distribution")
        if wanted is not None:
            return self._sampled(wanted)
        if (shares := self._one("ratios")) is not None:
            return self._quotas(shares.get("shares", shares) if isinstance(shares, dict) else {})
        if (total := self._one("sum")) is not None:
            return self._summing(total)
        value = plain_value(self.name, self._bounded(), self.root, unique=bool(self._one("unique")))
        return [f"values = [{value} for i in range(n)]".replace("{i}", "i")]

    def _bounded(self) -> dict[str, Any]:
        bounds = self._one("range")
        if bounds is None:
            return self.schema
        low, high = bounds
        return {**self.schema, **({"minimum": low} if low is not None else {}), **({"maximum": high} if high is not None else {})}

    def _sampled(self, wanted: Mapping[str, Any]) -> list[str]:
        lines = [f"values = {self._draw(wanted)}"]
        if "truncate" in wanted:
            low, high = (self._named(name, end) for name, end in zip(("low", "high"), wanted["truncate"], strict=True))
            again = self._draw(wanted)
            lines = [
                "kept = np.array([])",
                "while len(kept) < n:",
                f"    more = {again}",
                f"    kept = np.concatenate([kept, more[(more >= {low}) & (more <= {high})]])",
                "values = kept[:n]",
            ]
        step = wanted.get("round")
        if step is not None and not (wanted["family"] == "uniform" and wanted.get("low") is not None):
            lines.append(
                "values = np.round(values)"
                if step is True
                else "values = np.floor(values)"
                if step == "floor"
                else f"values = np.round(values / {step}) * {step}"
            )
        if "clip" in wanted:
            low, high = (
                "None" if end is None else self._named(name, end)
                for name, end in zip(("low", "high"), wanted["clip"], strict=True)
            )
            lines.append(f"values = np.clip(values, {low}, {high})")
        return lines

    def _draw(self, wanted: Mapping[str, Any]) -> str:
        low, high = NUMBERS.get((words_of(self.name) or ("",))[-1], (20, 200))
        match wanted["family"]:
            case "normal":
                mean, std = wanted.get("mean", (low + high) / 2), wanted.get("std", (high - low) / 8)
                return f"rng.normal({self._named('mean', mean)}, {self._named('std', std)}, n)"
            case "lognormal":
                if "mean" in wanted or "median" in wanted:
                    return self._lognormal(wanted)
                mu, sigma = wanted.get("mu", 11.0), wanted.get("sigma", 0.9)
                return f"rng.lognormal({self._named('mu', mu)}, {self._named('sigma', sigma)}, n)"
            case "uniform":
                ends = (self._named("low", wanted.get("low", low)), self._named("high", wanted.get("high", high)))
                if wanted.get("round") is not None and wanted.get("low") is not None:
                    step = 1 if wanted["round"] in (True, "floor") else wanted["round"]
                    return f"{ends[0]} + {step} * rng.integers(0, int(round(({ends[1]} - {ends[0]}) / {step})) + 1, n)"
                return f"rng.uniform({ends[0]}, {ends[1]}, n)"
            case "exponential":
                start = wanted.get("low", 0)
                mean = wanted.get("mean", 1 / wanted["rate"] if "rate" in wanted else (low + high) / 2)
                return f"{start} + rng.exponential({self._named('mean', mean)} - {start}, n)"
            case "gamma":
                return f"rng.gamma({self._named('shape', wanted['shape'])}, {self._named('scale', wanted['scale'])}, n)"
            case "poisson":
                return f"rng.poisson({self._named('mean', wanted['mean'])}, n)"
            case _:
                return self._mixture(wanted.get("components") or [])

    def _lognormal(self, wanted: Mapping[str, Any]) -> str:
        if "median" in wanted:
            return (
                f"rng.lognormal(math.log({self._named('median', wanted['median'])}), {self._named('sigma', wanted['sigma'])}, n)"
            )
        mean, std = self._named("mean", wanted["mean"]), self._named("deviation", wanted["std"])
        spread = f"math.sqrt(math.log(1 + ({std} / {mean}) ** 2))"
        return f"rng.lognormal(math.log({mean}) - {spread} ** 2 / 2, {spread}, n)"

    def _mixture(self, parts: list[dict[str, Any]]) -> str:
        total = sum(part.get("weight", 1.0) for part in parts) or 1.0
        weights = self._named("weights", [part.get("weight", 1.0) / total for part in parts])
        means, stds = (
            self._named("means", [part["mean"] for part in parts]),
            self._named("deviations", [part["std"] for part in parts]),
        )
        pick = f"rng.choice({len(parts)}, size=n, p={weights})"
        return f"np.array([rng.normal({means}[k], {stds}[k]) for k in {pick}])"

    def _quotas(self, shares: Mapping[str, float]) -> list[str]:
        named = self._named("shares", dict(shares))
        return [
            f"shares = {named}",
            "quotas = {name: int(share * n) for name, share in shares.items()}",
            "rest = sorted(shares, key=lambda name: quotas[name] - shares[name] * n)[: n - sum(quotas.values())]",
            "for name in rest:",
            "    quotas[name] = quotas[name] + 1",
            "filled = [name for name in shares for _ in range(quotas[name])]",
            "values = [filled[k] for k in rng.permutation(n)]",
        ]

    def _summing(self, wanted: Any) -> list[str]:
        total = self._named("sum", _target(wanted))
        unit = 1 if self.schema.get("type") == "integer" else 100
        return [
            "weights = rng.uniform(0.5, 1.5, n)",
            f"values = np.floor(weights / weights.sum() * {total} * {unit})",
            f"missing = int(round({total} * {unit} - values.sum()))",
            "values[:missing] = values[:missing] + 1",
            f"values = values / {unit}",
        ]

    # ── what depends on another column ──────────────────────────────────────────────────────────────────────────────────

    def _ordered_like(self) -> list[str]:
        """The same values in an order that follows the other column's."""
        r = self._aim()
        return [
            f'other = np.array(columns["{self._leader}"], dtype=float)',
            "scores = np.argsort(np.argsort(other + rng.uniform(0, 1e-9, n)))",
            "latent = np.array([NormalDist().inv_cdf((k + 0.5) / n) for k in scores])",
            f"noise = rng.normal(0, {(1 - r * r) ** 0.5:.4f}, n)",
            f"places = np.argsort(np.argsort({r:.4f} * latent + noise))",
            "values = np.sort(values)[places]",
        ]

    def _following(self) -> list[str]:
        """Values of no distribution of their own: the other column with noise."""
        r = self._aim()
        low, high = NUMBERS.get((words_of(self.name) or ("",))[-1], (40, 400))
        log = (self.pair or {})["correlation"].get("scale") == "log"
        other = f'np.array(columns["{self._leader}"], dtype=float)'
        centre = self._named("centre", max(50.0, (low + high) / 2))
        lines = [f"other = {f'np.log({other})' if log else other}", "score = (other - other.mean()) / other.std()"]
        lines.append(f"noise = rng.normal(0, {(1 - r * r) ** 0.5:.4f}, n)")
        spread = (
            f"{centre} * np.exp(0.5 * ({r:.4f} * score + noise))" if log else f"{centre} * (1 + 0.2 * ({r:.4f} * score + noise))"
        )
        lines.append(f"values = {spread}")
        floor, ceiling = self.schema.get("minimum"), self.schema.get("maximum")
        if floor is not None or ceiling is not None or log:
            lines.append(f"values = np.clip(values, {1 if floor is None and log else floor}, {ceiling})")
        return lines

    @property
    def _leader(self) -> str:
        return str(next(name for name in (self.pair or {})["fields"] if name != self.name))

    def _aim(self) -> float:
        wanted = (self.pair or {})["correlation"]
        if "r" in wanted:
            low, high = wanted["r"]
            return float(min(0.995, max(-0.995, (low + high) / 2)))
        least = float(wanted["r2_at_least"])
        return float(min(0.999, (least + _MARGIN * (1 - least)) ** 0.5))

    def _finished(self) -> list[str]:
        order = self._one("monotonic")
        if order is None:
            return []
        strict = ["values = np.arange(n) + 1"] if order.startswith("strictly") and self.schema.get("type") == "integer" else []
        return [*strict, f"values = sorted(values{', reverse=True' if order.endswith('decreasing') else ''})"]

    def _plain(self) -> str:
        kind = self.schema.get("type")
        if kind == "integer":
            return "[int(round(float(v))) for v in values]"
        wanted = self._one("distribution")
        if kind == "number" and (wanted is not None or self.pair is not None):
            fine = "float(v)" if wanted and wanted.get("round") is None else "round(float(v), 6)"
            return f"[{fine} for v in values]"
        return "[round(float(v), 2) for v in values]" if kind == "number" else "list(values)"


def _target(wanted: Any) -> float:
    if isinstance(wanted, Mapping):
        return float(wanted["equals"])
    if isinstance(wanted, list):
        ends = [end for end in wanted if end is not None]
        return float(sum(ends) / len(ends))
    return float(wanted)


def plain_value(name: str, schema: Mapping[str, Any], root: Mapping[str, Any], *, unique: bool = False, depth: int = 0) -> str:
    """An expression for one value of no condition; ``{i}`` stands for the item's place."""
    words = words_of(name) or ("",)
    if isinstance(options := schema.get("enum"), list) and options:
        return f"{options!r}[int(rng.integers(0, {len(options)}))]"
    kind = schema.get("type")
    if kind == "boolean":
        return "bool(rng.random() < 0.5)"
    if kind in ("integer", "number"):
        if unique or words[-1] in ("id", "number", "no", "index"):
            return f"{{i}} + {max(1, int(schema.get('minimum', 1)))}"
        low, high = NUMBERS.get(words[-1], (1, 100))
        low, high = schema.get("minimum", low), schema.get("maximum", high)
        low, high = (low, max(high, low + 10)) if "maximum" not in schema else (min(low, high), high)
        whole = kind == "integer"
        return f"int(rng.integers({int(low)}, {int(high)} + 1))" if whole else f"round(float(rng.uniform({low}, {high})), 2)"
    if kind == "object":
        inner = {key: resolve(part, root) for key, part in (schema.get("properties") or {}).items()}
        return "{" + ", ".join(f'"{key}": {plain_value(key, part, root, depth=depth + 1)}' for key, part in inner.items()) + "}"
    if kind == "array":
        each = plain_value(name, resolve(schema.get("items", {}), root), root, depth=depth + 1)
        return f"[{each} for _ in range({max(2, int(schema.get('minItems', 2)))})]"
    form = schema.get("format")
    if form == "date":
        return 'f"20{int(rng.integers(15, 26)):02d}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}"'
    if form == "date-time":
        return 'f"20{int(rng.integers(15, 26)):02d}-{int(rng.integers(1, 13)):02d}-{int(rng.integers(1, 29)):02d}T12:00:00Z"'
    if form == "uuid":
        return '"%08x-%04x-4%03x-a%03x-%012x" % tuple(int(rng.integers(0, 16 ** k)) for k in (8, 4, 3, 3, 12))'
    return f'"{words[0][:3].upper() or "X"}-%05d" % ({{i}} + 1)'
