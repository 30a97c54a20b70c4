"""A Markdown page about one selector: what its docstring says, and a picture of what it takes."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nasbench.analysis.explanation import Explanation, Group
from nasbench.analysis.palette import on_paper
from nasbench.config.component import describe
from nasbench.core.files import write_bytes, write_text

FIGURES = "figures"
INDEX = "README.md"
_HEADINGS = ("Formula", "Reference", "Differs from the paper", "Attributes", "Shape", "Raises", "Example")
_RUN, _END = "<!-- run -->", "<!-- /run -->"
_OTHER_IMAGES = r"""
## The same pages on CIFAR-10

The digits' images come with the library. Those of CIFAR-10 stay out of the repository: `studies/cifar10_small` says
which images and weights it takes and where they lie. From the root of the checkout, with one file of scores for each
thing that a selector reads:

```bash
nasbench score --scorer entropy --root data/cifar10-subset --out build/cifar10/entropy.parquet \
  --model resnet20 --weights data/cifar10-resnet20-12fca82f.th \
  --input-mean 0.485,0.456,0.406 --input-std 0.229,0.224,0.225
nasbench score --scorer features --root data/cifar10-subset --out build/cifar10/features.parquet \
  --model resnet20 --weights data/cifar10-resnet20-12fca82f.th \
  --input-mean 0.485,0.456,0.406 --input-std 0.229,0.224,0.225
nasbench score --scorer forgetting --root data/cifar10-subset --out build/cifar10/forgetting.parquet \
  --folder build/cifar10/forgetting --recipe epochs=10
nasbench score --scorer reconstruction --root data/cifar10-subset --out build/cifar10/reconstruction.parquet \
  --folder build/cifar10/reconstruction --set epochs=10
nasbench score --scorer transfer-loss --root data/cifar10-subset --out build/cifar10/transfer-loss.parquet \
  --folder build/cifar10/transfer-loss --recipe epochs=10
nasbench document --dataset image-folder --root data/cifar10-subset --out build/cifar10/pages \
  --scores build/cifar10/entropy.parquet --scores build/cifar10/features.parquet \
  --scores build/cifar10/forgetting.parquet --scores build/cifar10/reconstruction.parquet \
  --scores build/cifar10/transfer-loss.parquet
```

