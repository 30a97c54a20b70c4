"""Results of items that params.yaml no longer names; they would enter the hash of the folders that hold them."""

from __future__ import annotations

import shutil
from pathlib import Path

from pipelines.params import Params
from pipelines.stage import ARTIFACTS


def wanted(params: Params) -> dict[str, set[str]]:
    """Return for each folder of several items below ``artifacts/`` the names that may stand in it."""
    searches = {f"{proxy}-{searcher}-{seed}" for proxy, searcher in params.arms for seed in params.search.seeds}
    cells = {str(cell) for cell in params.baseline.cells}
    items = {
        "train_scorer": set(params.scorers), "score_examples": set(params.scorers), "select_proxy": set(params.proxies),
        "search_cell": searches, "augment_cell": searches, "augment_samples": cells, "transfer_samples": cells,
    }  # fmt: skip
    folders = {f"{kind}/{stage}": names for kind in ("metrics", "runs", "curves") for stage, names in items.items()}
    scorers = set(params.scorers)
    return {
        **folders, "scorers": scorers, "scores": scorers, "proxies": set(params.proxies),
        "genotypes": searches | {"baseline"}, "genotypes/baseline": cells,
    }  # fmt: skip


def remove_leftovers(params: Params, artifacts: Path = ARTIFACTS) -> list[Path]:
    """Delete what params.yaml does not name; DVC's cache keeps it. Returns what was deleted."""
    gone = []
    for folder, names in wanted(params).items():
        for found in sorted((artifacts / folder).glob("*")):
            if found.name.removesuffix(".csv") not in names:
                gone.append(found)
                if found.is_dir():
                    shutil.rmtree(found)
                else:
                    found.unlink()
    return gone
