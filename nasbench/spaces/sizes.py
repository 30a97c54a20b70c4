"""Which network sizes a space has; without any framework, so that parameters can be checked before any work."""

from __future__ import annotations

from nasbench.core.errors import ConfigError
from nasbench.spaces.base import NetworkShape

STAGES = 3


def check_stages(shape: NetworkShape, *, only: int | None = None) -> None:
    """Refuse a size that a network of three equally long stages does not have.

    Args:
        shape: Size of the network.
        only: The one number of cells that there is, or None for any multiple of 3.

    Raises:
        ConfigError: Another number of cells, or a stem or auxiliary head that these networks do not have.
    """
    if only is not None and shape.num_cells != only:
        raise ConfigError(
            f"num_cells {shape.num_cells} must be {only}: this space has so many cells, and a genotype a choice for "
            f"each. Set num_cells to {only}."
        )
    if shape.num_cells % STAGES:
        raise ConfigError(
            f"num_cells {shape.num_cells} is not a multiple of {STAGES}; this space has three stages of N cells each. "
            f"Give {STAGES}, {2 * STAGES}, {3 * STAGES}, ..."
        )
    if shape.stem != "cifar":
        raise ConfigError(f"this space has no stem {shape.stem!r}; only 'cifar' is there. Set stem to cifar.")
    if shape.auxiliary:
        raise ConfigError("the networks of this space have no auxiliary head. Set auxiliary (or its weight) to 0.")
