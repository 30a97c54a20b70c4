"""The registry of cells: one registered model a search space, one version a cell, and the alias ``champion``."""

from __future__ import annotations

import json
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nasbench.config.component import fields_of
from nasbench.core.errors import RegistryError
from nasbench.core.files import canonical_json, fingerprint
from nasbench.core.genotype import load_genotype
from nasbench.tracking.gate import Evidence, Gate
from nasbench.tracking.store import connect, exclusive, lock_folder, storing, tracking_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
GENOTYPE_FILE = "genotype.json"
_PENDING = "pending"
_KEPT = "cells"


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What became of a candidate.

    Attributes:
        model: Name of the registered model, for example ``cell-darts``.
        version: Number of the candidate's version, from 1.
        passed: Whether the gate let it pass, now or when the same evidence was first judged by the same rules.
        reasons: Why not; empty when passed.
        created: Whether the version is new.
    """

    model: str
    version: int
    passed: bool
    reasons: tuple[str, ...]
    created: bool


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The cell that an alias points to.

    Attributes:
        model: Name of the registered model.
        version: Number of the version.
        evidence: With which it passed; holds the genotype's fingerprint.
    """

    model: str
    version: int
    evidence: Evidence


class CellRegistry(Protocol):
    """Keeps cells with their evidence and knows the champions."""

    def promote(self, folder: Path, evidence: Evidence, gate: Gate, run_id: str) -> Promotion:
        """Register a cell and move the champion's alias to it if the gate lets it pass."""

    def champion(self, space: str, source: str = "") -> Champion | None:
        """Return the champion of a space (of one source dataset, where that is named), or None."""

    def genotype(self, champion: Champion) -> bytes:
        """Return the champion's genotype.json, checked against the recorded fingerprint."""


def model_name(space: str) -> str:
    """Return the registered model's name of a search space."""
    return f"cell-{space}"


def champion_alias(source: str = "") -> str:
    """Return the alias of a source's champion; without a source, that of the cell promoted last."""
    return f"{CHAMPION}-{re.sub(r'[^A-Za-z0-9_-]', '-', source)}" if source else CHAMPION


