"""The receiver's figures on a terminal: a live table, or a plain line a second where there is no terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from receiver.stats import CallReport
from receiver.switchboard import Switchboard

INTERVAL_S = 1.0


def number(value: float | None, unit: str = "", digits: int = 1) -> str:
    """Return a figure with its unit; a dash when there is none."""
    return "-" if value is None else f"{value:.{digits}f}{unit}"


def kilobits(bits_per_s: float | None) -> str:
    """Return a rate in kbit/s."""
    return number(None if bits_per_s is None else bits_per_s / 1000, " kbit/s", 2)


def latency(report: CallReport) -> str:
    """Return the latency's percentiles."""
    if report.latency_ms is None:
        return "-"
    return f"{report.latency_ms.p50:.0f} / {report.latency_ms.p95:.0f} / {report.latency_ms.p99:.0f} ms"


def plain_line(state: str, report: CallReport) -> str:
    """Return the figures as one line."""
    return (
        f"{state} {report.codec}  received {report.received_fps:.1f} fps  shown {report.shown_fps:.1f} fps"
        f"  dropped {report.frames_dropped}  undecodable {report.frames_undecodable}"
        f"  payload {kilobits(report.payload_bits_per_s)}  wire {kilobits(report.wire_bits_per_s)}"
        f"  all {kilobits(report.total_wire_bits_per_s)}"
        f"  latency {latency(report)}  decoder {number(report.decoder_fps, ' fps')}"
        f"  loss {100 * report.loss:.1f} %  rtt {number(report.rtt_ms, ' ms')}"
    )


def table(switchboard: Switchboard, url: str) -> Table:
    """Return the figures as a table."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", min_width=12)
    grid.add_column()
    grid.add_row("call", f"{url}/whip", style="dim")
    grid.add_row("watch", f"{url}/", style="dim")
    call = switchboard.last_call
    if call is None:
        grid.add_row("state", "waiting for a call")
        return grid
    report = call.stats.recent() if switchboard.is_busy else call.stats.total()
    state = switchboard.state
    grid.add_row("state", f"waiting; the last call ended: {call.end_reason}" if state == "waiting" else state)
    grid.add_row("pictures", f"{report.shown_fps:.1f} shown of {report.received_fps:.1f} received a second")
    grid.add_row("dropped", f"{report.frames_dropped} for newer ones, {report.frames_undecodable} undecodable")
    payload, wire = kilobits(report.payload_bits_per_s), kilobits(report.wire_bits_per_s)
    grid.add_row("video", f"{report.codec}, payload {payload}, wire {wire}")
    grid.add_row("all wire", kilobits(report.total_wire_bits_per_s))
    grid.add_row("latency", f"{latency(report)} (p50 / p95 / p99, capture to picture)")
    grid.add_row("decoder", number(report.decoder_fps, " fps"))
    grid.add_row("network", f"loss {100 * report.loss:.1f} %, rtt {number(report.rtt_ms, ' ms')}")
    return grid


async def show_figures(switchboard: Switchboard, url: str, console: Console, write: Callable[[str], None]) -> None:
    """Show the figures until cancelled.

    Args:
        switchboard: the calls.
        url: where the receiver listens.
        console: rich's; a live table when it is a terminal.
        write: writes a plain line where it is none, once a second while a call is under way.
    """
    if console.is_terminal:
        with Live(table(switchboard, url), console=console, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(INTERVAL_S / 2)
                live.update(table(switchboard, url), refresh=True)
    while True:
        await asyncio.sleep(INTERVAL_S)
        if switchboard.is_busy and switchboard.last_call is not None:
            write(plain_line(switchboard.state, switchboard.last_call.stats.recent()))
