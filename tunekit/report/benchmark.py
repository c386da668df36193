"""A benchmark: on a terminal of any width, in Markdown, and its rows for spreadsheets."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tunekit.benchmark.results import Report, RuntimeResult
from tunekit.report import numbers
from tunekit.report.output import Result
from tunekit.report.table import Column, as_csv, escaped, markdown, number, terminal, wrapped
from tunekit.runtimes.nvml import BY_GROWTH
from tunekit.wording import counted

if TYPE_CHECKING:
    from rich.text import Text


def _latency(name: str) -> Callable[[RuntimeResult], str]:
    return lambda row: numbers.milliseconds(getattr(row.latency, name)) if row.latency else ""


def _error(name: str) -> Callable[[RuntimeResult], str]:
    return lambda row: numbers.error(getattr(row.accuracy, name)) if row.accuracy else ""


def _in_ms(seconds: float | None) -> str | None:
    return None if seconds is None else numbers.milliseconds(1e3 * seconds)


def _interval(row: RuntimeResult) -> str:
    if row.ratio is None or row.ratio.rounds < 2:
        return ""
    return numbers.interval(row.ratio.low, row.ratio.high)


def _matched(row: RuntimeResult) -> str:
    """Detections that the model itself finds, too, and how many thresholds decided otherwise."""
    found = row.accuracy.detections if row.accuracy else None
    if found is None:
        return ""
    excused = f", {found.excused} off" if found.excused else ""
    return f"{found.matched}/{found.count}{excused}"


COLUMNS: tuple[Column[RuntimeResult], ...] = (
    Column("runtime", lambda row: row.name, elide=True),
    number("median ms", _latency("median_ms")),
    number("best", _latency("best_ms")),
    number("p10", _latency("p10_ms")),
    number("p90", _latency("p90_ms")),
    number("FPS", lambda row: row.fps and numbers.significant(row.fps)),
    number("vs best*", lambda row: row.ratio and numbers.ratio(row.ratio.value)),
    number("interval", _interval, priority=1),
    number("MiB", lambda row: row.peak_rss_bytes and numbers.mebibytes(row.peak_rss_bytes)),
    number("rel. err", _error("relative_error")),
    number("max abs err", _error("max_abs_error"), priority=3),
    number("mse", _error("mse"), priority=4),
    number("samples", lambda row: row.latency and row.latency.samples, priority=2),
)
# From nothing to the first result, and what is used besides the latency. The parts of the former
# are left out first.
COSTS: tuple[Column[RuntimeResult], ...] = (
    Column("runtime", lambda row: row.name, elide=True),
    number("to first ms", lambda row: _in_ms(row.to_first_result_s)),
    number("import", lambda row: _in_ms(row.import_s), priority=3),
    number("load", lambda row: _in_ms(row.load_s), priority=2),
    number("first run", lambda row: _in_ms(row.first_run_s), priority=4),
    number("CPU ms a run", lambda row: row.cpu_ms and numbers.milliseconds(row.cpu_ms)),
    number("CPU ms idle", lambda row: _in_ms(row.idle_cpu_s)),
    number("busy cores", lambda row: row.busy_cores and f"{row.busy_cores:.2f}", priority=1),
)


def _without_transfers(row: RuntimeResult) -> str | None:
    """Of a model on a GPU: milliseconds with inputs and outputs left there."""
    known = row.settings.get("without_transfers_ms")
    return None if known is None else numbers.milliseconds(known)


def _gpu_memory(row: RuntimeResult) -> str | None:
    """`~` where it is by how much the whole GPU's memory in use grew."""
    known = row.settings.get("gpu_mib")
    if known is None:
        return None
    return f"{'~' if row.settings.get('gpu_mib_by') == BY_GROWTH else ''}{known:,.0f}"


def _million_instructions(row: RuntimeResult) -> str | None:
    return None if row.instructions is None else f"{row.instructions / 1e6:,.1f}"


# Of some machines, or where it was asked for.
_SELDOM_KNOWN: tuple[Column[RuntimeResult], ...] = (
    number("M instr. a run", _million_instructions, priority=5),
    number("without transfers", _without_transfers),
    number("GPU MiB", _gpu_memory, priority=1),
    number("GPU %", lambda row: row.settings.get("gpu_percent"), priority=2),
    number("FPS at once", lambda row: row.fps_at_once and numbers.significant(row.fps_at_once)),
)
_MATCHED: Column[RuntimeResult] = number("matched", _matched)
_REMARK: Column[RuntimeResult] = Column("remark", lambda row: row.reason)


def columns(report: Report) -> list[Column[RuntimeResult]]:
    """Those of a report's table: with matched detections where its model is a detector."""
    if any(row.accuracy and row.accuracy.detections for row in report.runtimes):
        return [*COLUMNS, _MATCHED]
    return list(COLUMNS)


def costs(rows: Sequence[RuntimeResult]) -> list[Column[RuntimeResult]]:
    """The columns beside the latency that are known of any of these rows."""
    runtime, *others = (*COSTS, *_SELDOM_KNOWN)
    return [runtime, *(column for column in others if any(map(column.text, rows)))]


def bench_result(report: Report, *, details: bool = False) -> Result:
    """The report in every form; `details` adds tracebacks and what failed runtimes printed."""
    return Result(
        table=lambda width: bench_text(report, width, details=details),
        json=report.to_json,
        csv=lambda: _csv(report),
        md=lambda: bench_markdown(report),
    )