class JudgingRegistry(ABC):
    """The rules of promotion; subclasses only keep versions, tags and aliases.

    A cell is registered under the fingerprint of its evidence. The same evidence judged by the same rules a
    second time returns what was decided then and changes nothing, even where a later cell has become champion.
    Other rules judge it anew, on the same version: it may pass now, and a champion that no longer passes loses
    its aliases. A candidate is compared with the champion of its own source, ``champion-<source>``, since
    Top-1 of two datasets cannot be compared; when it passes, that alias and ``champion`` move to it.
    """

    def promote(self, folder: Path, evidence: Evidence, gate: Gate, run_id: str) -> Promotion:
        """Register a cell, or find it, and decide; see the class.

        Args:
            folder: Holds genotype.json, and the drawing and whatever else is to be kept with the version.
            evidence: Its figures.
            gate: The rules.
            run_id: The run whose artifacts keep the folder.

        Raises:
            RegistryError: The folder's genotype is not the evidence's.
            TrackingError: The store cannot be reached or written.
        """
        _check_folder(folder, evidence)
        rules = fingerprint(fields_of(gate))
        with self._alone():
            version = self._find(evidence)
            created = version is None
            if version is None:
                version = self._add(evidence, folder, {**describe(evidence), "gate": _PENDING}, run_id)
            tags = self._tags(evidence.space, version)
            if tags["gate"] == _PENDING or tags["gate_rules"] != rules:
                self._judge(version, evidence, gate)
                tags = self._tags(evidence.space, version)
        return Promotion(
            model=model_name(evidence.space),
            version=version,
            passed=tags["gate"] == "passed",
            reasons=tuple(json.loads(tags["gate_reasons"])),
            created=created,
        )

    def champion(self, space: str, source: str = "") -> Champion | None:
        """See `CellRegistry.champion`.

        Raises:
            RegistryError: The version's evidence cannot be read.
            TrackingError: The store cannot be reached.
        """
        version = self._aliases(space).get(champion_alias(source))
        if version is None:
            return None
        try:
            evidence = Evidence.from_plain(json.loads(self._tags(space, version)["evidence"]))
        except (KeyError, ValueError) as error:
            raise RegistryError(
                f"version {version} of {model_name(space)} has no readable evidence ({error}). It was not made by "
                f"promote_cell: point the alias to another version, or delete it."
            ) from error
        return Champion(model=model_name(space), version=version, evidence=evidence)

    def genotype(self, champion: Champion) -> bytes:
        """Return the bytes of the champion's genotype.json.

        Raises:
            RegistryError: The file is absent, or another genotype than the evidence's fingerprint says.
            TrackingError: The store cannot be reached.
        """
        with tempfile.TemporaryDirectory() as place:
            folder = self._fetch(champion, Path(place))
            if not (folder / GENOTYPE_FILE).is_file():
                raise RegistryError(
                    f"version {champion.version} of {champion.model} has no {GENOTYPE_FILE}: its run's artifacts are "
                    f"gone. Restore them, or point the alias to another version."
                )
            _check_folder(folder, champion.evidence)
            return (folder / GENOTYPE_FILE).read_bytes()

    def _judge(self, version: int, evidence: Evidence, gate: Gate) -> None:
        """Decide, move the aliases, and write ``gate`` last, so that what a kill leaves pending is judged again."""
        self._tag(evidence.space, version, "gate", _PENDING)
        rival = self.champion(evidence.space, evidence.source)
        decision = gate.decide(evidence, rival.evidence if rival and rival.version != version else None)
        for alias in (champion_alias(evidence.source), champion_alias()):
            if decision.passed:
                self._point(evidence.space, alias, version)
            elif self._aliases(evidence.space).get(alias) == version:
                self._point(evidence.space, alias, None)
        verdict = {
            "gate": "passed" if decision.passed else "failed",
            "gate_reasons": json.dumps(decision.reasons, ensure_ascii=False),
            "gate_checks": "\n".join(decision.checks),
            "gate_rules": fingerprint(fields_of(gate)),
        }
        for key, value in sorted(verdict.items(), reverse=True):
            self._tag(evidence.space, version, key, value)

    def _alone(self) -> AbstractContextManager[None]:
        return nullcontext()

    @abstractmethod
    def _find(self, evidence: Evidence) -> int | None: ...

    @abstractmethod
    def _add(self, evidence: Evidence, folder: Path, tags: Mapping[str, str], run_id: str) -> int: ...

    @abstractmethod
    def _fetch(self, champion: Champion, place: Path) -> Path:
        """Return a folder with the version's files, in the given place or where they lie."""

    @abstractmethod
    def _tags(self, space: str, version: int) -> Mapping[str, str]: ...

    @abstractmethod
    def _tag(self, space: str, version: int, key: str, value: str) -> None: ...

    @abstractmethod
    def _aliases(self, space: str) -> Mapping[str, int]: ...

    @abstractmethod
    def _point(self, space: str, alias: str, version: int | None) -> None: ...


def _check_folder(folder: Path, evidence: Evidence) -> None:
    genotype, _ = load_genotype(folder / GENOTYPE_FILE)
    if (genotype.space, genotype.fingerprint) != (evidence.space, evidence.genotype):
        raise RegistryError(
            f"{folder / GENOTYPE_FILE} is genotype {genotype.fingerprint} of {genotype.space!r}; the evidence is of "
            f"{evidence.genotype} of {evidence.space!r}. Give the folder that the figures were measured on."
        )


def describe(evidence: Evidence) -> dict[str, str]:
    """Return evidence as the tags of a version: one a figure for the eye, and one whole for the program."""
    plain = evidence.to_plain()
    tags = {name: value if isinstance(value, str) else canonical_json(value) for name, value in plain.items()}
    return {**tags, "evidence": canonical_json(plain), "evidence_fingerprint": evidence.fingerprint}


