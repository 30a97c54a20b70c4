"""Separable convolutions of many edges and their weighted sum, in as few operators as there are.

Where each operator is a kernel to launch, as on a GPU, it is their number that costs. So the convolutions that a node's
sum ends with are joined: one pointwise convolution, one BN whose scale is the weights of the edges, one sum. On a CPU
bytes cost more; there `nasbench.spaces.separable` and `nasbench.spaces.weighted_sum` compute the same. All steps are
PyTorch's own and can be differentiated any number of times.

Shapes: as in `nasbench.spaces.separable`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the customary name

from nasbench.spaces.depthwise import depthwise
from nasbench.spaces.separable import InverseMoments, Moments, Unit

ON_CPU = False
"""Whether a CPU computes in this way, too; for tests."""


def wanted_for(x: Tensor) -> bool:
    """Return whether what is computed of a tensor is computed in this way."""
    return ON_CPU or not x.is_cpu


def hidden(unit: Unit, eps: float, running: Moments | None) -> tuple[Tensor, Moments | InverseMoments]:
    """Return the ReLU of a unit's BN [N, m*C, H', W'], and the statistics that were used.

    Args:
        unit: The convolution.
        eps: Of the BN.
        running: Its statistics; None normalises by the batch.
    """
    output, moments = _normalised([unit], None, eps, running)
    return F.relu(output), moments


def weighted_sum(
    units: Sequence[Unit],
    edges: Sequence[int],
    factors: Tensor,
    shared: Sequence[Tensor],
    shares: Tensor,
    eps: float,
    running: Moments | None,
) -> tuple[Tensor, Moments | InverseMoments]:
    """Return for each of n edges the weighted sum of its units and of the shared terms.

    Args:
        units: Separable convolutions, at least one, of m edges together.
        edges: For each of the m its edge.
        factors: For each of the m its weight.
        shared: s terms [N, C, H', W'] that are the same on all edges.
        shares: Their weights [s, n], 0 for an edge that does not have one.
        eps: Of the BN.
        running: Statistics of all m; None normalises by the batch.

    Returns:
        [N, n*C, H', W'], and the statistics [m, C] that were used.
    """
    channels, n = units[0].mixing.shape[1], shares.shape[1]
    output, moments = _normalised(units, factors.repeat_interleave(channels), eps, running)
    batch, _, height, width = output.shape
    if list(edges) == list(range(n)) * (len(edges) // n):
        pixels = torch.unflatten(
            output.permute(0, 2, 3, 1), 3, (-1, n * channels)
        )  # a sum over it keeps channels_last memory
        total = pixels.sum(3).permute(0, 3, 1, 2)
    else:
        total = _sums(output.chunk(len(edges), dim=1), edges, n)
    if not shared:
        return total, moments
    matrix = torch.kron(shares, torch.eye(channels, dtype=shares.dtype, device=shares.device))
    values = torch.cat(list(shared), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
    total = torch.addmm(total.permute(0, 2, 3, 1).flatten(0, 2), values, matrix.to(values.dtype))
    return total.view(batch, height, width, -1).permute(0, 3, 1, 2), moments


def _normalised(
    units: Sequence[Unit], scale: Tensor | None, eps: float, running: Moments | None
) -> tuple[Tensor, Moments | InverseMoments]:
    """Return the BN's output of units [N, m*C, H', W'], times a scale [m*C], and the statistics [m, C]."""
    parts = [depthwise(unit.x, unit.kernels, unit.stride, unit.dilation) for unit in units]
    mixing = units[0].mixing if len(units) == 1 else torch.cat([unit.mixing for unit in units])
    rows, channels = mixing.shape[:2]
    together = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    mixed = F.conv2d(together, mixing.flatten(0, 1)[..., None, None], groups=rows)
    if running is not None:
        mean, variance = (part.flatten() for part in running)
        return F.batch_norm(mixed, mean, variance, scale, None, False, 0.0, eps), running
    output, mean, inverse = torch.native_batch_norm(mixed, scale, None, None, None, True, 0.0, eps)
    return output, InverseMoments(*(part.detach().view(rows, channels) for part in (mean, inverse)))


def _sums(parts: Sequence[Tensor], edges: Sequence[int], n: int) -> Tensor:
    """Return the sum of the parts of each edge, side by side; zeros for an edge without any."""
    own = [[part for part, place in zip(parts, edges, strict=True) if place == edge] for edge in range(n)]
    sums = [sum(found[1:], start=found[0]) if found else torch.zeros_like(parts[0]) for found in own]
    return sums[0] if n == 1 else torch.cat(sums, dim=1)
