"""Reading params.yaml: YAML 1.2, as DVC reads it, so that both see the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nasbench.core.errors import ConfigError, FileReadError


def load_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping; a key that stands twice is an error.

    Args:
        path: The file.

    Raises:
        FileReadError: The file is absent or unreadable.
        ConfigError: It is not YAML, or not a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    file = Path(path)
    try:
        value = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileReadError(
            f"cannot read {file}: {error.strerror or error}. Run from the folder that holds it."
        ) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file} holds a {type(value).__name__}; a mapping of sections is needed.")
    return value
