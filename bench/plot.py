"""The plot: a bar a contender, its least and most round as a whisker."""
# mypy: disable-error-code="import-not-found, unused-ignore"
# matplotlib is installed for benchmarks only.

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from bench.spread import Spread

OURS, THEIRS = "#2a6f97", "#a3a3a3"


def write_plot(path: Path, bars: Sequence[tuple[str, Spread]], *, caption: str) -> None:
    """Write the rates as horizontal bars, the fastest on top; linear from zero."""
    ordered = sorted(bars, key=lambda bar: bar[1].median)
    titles = [title.replace("`", "") for title, _ in ordered]
    spreads = [spread for _, spread in ordered]
    errors = [[s.median - s.least for s in spreads], [s.most - s.median for s in spreads]]
    colours = [OURS if title.startswith("Ordertrail") else THEIRS for title in titles]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(ordered) + 1.1))
    axes.barh(titles, [s.median for s in spreads], xerr=errors, color=colours, height=0.7, ecolor="#444444", capsize=2)
    for at, spread in enumerate(spreads):
        axes.text(spread.most, at, f"  {spread.median:,.0f}", va="center", fontsize=8)
    axes.set_xlim(0, max((s.most for s in spreads), default=1) * 1.12)
    axes.set_xlabel(f"orders a second, median and range ({caption})", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
