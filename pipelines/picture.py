"""Draw dvc.yaml as a picture: ``python -m pipelines.picture docs/pipeline.svg``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from nasbench.analysis.palette import CARD, FONT, INK, MUTED, SERIES
from nasbench.config.load import load_yaml
from nasbench.core.files import write_text

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 148, 58, 46, 22, 20
_RESULT = {
    "prepare_data": "images, fingerprint", "train_scorer": "entropy model", "score_examples": "example table",
    "select_proxy": "proxy index", "search_cell": "genotype", "sample_cells": "random genotypes",
    "augment_cell": "Top-1", "augment_samples": "Top-1 of random cells", "compare_cells": "RI with interval",
    "promote_cell": "champion, or refusal", "transfer_samples": "Top-1 on the target",
    "transfer_cell": "RI on the target", "make_report": "offline page",
}  # fmt: skip


def _plain(path: str) -> str:
    """Return a path with its indirections resolved; other templated parts are equal where they mean the same."""
    known = {"/${item.role}": "", "${item.table}": "scores/${key}", "proxies/${item.proxy}": "proxies/${key}"}
    for part, meaning in known.items():
        path = path.replace(part, meaning)
    return path


def _paths(values: list[Any]) -> set[str]:
    return {_plain(next(iter(value)) if isinstance(value, dict) else value) for value in values}


def edges(stages: Mapping[str, Any]) -> dict[str, set[str]]:
    """Return for each stage the stages whose outputs it reads; the report, which reads all, is left out."""
    bodies = {name: stage.get("do", stage) for name, stage in stages.items()}
    made = {
        name: {path for key in ("outs", "metrics", "plots") for path in _paths(body.get(key, []))}
        for name, body in bodies.items()
    }
    read = {name: _data(body) for name, body in bodies.items()}
    return {
        name: {
            other for other in stages
            if other != name and any(_meets(want, has) for want in read[name] for has in made[other])
        }
        for name in stages if name != "make_report"
    }  # fmt: skip


def _data(body: Mapping[str, Any]) -> set[str]:
    return {path for path in _paths(body["deps"]) if path.startswith("artifacts/")}


def _meets(want: str, has: str) -> bool:
    return has == want or has.startswith(f"{want}/") or want.startswith(f"{has}/")


def layers(before: Mapping[str, set[str]]) -> dict[str, int]:
    """Return the column of each stage: one less than the first of those that need it."""
    after = {name: {other for other in before if name in before[other]} for name in before}
    height: dict[str, int] = {}

    def find(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((find(other) for other in after[name]), default=-1)
        return height[name]

    highest = max(find(name) for name in before)
    return {name: highest - height[name] for name in before}


def reduced(before: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Leave out what a stage needs only by way of another that it needs."""

    def all_before(name: str) -> set[str]:
        return before[name].union(*(all_before(other) for other in before[name]))

    return {
        name: {other for other in direct if not any(other in all_before(via) for via in direct - {other})}
        for name, direct in before.items()
    }


def draw(stages: Mapping[str, Any]) -> str:
    """Return the graph as SVG text, equal for equal stages; without stamp_inputs, which makes no result."""
    stages = {name: stage for name, stage in stages.items() if name != "stamp_inputs"}
    before = reduced(edges(stages))
    depth = layers(before)
    depth["make_report"] = max(depth.values()) + 1
    columns: dict[int, list[str]] = {}
    for name in stages:
        columns.setdefault(depth[name], []).append(name)
    tallest = max(len(names) for names in columns.values())
    place = {
        name: (
            _MARGIN + column * (_WIDTH + _GAP_X),
            _MARGIN + ((tallest - len(names)) / 2 + row) * (_HEIGHT + _GAP_Y),
        )
        for column, names in columns.items() for row, name in enumerate(names)
    }  # fmt: skip
    before = {**before, "make_report": {"transfer_cell"}}
    lines = [_arrow(place[other], place[name]) for name in stages for other in sorted(before[name])]
    boxes = [_box(name, place[name], stages[name]) for name in stages]
    width = 2 * _MARGIN + (max(columns) + 1) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + tallest * (_HEIGHT + _GAP_Y) - _GAP_Y
    body = "\n".join([*lines, *boxes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="The pipeline" font-family="{FONT}">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _arrow(start: tuple[float, float], end: tuple[float, float]) -> str:
    x0, y0 = start[0] + _WIDTH, start[1] + _HEIGHT / 2
    x1, y1 = end[0], end[1] + _HEIGHT / 2
    bend = max(24.0, (x1 - x0) / 2)
    path = f"M{x0:g} {y0:g} C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"
    return f'<path d="{path}" fill="none" stroke="{MUTED}" stroke-width="1.4" opacity="0.7"/>'


def _box(name: str, place: tuple[float, float], stage: Mapping[str, Any]) -> str:
    x, y = place
    many = "foreach" in stage or "matrix" in stage
    middle = x + _WIDTH / 2
    frame = f'width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="{CARD}" stroke="{SERIES[0]}"'
    text = f'x="{middle:g}" text-anchor="middle"'
    shadow = f'<rect x="{x + 4:g}" y="{y + 4:g}" {frame}/>' if many else ""
    title = f'<text {text} y="{y + 25:g}" font-size="13" font-weight="bold" fill="{INK}">{escape(name)}</text>'
    result = f'<text {text} y="{y + 43:g}" font-size="11" fill="{MUTED}">{escape(_RESULT.get(name, ""))}</text>'
    return f'{shadow}<rect x="{x:g}" y="{y:g}" {frame}/>{title}{result}'


def main() -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.picture", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--graph", type=Path, default=Path("dvc.yaml"))
    arguments = parser.parse_args()
    write_text(arguments.out, draw(load_yaml(arguments.graph)["stages"]))


if __name__ == "__main__":
    main()
