"""A clone of the project with parameters so small that the whole pipeline takes a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from nasbench.config.load import load_yaml

ROOT = Path(__file__).resolve().parents[2]


def small_params() -> dict[str, Any]:
    """Return the default parameters with one seed, two proxies, two random cells and one epoch everywhere."""
    params = load_yaml(ROOT / "params.yaml")
    params["study"] = "small"
    params["source"]["options"] = {"test_size": 1400}
    params["target"] = {"dataset": "digits", "name": "digits_small", "options": {"test_size": 1500}}
    params["scorers"]["resnet20"]["options"]["recipe"]["epochs"] = 1
    del params["proxies"]["whole"]
    for proxy in params["proxies"].values():
        del proxy["fraction"]
        proxy["size"] = 48
    params["supernet"]["channels"] = 2
    params["searchers"]["darts"]["options"] |= {"epochs": 2, "batch_size": 12}
    params["search"] |= {"proxies": ["random", "p1"], "seeds": [0]}
    params["baseline"]["cells"] = [0, 1]
    for section in ("augment", "transfer"):
        params[section] |= {"num_cells": 3, "channels": 2, "seeds": [0]}
        params[section]["recipe"]["epochs"] = 1
    params["comparison"]["resamples"] = 200
    return params


def clone(folder: Path, params: dict[str, Any]) -> Path:
    """Copy the project's tracked and new files into a fresh git and DVC repository and commit them."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    skipped = ("artifacts/", "tests/", "dvc.lock")
    for name in listed:
        if (ROOT / name).is_file() and not name.startswith(skipped):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    with (folder / "params.yaml").open("w", encoding="utf-8") as handle:
        YAML().dump(params, handle)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "clone"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)
    return folder


def run(folder: Path, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python ARGUMENTS`` in the clone, with the clone's own code, and check its exit code."""
    settings = {
        **os.environ, "PYTHONPATH": str(folder), "MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **environment,
    }  # fmt: skip
    settings.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done
