"""A bar chart as SVG, without a library: a title, a bar and a number for each line."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_ROW, _LABELS, _BARS, _TOP = 22, 230, 420, 34


def bars(title: str, values: Sequence[tuple[str, float]]) -> str:
    """`values` are labels with numbers above 0, drawn in their order, the greatest one as long as the chart is wide."""
    most = max((value for _, value in values), default=1.0) or 1.0
    width, height = _LABELS + _BARS + 90, _TOP + _ROW * len(values) + 8
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><title>{escape(title)}</title>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="8" y="20" font-size="14">{escape(title)}</text>',
    ]
    for at, (label, value) in enumerate(values):
        y, length = _TOP + at * _ROW, max(1, round(_BARS * value / most))
        lines += [
            f'<text x="{_LABELS - 8}" y="{y + 14}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{_LABELS}" y="{y + 3}" width="{length}" height="15" fill="#3b6ea5"/>',
            f'<text x="{_LABELS + length + 6}" y="{y + 14}">{value:,.0f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
