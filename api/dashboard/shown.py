"""How values are shown on pages: numbers, times, sizes, curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flask import Flask


def number(value: float | None) -> str:
    """Four significant digits at most, without exponents where they can be avoided."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def size(count: int) -> str:
    """Bytes for people."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} TB"


def ago(moment: datetime | None) -> str:
    """How long ago, in one unit."""
    if moment is None:
        return "–"
    seconds = max(0, (datetime.now(UTC) - moment).total_seconds())
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "–"
    return f"{seconds:.1f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "", "Chrome": "", "Safari": ""}
"""By the word in what they call themselves; each of the first also names those after it."""
_SYSTEMS = {
    "Windows": "",
    "Android": "",
    "iPhone": "iOS",
    "iPad": "iPadOS",
    "CrOS": "ChromeOS",
    "Mac OS X": "macOS",
    "Linux": "",
}


def browser(agent: str) -> str:
    """A browser and its system, of what it calls itself: `Firefox on Linux`."""
    found = [
        next((name or word for word, name in known.items() if word in agent), None)
        for known in (_BROWSERS, _SYSTEMS)
    ]
    return " on ".join(filter(None, found)) or "Another program"


def grouped(letters: str) -> str:
    """In groups of four, as people type them."""
    return " ".join(letters[at : at + 4] for at in range(0, len(letters), 4))


def percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


@dataclass(frozen=True)
class Curve:
    """One line of a plot, as the points of an SVG polyline."""

    name: str
    points: str
    last: float
    low: float
    high: float


WIDTH, HEIGHT = 480, 120


def curves(steps: Sequence[tuple[float, Mapping[str, Any]]]) -> list[Curve]:
    """A curve for each named value over steps, each scaled to its own range."""
    names = sorted({name for _, values in steps for name in values})
    drawn = []
    for name in names:
        series = [(step, float(values[name])) for step, values in steps if name in values]
        if len(series) >= 2:
            drawn.append(_curve(name, series))
    return drawn


def _curve(name: str, series: Sequence[tuple[float, float]]) -> Curve:
    values = [value for _, value in series]
    low, high = min(values), max(values)
    first, last = series[0][0], series[-1][0]
    across, up = (last - first) or 1.0, (high - low) or 1.0
    points = " ".join(
        f"{WIDTH * (step - first) / across:.1f},{HEIGHT - HEIGHT * (value - low) / up:.1f}"
        for step, value in series
    )
    return Curve(name, points, values[-1], low, high)


def add_filters(app: Flask) -> None:
    """Make these available in templates."""
    for show in (number, size, ago, duration, browser, grouped, percent):
        app.add_template_filter(show)
