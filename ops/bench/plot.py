"""Lines and bars as SVG, written by hand: a picture of a bench is not worth a plotting library. Called by benches with
``--plot``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

_COLOURS = ("#0b6e4f", "#c1121f", "#3a5a98", "#e09f3e", "#7b2d8b", "#5c677d")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 300, 60, 50
_IN_A_ROW = 3

Panel = tuple[str, str, str, Mapping[str, Sequence[tuple[float, float]]]]
"""Title, name of x, name of y, and lines by name, each of points (x, y)."""


Bar = tuple[str, float, float, str]
"""Label, value, the value of a whole bar, and the unit ("": the value is shown as a part of the whole)."""


def write_lines(path: Path, panels: Sequence[Panel], *, title: str = "", notes: Sequence[str] = ()) -> None:
    """Panels in rows of three, each with its own axes from 0 and a legend; ``notes`` are lines of text below. Raises OSError."""
    top = 30 if title else 0
    drawn = [f'<text x="{_LEFT}" y="20" font-size="15" font-weight="bold">{escape(title)}</text>'] if title else []
    drawn += [
        f'<g transform="translate({at % _IN_A_ROW * _WIDTH},{top + at // _IN_A_ROW * _HEIGHT})">{_panel(panel)}</g>'
        for at, panel in enumerate(panels)
    ]
    below = top + _HEIGHT * -(-len(panels) // _IN_A_ROW)
    drawn += [f'<text x="20" y="{below + 16 * (at + 1)}">{escape(note)}</text>' for at, note in enumerate(notes)]
    _write(path, _WIDTH * min(len(panels), _IN_A_ROW), below + (16 * len(notes) + 16 if notes else 0), drawn)


def write_bars(path: Path, bars: Sequence[Bar]) -> None:
    """One bar below the other. Raises OSError."""
    drawn: list[str] = []
    for at, (label, value, whole, unit) in enumerate(bars):
        y = 20 + 26 * at
        width = 400 * min(1.0, value / (whole or 1.0))
        shown = f"{value:.3g} {unit}" if unit else f"{value:.3g} of {whole:g}"
        drawn.append(f'<text x="10" y="{y + 13}">{escape(label)}</text><text x="670" y="{y + 13}">{escape(shown)}</text>')
        drawn.append(f'<rect x="260" y="{y}" width="{width:.1f}" height="18" fill="{_COLOURS[0]}"/>')
    _write(path, 800, 40 + 26 * len(bars), drawn)


def _write(path: Path, width: int, height: int, drawn: Sequence[str]) -> None:
    size = f'width="{width}" height="{height}"'
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n',
        encoding="utf-8",
    )


def _panel(panel: Panel) -> str:
    title, x_name, y_name, lines = panel
    points = [point for line in lines.values() for point in line] or [(1.0, 1.0)]
    most_x, most_y = (max(each[axis] for each in points) or 1.0 for axis in (0, 1))
    wide, high = _WIDTH - _LEFT - 20, _HEIGHT - _BOTTOM - 30
    middle = 30 + high / 2

    def place(x: float, y: float) -> str:
        return f"{_LEFT + x / most_x * wide:.1f},{30 + high - y / most_y * high:.1f}"

    parts = [
        f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}</text>',
        f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(x_name)}</text>',
        f'<text x="14" y="{middle}" text-anchor="middle" transform="rotate(-90 14 {middle})">{escape(y_name)}</text>',
        f'<path d="M{place(0, most_y)} L{place(0, 0)} L{place(most_x, 0)}" fill="none" stroke="#888"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        x, y = place(most_x * share, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 14}" text-anchor="middle">{most_x * share:.4g}</text>')
        x, y = place(0, most_y * share).split(",")
        parts.append(f'<text x="{float(x) - 5}" y="{float(y) + 4}" text-anchor="end">{most_y * share:.4g}</text>')
    for at, (name, line) in enumerate(lines.items()):
        colour = _COLOURS[at % len(_COLOURS)]
        parts.append(f'<polyline points="{" ".join(place(*point) for point in line)}" fill="none" stroke="{colour}"/>')
        for x, y in (place(*point).split(",") for point in line[:40]):
            parts.append(f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + 10}" y="{44 + 13 * at}" fill="{colour}">{escape(name)}</text>')
    return "".join(parts)
