"""Forward and backward passes of one supernet, ours or a plain one.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]`` and others; nothing runs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.common import BenchmarkError
from benchmarks.plain_nas_bench_201 import PlainNasBench201
from benchmarks.plain_supernet import PlainSupernet
from nasbench.searchers.gdas_strategy import GdasStrategy
from nasbench.searchers.strategy import Moment, softmax_of
from nasbench.spaces import compiled
from nasbench.spaces.base import Mixture, NetworkShape, SearchSpace
from nasbench.spaces.darts import Darts
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.training.determinism import seeded

NUM_CLASSES = 10
OURS = torch.channels_last
MEMORY: Mapping[str, torch.memory_format] = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}
"""Memory formats of the plain side by name."""

SAMPLES = 4
"""Architectures that GDAS's line samples; a call of either side goes through all of them."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Of a supernet and its batch.

    Attributes:
        channels: C.
        cells: L.
        batch: Images.
        side: Pixels.
    """

    channels: int
    cells: int
    batch: int
    side: int

    def __str__(self) -> str:
        """Return it in words."""
        return f"C{self.channels}, {self.cells} cells, batch {self.batch}, {self.side}x{self.side}"

    @property
    def shape(self) -> NetworkShape:
        """Of the network."""
        return NetworkShape(num_cells=self.cells, channels=self.channels, num_classes=NUM_CLASSES, image_size=self.side)

    def images(self, count: int | None = None) -> Tensor:
        """Return noise [N, 3, side, side]."""
        with seeded(2):
            return torch.randn(self.batch if count is None else count, 3, self.side, self.side)

    def labels(self) -> Tensor:
        """Return int64 [N]."""
        with seeded(3):
            return torch.randint(NUM_CLASSES, (self.batch,))


def use_kernels(enabled: bool) -> None:
    """Choose whether ours computes by the compiled kernels.

    Raises:
        BenchmarkError: They were not built.
    """
    if enabled and not compiled.available():
        raise BenchmarkError("the compiled kernels were not built. Is there GCC? Install the package again.")
    compiled.use(enabled)


def in_memory(network: nn.Module, memory: torch.memory_format) -> nn.Module:
    """Move a network into a memory format, and let it train."""
    moved: nn.Module = network.to(memory_format=memory)
    return moved.train()


def starting_alphas(space: SearchSpace) -> dict[str, Tensor]:
    """Return alphas of 1e-3 times a standard normal, which require gradients."""
    with seeded(4):
        return {group: (1e-3 * torch.randn(shape)).requires_grad_() for group, shape in space.alpha_shapes.items()}


@dataclass(frozen=True, kw_only=True)
class ForwardBackward:
    """One or more forward and backward passes; a call runs them and returns the sum of the losses.

    Attributes:
        network: The supernet.
        leaves: What requires a gradient beside its weights.
        logits: Each maps the images to logits [N, K], from the leaves on.
        images: [N, 3, H, W].
        labels: int64 [N].
    """

    network: nn.Module
    leaves: Sequence[Tensor]
    logits: Sequence[Callable[[Tensor], Tensor]]
    images: Tensor
    labels: Tensor

    def loss(self, which: int = 0) -> Tensor:
        """Return the loss of one of the passes, with its graph."""
        return functional.cross_entropy(self.logits[which](self.images), self.labels)

    def __call__(self) -> float:
        """Run all passes."""
        total = 0.0
        for which in range(len(self.logits)):
            self.network.zero_grad(set_to_none=True)
            for leaf in self.leaves:
                leaf.grad = None
            loss = self.loss(which)
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total


def darts_ours(size: Size) -> ForwardBackward:
    """Build the product's DARTS supernet with a softmax of alphas."""
    space = Darts()
    with seeded(0):
        network = in_memory(space.supernet(size.shape), OURS)
    alphas = starting_alphas(space)
    return ForwardBackward(
        network=network,
        leaves=list(alphas.values()),
        logits=[lambda images: Mixture(softmax_of(alphas)).apply(network, images)],
        images=size.images().contiguous(memory_format=OURS),
        labels=size.labels(),
    )


def darts_plain(size: Size, memory: torch.memory_format) -> ForwardBackward:
    """Build the plain DARTS supernet with a softmax of alphas."""
    space = Darts()
    with seeded(0):
        network = in_memory(PlainSupernet(space.candidates, size.shape), memory)
    alphas = starting_alphas(space)
    return ForwardBackward(
        network=network,
        leaves=list(alphas.values()),
        logits=[lambda images: network(images, softmax_of(alphas))],
        images=size.images().contiguous(memory_format=memory),
        labels=size.labels(),
    )


def sampled(alphas: Mapping[str, Tensor], number: int, add_unchosen: bool) -> Mixture:
    """Return the mixture of a sampled architecture of NAS-Bench-201; the same number gives the same one."""
    strategy = GdasStrategy(NasBench201(), 1.0, 1.0, add_unchosen)
    with seeded(100 + number):
        return strategy.alpha_mixture(alphas, Moment(0, 1))


def gdas_ours(size: Size, add_unchosen: bool = False) -> ForwardBackward:
    """Build the product's supernet of NAS-Bench-201 with sampled operations."""
    space = NasBench201()
    with seeded(0):
        network = in_memory(space.supernet(size.shape), OURS)
    alphas = starting_alphas(space)

    def logits(number: int) -> Callable[[Tensor], Tensor]:
        return lambda images: sampled(alphas, number, add_unchosen).apply(network, images)

    return ForwardBackward(
        network=network,
        leaves=list(alphas.values()),
        logits=[logits(number) for number in range(SAMPLES)],
        images=size.images().contiguous(memory_format=OURS),
        labels=size.labels(),
    )


def gdas_plain(
    size: Size, memory: torch.memory_format, add_unchosen: bool = False, every: bool = False
) -> ForwardBackward:
    """Build the plain supernet of NAS-Bench-201; it computes the sampled operation of an edge, or every one."""
    with seeded(0):
        network = in_memory(PlainNasBench201(size.shape), memory)
    alphas = starting_alphas(NasBench201())

    def logits(number: int) -> Callable[[Tensor], Tensor]:
        def forward(images: Tensor) -> Tensor:
            weights = sampled(alphas, number, add_unchosen).edge_weights["cell"]
            index = None if every else weights.argmax(dim=1).tolist()
            output: Any = network(images, weights, index, add_unchosen)
            return output  # type: ignore[no-any-return]

        return forward

    return ForwardBackward(
        network=network,
        leaves=list(alphas.values()),
        logits=[logits(number) for number in range(SAMPLES)],
        images=size.images().contiguous(memory_format=memory),
        labels=size.labels(),
    )
