"""Every study runs the root's stages."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted(path.parent for path in ROOT.glob("studies/*/params.yaml"))


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_the_stages_of_a_study_are_the_roots(study: Path) -> None:
    """A copy, not a link: DVC reads no link in a git revision, and `dvc metrics diff` then knows no old value."""
    stages = study / "dvc.yaml"
    assert not stages.is_symlink()
    assert stages.read_bytes() == (ROOT / "dvc.yaml").read_bytes(), f"run `cp dvc.yaml {study.relative_to(ROOT)}/`"


def test_there_are_studies() -> None:
    assert len(STUDIES) >= 2
