"""The pages about selectors say what the docstrings say, and every picture is there and small."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click import Context

from nasbench.analysis.selector_page import FIGURES, INDEX, fixed_part, index_text, page_text
from nasbench.cli import cli
from nasbench.scorers import SCORERS
from nasbench.selectors import SELECTORS

FOLDER = Path(__file__).resolve().parents[1] / "docs/selectors"
AGAIN = "run `nasbench document --out docs/selectors` and commit"


@pytest.mark.parametrize("name", SELECTORS.names())
def test_the_page_is_of_the_present_docstring(name):
    page = FOLDER / f"{name}.md"
    assert page.is_file(), AGAIN
    assert fixed_part(page.read_text(encoding="utf-8")).startswith(page_text(SELECTORS.get(name)) + "\n<!-- run -->"), (
        AGAIN
    )


def test_there_is_no_page_too_many_and_the_index_has_all():
    assert {page.stem for page in FOLDER.glob("*.md")} == {*SELECTORS.names(), Path(INDEX).stem}, AGAIN
    classes = [SELECTORS.get(name) for name in SELECTORS.names()]
    assert (FOLDER / INDEX).read_text(encoding="utf-8") == index_text(classes), AGAIN


def test_every_picture_is_shown_and_small_and_every_shown_picture_is_there():
    shown = set()
    for page in FOLDER.glob("*.md"):
        shown |= set(re.findall(r"\]\((figures/[^)]+)\)", page.read_text(encoding="utf-8")))
    there = {f"{FIGURES}/{path.name}" for path in (FOLDER / FIGURES).iterdir()}
    assert shown == there
    assert len(there) >= 2 * len(SELECTORS.names())
    for path in (FOLDER / FIGURES).iterdir():
        assert path.stat().st_size < 60_000, path.name
        assert path.suffix in {".svg", ".png"}
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg"}, path.name


def commands(pages: list[Path]) -> list[tuple[str, dict[str, Any]]]:
    """Return name and options of every command that stands in the pages; one that does not exist is an error."""
    found = []
    for page in pages:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            for line in block.replace("\\\n", " ").strip().splitlines():
                program, name, *words = shlex.split(line)
                assert program == "nasbench"
                parsed = cli.commands[name].make_context(  # type: ignore[attr-defined]
                    name, words, parent=Context(cli, **cli.context_settings), resilient_parsing=True
                )
                assert not parsed.args
                found.append((name, parsed.params))
    return found


def test_the_commands_of_the_pages_exist():
    found = commands([page for page in FOLDER.glob("*.md") if page.name != INDEX])
    assert {name for name, _ in found} == {"document"}
    assert sorted(options["names"][0] for _, options in found) == sorted(SELECTORS.names())


def test_the_commands_for_other_images_score_all_that_selectors_read():
    found = commands([FOLDER / INDEX])
    scored = {options["out"]: options["scorer_name"] for name, options in found if name == "score"}
    ((last, document),) = [(name, options) for name, options in found if name != "score"]
    assert (last, set(document["scores"])) == ("document", set(scored))
    needs = {column for name in SELECTORS.names() for column in SELECTORS.get(name).needs}
    assert needs <= {column for name in scored.values() for column in SCORERS.get(name).columns}
    assert {str(options["root"]) for _, options in found} == {str(document["root"])}
