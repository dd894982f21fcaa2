"""Small SVG charts that take their colours and font from the page around them, so light and dark both work.

Knows numbers and captions; knows nothing of runs, tasks or files.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

# Colours that stand for CSS variables of the page: drawn by matplotlib, replaced in the SVG.
COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--line)",
    "#040404": "var(--first)",
    "#050505": "var(--second)",
    "#060606": "var(--page)",
    "#070707": "var(--third)",
}
INK, MUTED, LINE, FIRST, SECOND, PAGE, THIRD = COLOURS
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "larix",
    "svg.id": None,
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "xtick.major.size": 3,
    "lines.solid_capstyle": "round",
}
LABEL = 0.085  # of the height of a chart's field, that a line of text takes
POINTS = 110.0  # that height
NEAR = 0.12  # of its width: labels that begin closer than that may cover each other
SMOOTH_FROM = 40  # curves with more points than this get a running mean on top of the raw line

Points = Sequence[tuple[float, float]]


def curves(
    name: str, caption: str, lines: Mapping[str, Points], *, across: str = "samples", floor: bool = False
) -> str:
    """Draw up to three named lines over ``across``; ``floor`` starts the vertical axis at 0.

    ``name`` makes the ids of this SVG unique in its page; ``caption`` is read out in place of the picture.
    """
    lines = {label: points for label, points in lines.items() if len(points) > 1}
    if not lines:
        return ""
    with matplotlib.rc_context(STYLE):
        figure, axes = _axes(3.5, 2.05)
        ends: list[tuple[float, float, str, str]] = []
        for (label, points), colour in zip(lines.items(), (FIRST, SECOND, THIRD), strict=False):
            x, y = [point[0] for point in points], [point[1] for point in points]
            if len(points) > SMOOTH_FROM:
                axes.plot(x, y, color=colour, linewidth=0.7, alpha=0.35)
                y = _running_mean(y, max(3, len(y) // 20))
            axes.plot(
                x, y, color=colour, linewidth=1.6, marker="o" if len(points) < 25 else None, markersize=3
            )
            ends.append((x[-1], y[-1], label, colour))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if floor:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel(across)
        if len(lines) > 1:
            _label(axes, ends)
        return _svg(figure, name, caption)


def reliability(name: str, caption: str, points: Sequence[tuple[float, float]]) -> str:
    """Draw observed rates against predicted ones, with the diagonal of a model that keeps its promises."""
    if not points:
        return ""
    with matplotlib.rc_context(STYLE | {"axes.grid": False, "axes.spines.left": True, "ytick.major.size": 3}):
        figure, axes = _axes(2.35, 2.35)
        top = 1.06 * max(max(point) for point in points) or 1.0
        axes.plot([0, top], [0, top], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        x, y = [point[0] for point in points], [point[1] for point in points]
        axes.plot(
            x,
            y,
            color=FIRST,
            linewidth=1.0,
            marker="o",
            markersize=3.6,
            markeredgecolor=PAGE,
            markeredgewidth=0.6,
        )
        axes.set(xlim=(0, top), ylim=(0, top), xlabel="predicted", ylabel="observed", aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(4))
        return _svg(figure, name, caption)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _label(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Write each line's label beside its end, one above the other where ends are close."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    placed: list[tuple[float, float]] = []
    for x, y, label, colour in sorted(ends, key=lambda end: end[1]):
        own = height = (y - low) / (high - low)
        for other, taken in placed:
            if abs(x - other) < NEAR * (right - left):
                height = max(height, taken + LABEL)
        placed.append((x, height))
        offset = (5, (height - own) * POINTS)
        axes.annotate(
            label, (x, y), offset, textcoords="offset points", color=colour, va="center", fontsize=8.5
        )


def _running_mean(values: Sequence[float], window: int) -> list[float]:
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    spans = [(max(0, i - window + 1), i + 1) for i in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in spans]


def _svg(figure: Figure, name: str, caption: str) -> str:
    """Return the figure as one ``<svg>`` element: ids carry ``name``, nothing points outside the page."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would apply to the whole page
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="|url\()#', rf"\g<1>#{name}-", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)  # matplotlib before 3.10
    for drawn, variable in COLOURS.items():
        text = text.replace(drawn, variable)
    label = html.escape(caption)
    return re.sub(
        r"<svg[^>]*?viewBox=(\"[^\"]*\")[^>]*>",
        rf'<svg viewBox=\1 role="img" aria-label="{label}">',
        text,
        count=1,
    )
