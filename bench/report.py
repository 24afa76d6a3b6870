"""The report: a table of ratios, latencies, memory, machine and date, as Markdown, and every run as JSON."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.contenders import CONTENDERS, Contender
from bench.measure import EXCHANGE_MS, Run
from bench.plan import OURS, Plan, Results
from bench.plot import write_plot
from bench.spread import Spread, ratios, spread_of_rates

RESULTS = Path(__file__).parent / "results"
ADDED_MS_MAX = 10.0
MEMORY_MB_MAX = 120.0
QUANTILES = ("p50", "p90", "p99", "p99.9", "max")


def write_report(plan: Plan, machine: dict[str, str], results: Results, *, quick: bool) -> Path:
    """Write the three files; gives the path of the Markdown."""
    RESULTS.mkdir(exist_ok=True)
    stem = ("quick-" if quick else "") + datetime.now(UTC).strftime("%Y-%m-%d-%H%M")
    rates = {name: spread for name, runs in results.closed.items() if (spread := spread_of_rates(runs))}
    write_plot(
        RESULTS / f"{stem}.png",
        [(c.title, rates[c.name]) for c in CONTENDERS if c.name in rates],
        caption=f"{machine['cores']} cores, {machine['date']}",
    )
    parts = [
        f"# Measured on {machine['date']}\n",
        _machine(machine),
        _method(plan),
        _wrongs(results),
        "## Orders a second\n\n" + _rates(plan, results, rates),
        f"![orders a second]({stem}.png)\n",
        _latency(results),
        _memory(results),
    ]
    path = RESULTS / f"{stem}.md"
    path.write_text("\n".join(part for part in parts if part))
    everything = {"machine": machine, "plan": asdict(plan) | {"only": sorted(plan.only)}, "results": asdict(results)}
    (RESULTS / f"{stem}.json").write_text(json.dumps(everything, indent=1) + "\n")
    return path


def _machine(machine: dict[str, str]) -> str:
    return "".join(f"- {name}: {value}\n" for name, value in machine.items())


def _method(plan: Plan) -> str:
    return (
        f"{plan.rounds} rounds, {plan.seconds:g} s each after {plan.warm_seconds:g} s or more of warm-up; server, "
        "database and load generator on these cores. Median (least to most) of the rounds; a ratio is taken within "
        "each round. How each is measured: [README](../README.md).\n"
    )


def _wrongs(results: Results) -> str:
    wrongs = results.wrongs()
    return "**Not to be used:**\n\n" + "".join(f"- {wrong}\n" for wrong in wrongs) if wrongs else ""


def _rates(plan: Plan, results: Results, rates: dict[str, Spread]) -> str:
    lines = [
        "| | workers | connections | orders/s | Ordertrail ÷ it | to reach | generator's share of a core |",
        "|---|---|---|---|---|---|---|",
    ]
    for contender in plan.contenders:
        runs = results.closed[contender.name]
        rate = rates.get(contender.name)
        shown = [
            contender.title,
            str(contender.workers or "-"),
            f"{contender.connections:,}",
            rate.show(",.0f") if rate else "failed",
            *_ratio(contender, results),
            _median(runs, lambda run: run.generator_cpu_share, "{:.0%}"),
        ]
        lines.append("| " + " | ".join(shown) + " |")
    notes = [f"- {contender.title}: {contender.note}." for contender in plan.contenders if contender.note]
    return "\n".join([*lines, "", *notes, ""])


def _ratio(contender: Contender, results: Results) -> tuple[str, str]:
    ours, theirs = results.closed.get(OURS), results.closed[contender.name]
    if ours is None or contender.name == OURS:
        return "", ""
    is_ours = contender.name.startswith(OURS)
    found = ratios(theirs, ours) if is_ours else ratios(ours, theirs)
    ratio = "-" if found is None else ("it ÷ Ordertrail: " if is_ours else "") + found.show(".2f")
    if contender.ratio_to_reach is None or found is None:
        return ratio, ""
    reached = "reached" if found.median >= contender.ratio_to_reach else "**not reached**"
    return ratio, f"{contender.ratio_to_reach:g}, {reached}"


def _latency(results: Results) -> str:
    if not results.open:
        return ""
    lines = [
        "## Latency at half of Ordertrail's top rate\n",
        "Requests are due at a constant rate; latency counts from when one was due (median of the runs, ms).\n",
        "| | rate | p50 | p90 | p99 | p99.9 | most | sent late by the generator, p99 | generator's share of a core |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    titles = {contender.name: contender.title for contender in CONTENDERS}
    for name, runs in results.open.items():
        loops = [run.open_loop for run in runs if run is not None and run.open_loop]
        if not loops:
            continue
        quantiles = [f"{statistics.median(loop['latency_ms'][q] for loop in loops):.1f}" for q in QUANTILES]
        rate = f"{statistics.median(loop['rate_answered'] for loop in loops):,.0f}/s"
        lag = f"{statistics.median(loop['send_lag_ms']['p99'] for loop in loops):.2f}"
        cpu = _median(runs, lambda run: run.generator_cpu_share, "{:.0%}")
        lines.append("| " + " | ".join([titles[name], rate, *quantiles, lag, cpu]) + " |")
    ours = [run.open_loop["latency_ms"]["p99"] for run in results.open.get(OURS, []) if run and run.open_loop]
    if ours:
        added = statistics.median(ours) - EXCHANGE_MS
        verdict = "reached" if added < ADDED_MS_MAX else "**not reached**"
        lines.append(
            f"\nOf that the exchange itself takes {EXCHANGE_MS} ms: placement adds **{added:.1f} ms** at p99 "
            f"(to reach: < {ADDED_MS_MAX:g} ms, {verdict})."
        )
    return "\n".join([*lines, ""])


def _memory(results: Results) -> str:
    """The most that any one process held at the end of a run, with all connections open."""
    lines = [
        "## Memory\n",
        "The largest Python process at the end of a run, its connections open (median of the rounds; 10^6 bytes).\n",
        "| | connections | resident | proportional share (Pss) |",
        "|---|---|---|---|",
    ]
    for contender in CONTENDERS:
        runs = [run for run in results.closed.get(contender.name, []) if run is not None and run.memory]
        if runs:
            rss = statistics.median(run.memory[0].rss for run in runs)
            pss = statistics.median(max(m.pss for m in run.memory) for run in runs)
            verdict = ""
            if contender.name == OURS:
                verdict = f" (to reach: < {MEMORY_MB_MAX:g}, {'reached' if rss < MEMORY_MB_MAX else '**not reached**'})"
            lines.append(f"| {contender.title} | {contender.connections:,} | {rss:.0f}{verdict} | {pss:.0f} |")
    return "\n".join([*lines, ""]) if len(lines) > 4 else ""


def _median(runs: Sequence[Run | None], value: Callable[[Run], float | None], form: str) -> str:
    values = [found for run in runs if run is not None and (found := value(run)) is not None]
    return form.format(statistics.median(values)) if values else "-"