def bench_text(report: Report, width: int, *, details: bool = False) -> Text:
    """The report as styled text of at most `width` columns.

    A runtime that could not be measured has its reason across its row, where a table would have
    empty cells.
    """
    from rich.text import Text

    rows = terminal(
        columns(report), report.runtimes, width, style=_style, remark=lambda row: row.reason or ""
    )
    warnings = "".join(wrapped(f"note: {warning}", width) + "\n" for warning in report.warnings)
    text = Text.assemble(
        (wrapped(_heading(report), width, indent="") + "\n\n", "bold"),
        rows,
        *_costs(report, width),
        ("\n\n" + wrapped(footnote(report), width, indent="") + "\n", "dim"),
        (warnings, "yellow"),
        ("\n" + wrapped(report.verdict, width, indent=""), "bold"),
    )
    for row in report.runtimes if details else ():
        if row.detail:
            text.append(f"\n\n{row.name}:\n{textwrap.indent(row.detail.rstrip(), '  ')}")
    return text


def _costs(report: Report, width: int) -> list[Text | str]:
    """What stands beside the latency, as a second table; nothing of old reports, which lack it."""
    known = [row for row in report.runtimes if row.import_s is not None]
    return ["\n\n", terminal(costs(known), known, width, style=_style)] if known else []


def bench_markdown(report: Report) -> str:
    """The report as a Markdown table with its verdict; ends with a newline."""
    remarks = [_REMARK] if any(row.reason for row in report.runtimes) else []
    versions = report.environment.versions.items()
    host = ", ".join(f"{name} {version}" for name, version in versions)
    lines = [
        f"### {escaped(_heading(report))}\n",
        markdown(
            [*columns(report), *costs(report.runtimes)[1:], *remarks], report.runtimes, _style
        ),
        f"**{escaped(report.verdict)}**\n",
        escaped(footnote(report)),
        *(f"- {escaped(warning)}" for warning in report.warnings),
        f"\n<sub>{escaped(report.environment.system)}; {escaped(host)}</sub>",
    ]
    return "\n".join(lines) + "\n"


def _csv(report: Report) -> str:
    """The rows with whole numbers, without raw samples."""
    columns: list[Column[RuntimeResult]] = [
        Column("runtime", lambda row: row.name),
        Column("status", lambda row: row.status),
        Column("median_ms", lambda row: row.latency and row.latency.median_ms),
        Column("best_ms", lambda row: row.latency and row.latency.best_ms),
        Column("p10_ms", lambda row: row.latency and row.latency.p10_ms),
        Column("p90_ms", lambda row: row.latency and row.latency.p90_ms),
        Column("samples", lambda row: row.latency and row.latency.samples),
        Column("ratio", lambda row: row.ratio and row.ratio.value),
        Column("ratio_low", lambda row: row.ratio and row.ratio.low),
        Column("ratio_high", lambda row: row.ratio and row.ratio.high),
        Column("against", lambda row: row.ratio and row.ratio.against),
        Column("relative_error", lambda row: row.accuracy and row.accuracy.relative_error),
        Column("matched", _matched),
        Column("peak_rss_bytes", lambda row: row.peak_rss_bytes),
        Column("import_s", lambda row: row.import_s),
        Column("load_s", lambda row: row.load_s),
        Column("first_run_s", lambda row: row.first_run_s),
        Column("cpu_ms", lambda row: row.cpu_ms),
        Column("busy_cores", lambda row: row.busy_cores),
        Column("instructions", lambda row: row.instructions),
        Column("idle_cpu_s", lambda row: row.idle_cpu_s),
        Column("without_transfers_ms", lambda row: row.settings.get("without_transfers_ms")),
        Column("gpu_mib", lambda row: row.settings.get("gpu_mib")),
        Column("gpu_mib_by", lambda row: row.settings.get("gpu_mib_by")),
        Column("gpu_percent", lambda row: row.settings.get("gpu_percent")),
        Column("fps_at_once", lambda row: row.fps_at_once),
        Column("reason", lambda row: row.reason),
    ]
    return as_csv(columns, report.runtimes)


def _style(row: RuntimeResult) -> str:
    return "bold" if row.runtime == "tuned" else ""


def _heading(report: Report) -> str:
    """What was measured, how and where, in one line."""
    model, protocol, environment = report.model, report.protocol, report.environment
    shapes = ", ".join(
        f"{tensor.name} {'x'.join(map(str, tensor.shape))}" for tensor in model.inputs
    )
    return (
        f"{model.name} ({shapes}), {counted(protocol.threads, 'thread')}, "
        f"{counted(protocol.rounds, 'round')}, "
        f"{environment.host.get('cpu_name', 'unknown CPU')}, {environment.date}"
    )


def footnote(report: Report) -> str:
    """What "vs best*" and the other columns mean for this report."""
    against = {row.name: row.ratio.against for row in report.runtimes if row.ratio}
    named = list(dict.fromkeys(against.values()))
    memory = "MiB: peak resident memory of the process."
    if any(row.import_s is not None for row in report.runtimes):
        memory += (
            " To first: from the start of the process to the first result. CPU: of all threads; "
            "idle: in the second after the last run."
        )
    if jobs := next((row.at_once for row in report.runtimes if row.at_once), None):
        memory += (
            f" FPS at once: of {counted(jobs.instances, 'process', 'processes')} together, with "
            f"{counted(jobs.threads, 'thread')} each, on "
            f"{'the same cores' if jobs.shared else 'cores of their own'}."
        )
    if not named:
        return memory
    usual = max(named, key=lambda name: list(against.values()).count(name))
    text = f"* times as fast as the best other runtime: {usual}"
    for name, other in against.items():
        if other != usual:
            text += f"; for {name}, {other}"
    return f"{text}. {memory}"
