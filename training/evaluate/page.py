"""Evaluation ``rd``, the page: one static HTML file beside the result, with curves, tables and videos side by side.

    document, names of the curves -> page -> index.html, which shows OUT/media/*.mp4 and OUT/*.svg

It needs no server: it works from a file. Reads the JSON's values alone.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from training.evaluate.labels import LABELS
from training.evaluate.rate_distortion import FROZEN, OURS
from training.evaluate.rate_report import SETTING_NAMES, bd_table, headline_table
from training.evaluate.showcase import ATTENTION, REFERENCE_COLOURS, SOURCE

FOLDER = Path(__file__).parent
TITLES = {
    SOURCE: "Source",
    FROZEN: "Frozen picture: the nearest reference, zero bits",
    ATTENTION: "Attention: which reference each cell is taken from (grey: from none)",
}
TILE_METRICS = ("lpips_alex", "dists", "psnr_db")

SHOWCASE = """<h2>Side by side at equal wire rate</h2>
<p>Each peer at its best picture (LPIPS-Alex) of up to a tenth more than our wire rate on this clip, or than the lowest
rate it makes where it cannot go so low: headers cost everybody 68 bytes a packet. The videos were coded once more,
finely, for this page; figures are those of the pictures before that.</p>
<div class="bar">
<button id="play" type="button">Play</button>
<label>Clip <select id="clip">$clips</select></label>
<label>Peers in <select id="setting">$settings</select></label>
<label><input id="errors" type="checkbox"> errors, four times as bright</label>
<label>Speed <select id="speed"><option value="1">1</option><option value="0.5">1/2</option>
<option value="0.25">1/4</option></select></label>
<input id="position" type="range" min="0" max="1" step="0.001" value="0" aria-label="position">
<span id="frame"></span>
</div>
<video id="video" muted loop playsinline preload="auto"></video>
<div id="tiles" class="tiles"></div>
<div id="references" class="references"></div>"""


def page(result: dict[str, Any], title: str, curves: Sequence[str]) -> str:
    """Return the page.

    Args:
        result: what ``rate_document`` gives.
        title: one line.
        curves: files to show, beside the page.
    """
    showcases = [row["showcase"] for row in result["clips"].values() if "showcase" in row]
    template = Template((FOLDER / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=html.escape(title),
        command=html.escape(result["command"]),
        headline="".join(f"<p>{html.escape(sentence)}</p>\n" for sentence in result["headline"]),
        comparison=_table(*headline_table(result)),
        bd=_table(*bd_table(result)),
        showcase=_showcase(showcases),
        figures="".join(f'<figure><img src="{html.escape(name)}" alt="curves"></figure>\n' for name in curves),
        failures=_failures(result),
        versions=_table(["", ""], [[name, text] for name, text in {**result["versions"], **result["peers"]}.items()]),
        commands=_commands(result["points"]),
        data=_json(showcases),
        script=_script(),
    )


def _showcase(showcases: list[dict[str, Any]]) -> str:
    if not showcases:
        return ""
    settings = dict.fromkeys(tile["setting"] for tile in showcases[0]["tiles"] if tile["setting"])
    return Template(SHOWCASE).substitute(
        clips="".join(f"<option>{html.escape(showcase['clip'])}</option>" for showcase in showcases),
        settings="".join(f'<option value="{name}">{SETTING_NAMES[name]}</option>' for name in settings),
    )


def _script() -> str:
    colours = ["#" + "".join(f"{part:02x}" for part in colour) for colour in REFERENCE_COLOURS]
    labels = [[name, LABELS[name].short, LABELS[name].digits] for name in TILE_METRICS]
    names = f"const TITLES = {_json(TITLES)}, LABELS = {_json(labels)}, COLOURS = {_json(colours)};\n"
    return names + (FOLDER / "page.js").read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """Return JSON that may stand inside a script element."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["<table><thead><tr>", *(f"<th>{_cell(cell)}</th>" for cell in head), "</tr></thead><tbody>"]
    for row in rows:
        ours = ' class="ours"' if OURS in row[0] else ""
        lines.append(f"<tr{ours}>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def _cell(cell: str) -> str:
    return html.escape(cell.replace("**", ""))


def _failures(result: dict[str, Any]) -> str:
    lines = [f"{clip} was not measured: it {reason}." for clip, reason in result["skipped"].items()]
    lines += [f"{number} point(s) are missing: {reason}." for reason, number in result["failures"].items()]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _commands(points: Iterable[dict[str, Any]]) -> str:
    lines = [
        f"<p>{html.escape(point['coder'])} in {SETTING_NAMES[point['setting']]}, {html.escape(point['encoder'])}:<br>"
        f"<code>{html.escape(point['command'])}</code></p>"
        for point in points
        if "command" in point
    ]
    return "\n".join(lines)
