"""Choose the examples that the search may see."""

from __future__ import annotations

from nasbench.config.component import fields_of, parse
from nasbench.core.files import write_text
from nasbench.core.proxy import save_proxy
from nasbench.core.table import load_table
from nasbench.selectors.selection import describe, proxy_size, select_proxy
from pipelines.stage import ARTIFACTS, Outcome, Spec, Stage, run_stage


def body(stage: Stage) -> Outcome:
    """Select from the table, store the proxy with its histograms."""
    name = stage.item["proxy"]
    section = stage.params.proxies[name]
    selector = stage.params.selector(name)
    table = load_table(stage.inputs["table"] / "table.parquet")
    k = proxy_size(selector, table, section.fraction, section.size, section.seed)
    proxy = select_proxy(selector, table, k, section.seed)
    path = stage.output / "proxy.json"
    details = describe(table, proxy)
    save_proxy(path, proxy, {**details, "name": name})
    artifacts = [(path, "proxy")]
    if "entropy" in details:
        from nasbench.analysis.plots import entropy_histogram
        from nasbench.analysis.report_data import EntropyHistogram

        fields = {"proxy": name, "selector": selector.name, **details["entropy"]}
        drawing = stage.output / "histogram.svg"
        write_text(drawing, entropy_histogram(parse(EntropyHistogram, fields)))
        artifacts.append((drawing, "proxy"))
    counts = details["classes"]["after"]
    return Outcome(
        metrics={
            "num_examples": len(proxy), "num_available": len(table), "fraction": len(proxy) / len(table),
            "class_count_min": min(counts), "class_count_max": max(counts),
        },
        artifacts=tuple(artifacts),
        tags={"selector": selector.name, "proxy.fingerprint": proxy.fingerprint},
        details={"selector": {"selector": selector.name, **fields_of(selector)}},
    )  # fmt: skip


SPEC = Spec(
    name="select_proxy",
    arguments=("proxy",),
    inputs=lambda params, item: {"table": ARTIFACTS / params.proxies[item["proxy"]].table},
    sections=lambda item: (f"proxies.{item['proxy']}",),
    output=lambda item: ARTIFACTS / "proxies" / item["proxy"],
    body=body,
)

if __name__ == "__main__":
    run_stage(SPEC)
