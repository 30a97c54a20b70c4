"""A family of components: one package, one file a member, found by walking the package."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from nasbench.core.errors import UnknownNameError, nearest


class Named(Protocol):
    """What a member of a family has: a kebab-case name and a docstring."""

    name: str


T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one family's classes; members register themselves when their module is imported.

    Args:
        kind: What a member is called in messages, for example ``"selector"``.
        package: The package whose modules hold the members, for example ``"nasbench.selectors"``.

    Example:
        >>> from nasbench.selectors import SELECTORS
        >>> "random" in SELECTORS.names()
        True
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._members: dict[str, type[T]] = {}
        self._walked = False

    def register(self, cls: type[T]) -> type[T]:
        """Class decorator: enter the class under its ``name`` attribute.

        Raises:
            UnknownNameError: The class has no name, or the name is taken by another class.
        """
        name = vars(cls).get("name")
        if not isinstance(name, str) or not name:
            raise UnknownNameError(f"{self.kind} {cls.__qualname__} needs a class attribute 'name' of its own.")
        present = self._members.get(name)
        if present is not None and (present.__module__, present.__qualname__) != (cls.__module__, cls.__qualname__):
            raise UnknownNameError(f"{self.kind} name {name!r} is taken by {present.__qualname__}.")
        self._members[name] = cls
        return cls

    def _walk(self) -> None:
        if self._walked:
            return
        package = importlib.import_module(self.package)
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda found: found.name):
            if self._registers(f"{self.package}.{module.name}"):
                importlib.import_module(f"{self.package}.{module.name}")
        self._walked = True

    @staticmethod
    def _registers(module: str) -> bool:
        """Whether a module registers a member; machinery, which may import heavy frameworks, does not."""
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            return False
        return ".register\n" in Path(spec.origin).read_text(encoding="utf-8")

    def names(self) -> tuple[str, ...]:
        """Return every registered name, sorted."""
        self._walk()
        return tuple(sorted(self._members))

    def get(self, name: str, where: str = "") -> type[T]:
        """Return the class of a name.

        Args:
            name: A registered name.
            where: The parameter's path for the error message, for example ``"proxies.p1.selector"``.

        Raises:
            UnknownNameError: No such member; the message lists the known names and the nearest.
        """
        self._walk()
        if name not in self._members:
            place = f"{where}: " if where else ""
            raise UnknownNameError(
                f"{place}there is no {self.kind} {name!r}. Known: {', '.join(self.names())}."
                f"{nearest(name, self._members)}"
            )
        return self._members[name]