The first two take a minute or so each on one CPU core. The next three train, here for 10 epochs instead of their
papers' 50 to 200, and can be interrupted; the last of them fetches ImageNet weights, or takes them from
`--weights FILE`. Leave out what you do not need: `nasbench document` then says for which selectors it writes no page,
and `--selector NAME` writes one page alone.
"""


def sections(cls: type[Any]) -> dict[str, str]:
    """Return the parts of a published method's docstring: ``summary``, ``text``, and each heading that it has.

    Args:
        cls: A registered class, with a docstring in the order of the house rules.
    """
    text = inspect.getdoc(cls) or ""
    summary, _, rest = text.partition("\n")
    pattern = rf"^({'|'.join(_HEADINGS)}):"
    pieces = re.split(pattern, rest, flags=re.MULTILINE)
    found = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return {"summary": summary, "text": pieces[0], **found}


def page_text(cls: type[Any]) -> str:
    """Return the part of a selector's page that no run changes; it ends where the run's part begins.

    Args:
        cls: A registered selector.
    """
    parts = sections(cls)
    lines = [f"# {cls.name}", "", _plain(parts["summary"]), ""]
    if parts["text"].strip():
        lines += [*_paragraphs(parts["text"]), ""]
    if "Formula" in parts:
        lines += ["```text", *_dedented(parts["Formula"]), "```", ""]
    for heading in ("Reference", "Differs from the paper"):
        if heading in parts:
            told = _one_line(parts[heading])
            lines += [f"**{heading}.** {told[:1].upper()}{told[1:]}", ""]
    needs = ", ".join(f"`{name}`" for name in cls.needs) or "nothing but the labels"
    lines += [f"**Reads.** {needs}.", ""]
    rows = _parameters(cls, parts.get("Attributes", ""))
    if rows:
        lines += ["| parameter | default | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def run_text(explanation: Explanation, where: str, how: Sequence[str], command: str) -> str:
    """Return the part of a page that tells of one run, between its two marks.

    Args:
        explanation: Of the run.
        where: Name of the dataset.
        how: Sentences on where the scores come from; may be empty.
        command: What makes the same page on other images.
    """
    proxy, name = explanation.proxy, explanation.proxy.selector["name"]
    share = 100 * len(proxy) / proxy.num_examples
    given = {key: json.dumps(value) for key, value in proxy.selector.items() if key != "name"}
    fields = "".join(f", `{key}` = {value}" for key, value in given.items())
    lines = [
        _RUN, f"## On {where}", "",
        f"{len(proxy):,} of {proxy.num_examples:,} examples ({share:.4g} %), seed {proxy.seed}{fields}.",
        *how, "",
    ]  # fmt: skip
    if explanation.montage is not None:
        words = [_group_text(group) for group in explanation.groups]
        order = f", ordered by {explanation.score}" if explanation.score else ""
        lines += [
            f"![examples]({FIGURES}/{name}-montage.png)",
            "",
            f"Rows from the top{order}: {'; '.join(words)}.",
            "",
        ]
    for figure in explanation.figures:
        lines += [f"![{figure}]({FIGURES}/{name}-{figure}.svg)", ""]
    least, most = min(explanation.classes_after), max(explanation.classes_after)
    counts = ", ".join(str(count) for count in explanation.classes_after[:50])
    more = ", ..." if len(explanation.classes_after) > 50 else ""
    lines += [f"Examples a class: {least} to {most} ({counts}{more}).", "", _END, ""]
    lines += ["The same page on images of your own:", "", "```bash", command, "```", ""]
    return "\n".join(lines)


def fixed_part(page: str) -> str:
    """Return a page without what stands between the marks of its run."""
    return re.sub(rf"{_RUN}.*?{_END}", f"{_RUN}{_END}", page, flags=re.DOTALL)


def write_page(folder: Path, cls: type[Any], explanation: Explanation, run: str) -> Path:
    """Write ``<name>.md`` and its figures.

    Args:
        folder: Where to; figures stand in ``figures/`` below it.
        cls: The selector.
        explanation: Of the run.
        run: From `run_text`.

    Returns:
        Path of the page.

    Raises:
        FileWriteError: A file cannot be written.
    """
    for name, svg in explanation.figures.items():
        write_text(folder / FIGURES / f"{cls.name}-{name}.svg", on_paper(svg))
    if explanation.montage is not None:
        write_bytes(folder / FIGURES / f"{cls.name}-montage.png", explanation.montage)
    page = folder / f"{cls.name}.md"
    write_text(page, f"{page_text(cls)}\n{run}")
    return page


def index_text(classes: Sequence[type[Any]]) -> str:
    """Return the table of all pages.

    Args:
        classes: The selectors that have a page.
    """
    rows = [f"| [{cls.name}]({cls.name}.md) | {_cell(sections(cls)['summary'])} |" for cls in classes]
    head = [
        "# Selectors",
        "",
        "One page a selector, made by `nasbench document`.",
        "",
        "| selector | what |",
        "|---|---|",
    ]
    return "\n".join([*head, *rows, _OTHER_IMAGES])


def _group_text(group: Group) -> str:
    span = group.span
    return group.title if span is None else f"{group.title} ({span[0]:.3g} to {span[1]:.3g})"


def _parameters(cls: type[Any], attributes: str) -> list[str]:
    defaults: Mapping[str, Any] = describe(cls)["fields"]
    meanings = dict(re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", attributes, re.MULTILINE | re.DOTALL))
    return [
        f"| `{name}` | `{json.dumps(default)}` | {_cell(meanings.get(name, ''))} |"
        for name, default in defaults.items()
    ]


def _dedented(text: str) -> list[str]:
    return inspect.cleandoc(text).strip().splitlines()


def _paragraphs(text: str) -> list[str]:
    return [_plain(line) for line in text.strip().splitlines()]


def _one_line(text: str) -> str:
    return _plain(" ".join(text.split()))


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Turn the docstring's marks for code into Markdown's."""
    return text.replace("``", "`").replace("<", "&lt;")
