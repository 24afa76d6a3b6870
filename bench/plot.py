"""The plot: a bar a contender, its least and most round as a whisker."""
# mypy: disable-error-code="import-not-found, unused-ignore"
# matplotlib is installed for benchmarks only.

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

OURS, THEIRS = "#2a6f97", "#a3a3a3"


def write_plot(path: Path, bars: Sequence[tuple[str, float, float, float]], *, caption: str) -> None:
    """Write `(title, median, least, most)` as horizontal bars, the fastest on top; linear from zero."""
    ordered = sorted(bars, key=lambda bar: bar[1])
    titles = [title.replace("`", "") for title, *_ in ordered]
    medians = [median for _, median, _, _ in ordered]
    errors = [[m - least for _, m, least, _ in ordered], [most - m for _, m, _, most in ordered]]
    colours = [OURS if title.startswith("Ordertrail") else THEIRS for title in titles]
    figure, axes = plt.subplots(figsize=(8, 0.42 * len(ordered) + 1.1))
    axes.barh(titles, medians, xerr=errors, color=colours, height=0.7, ecolor="#444444", capsize=2)
    for at, (_, median, _, most) in enumerate(ordered):
        axes.text(most, at, f"  {median:,.0f}", va="center", fontsize=8)
    axes.set_xlim(0, max((most for *_, most in ordered), default=1) * 1.12)
    axes.set_xlabel(f"orders a second, median and range ({caption})", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