@dataclass
class RecordingCellRegistry(JudgingRegistry):
    """Keeps everything in memory, for tests.

    Attributes:
        versions: Space -> tags of version 1, 2, ...
        folders: Space -> folder of version 1, 2, ...
        aliases: Space -> alias -> version.
    """

    versions: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    folders: dict[str, list[Path]] = field(default_factory=dict)
    aliases: dict[str, dict[str, int]] = field(default_factory=dict)

    def _find(self, evidence: Evidence) -> int | None:
        for number, tags in enumerate(self.versions.get(evidence.space, []), start=1):
            if tags["evidence_fingerprint"] == evidence.fingerprint:
                return number
        return None

    def _add(self, evidence: Evidence, folder: Path, tags: Mapping[str, str], run_id: str) -> int:
        self.versions.setdefault(evidence.space, []).append({**tags, "run_id": run_id})
        self.folders.setdefault(evidence.space, []).append(folder)
        return len(self.versions[evidence.space])

    def _fetch(self, champion: Champion, place: Path) -> Path:
        return self.folders[champion.evidence.space][champion.version - 1]

    def _tags(self, space: str, version: int) -> Mapping[str, str]:
        return self.versions[space][version - 1]

    def _tag(self, space: str, version: int, key: str, value: str) -> None:
        self.versions[space][version - 1][key] = value

    def _aliases(self, space: str) -> Mapping[str, int]:
        return self.aliases.get(space, {})

    def _point(self, space: str, alias: str, version: int | None) -> None:
        pointers = self.aliases.setdefault(space, {})
        if version is None:
            del pointers[alias]
        else:
            pointers[alias] = version


class MlflowCellRegistry(JudgingRegistry):
    """Keeps cells in MLflow's model registry; a version's source is a folder of its run's artifacts.

    Args:
        root: The checkout's root.

    Raises:
        TrackingError: The store cannot be reached or written; also from every method.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._uri = tracking_uri(root)
        self._client: MlflowClient = connect(root)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(lock_folder(self._root) / "registry.lock"):
            yield

    def _find(self, evidence: Evidence) -> int | None:
        name = model_name(evidence.space)
        with storing(self._uri):
            found = self._client.search_model_versions(
                f"name = '{name}' and tags.evidence_fingerprint = '{evidence.fingerprint}'"
            )
        return min((int(version.version) for version in found), default=None)

    def _add(self, evidence: Evidence, folder: Path, tags: Mapping[str, str], run_id: str) -> int:
        name, kept = model_name(evidence.space), f"{_KEPT}/{evidence.genotype}"
        with storing(self._uri):
            self._client.log_artifacts(run_id, str(folder), kept)
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name, description=f"Cells of the search space {evidence.space}.")
            version = self._client.create_model_version(
                name,
                source=f"{self._client.get_run(run_id).info.artifact_uri}/{kept}",
                run_id=run_id,
                tags=dict(tags),
                await_creation_for=0,
            )
        return int(version.version)

    def _fetch(self, champion: Champion, place: Path) -> Path:
        kept = f"{_KEPT}/{champion.evidence.genotype}"
        with storing(self._uri):
            run_id = self._client.get_model_version(champion.model, str(champion.version)).run_id or ""
            names = [Path(entry.path).name for entry in self._client.list_artifacts(run_id, kept)]
            if GENOTYPE_FILE not in names:
                return place
            return Path(self._client.download_artifacts(run_id, f"{kept}/{GENOTYPE_FILE}", str(place))).parent

    def _tags(self, space: str, version: int) -> Mapping[str, str]:
        with storing(self._uri):
            return dict(self._client.get_model_version(model_name(space), str(version)).tags)

    def _tag(self, space: str, version: int, key: str, value: str) -> None:
        with storing(self._uri):
            self._client.set_model_version_tag(model_name(space), str(version), key, value)

    def _aliases(self, space: str) -> Mapping[str, int]:
        name = model_name(space)
        with storing(self._uri):
            if not self._client.search_registered_models(f"name = '{name}'"):
                return {}
            return {alias: int(version) for alias, version in self._client.get_registered_model(name).aliases.items()}

    def _point(self, space: str, alias: str, version: int | None) -> None:
        with storing(self._uri):
            if version is None:
                self._client.delete_registered_model_alias(model_name(space), alias)
            else:
                self._client.set_registered_model_alias(model_name(space), alias, str(version))
