"""The textbook search steps on the plain supernets, as the authors' published codes take them.

Used by ``python -m benchmarks.supernet_step [--quick] [--json [FILE]]``; nothing runs here. A step is an alpha step on
one batch and a weight step on another. As in those codes both call ``loss.backward()``, which also computes gradients
that the step does not use; the second-order step builds a second network; the optimisers are PyTorch's with their
default arguments. What only slows them down is left out: metrics, logging, data loading, softmaxes repeated for every
cell, SDARTS's loop over rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the customary name

from benchmarks.plain_supernet import OPEN, Choices, PlainSupernet
from nasbench.searchers.settings import BilevelSettings

RADIUS = 0.01
Batch = tuple[Tensor, Tensor]
Alphas = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a plain search starts from.

    Attributes:
        model: The supernet, in its memory format.
        settings: Rates and decays, those of the product's searcher.
        train: Images and labels of the weight half.
        valid: Of the alpha half.
        alphas: Group -> [E, O], leaves.
    """

    model: Any
    settings: BilevelSettings
    train: Batch
    valid: Batch
    alphas: Alphas


class PlainDarts:
    """First-order DARTS; a call takes one step."""

    def __init__(self, start: Start) -> None:
        self.model, self.settings, self.alphas = start.model, start.settings, start.alphas
        self.train, self.valid = start.train, start.valid
        settings = start.settings
        self.weights = list(self.model.parameters())
        self.optimizer = torch.optim.SGD(
            self.weights, settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay,
            nesterov=settings.nesterov,
        )  # fmt: skip
        self.alpha_optimizer = torch.optim.Adam(
            self.architecture(), lr=settings.alpha_learning_rate, betas=settings.alpha_betas,
            weight_decay=settings.alpha_weight_decay,
        )  # fmt: skip

    def architecture(self) -> list[Tensor]:
        """Return the leaves that the alpha optimiser trains."""
        return list(self.alphas.values())

    def logits(self, model: Any, images: Tensor) -> Tensor:
        """Return the supernet's logits with softmaxed alphas."""
        output: Tensor = model(images, {group: F.softmax(values, dim=-1) for group, values in self.alphas.items()})
        return output

    def loss(self, batch: Batch, model: Any = None) -> Tensor:
        """Return the loss of a batch."""
        return F.cross_entropy(self.logits(self.model if model is None else model, batch[0]), batch[1])

    def alpha_gradients(self) -> None:
        """Leave the alphas' gradients in them."""
        self.loss(self.valid).backward()  # type: ignore[no-untyped-call]

    def alpha_step(self) -> None:
        """Train the alphas."""
        self.alpha_optimizer.zero_grad()
        self.alpha_gradients()
        self.alpha_optimizer.step()

    def weight_step(self) -> float:
        """Train the weights."""
        self.optimizer.zero_grad()
        loss = self.loss(self.train)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, self.settings.gradient_clip)
        self.optimizer.step()
        return float(loss.detach())

    def __call__(self) -> float:
        """Take an alpha step and a weight step."""
        self.alpha_step()
        return self.weight_step()


class PlainPcDarts(PlainDarts):
    """PC-DARTS: betas normalise the edges that enter a node.

    Args:
        start: With a supernet of partial channels.
        nodes: Group -> for each node its edges, which follow one another.
    """

    def __init__(self, start: Start, nodes: Mapping[str, Sequence[Sequence[int]]]) -> None:
        self.nodes = nodes
        self.betas = {
            group: (1e-3 * torch.randn(len(values))).requires_grad_() for group, values in start.alphas.items()
        }
        super().__init__(start)

    def architecture(self) -> list[Tensor]:
        """Return alphas and betas."""
        return [*self.alphas.values(), *self.betas.values()]

    def logits(self, model: Any, images: Tensor) -> Tensor:
        """Return the supernet's logits with softmaxed alphas and betas."""
        weights = {group: F.softmax(values, dim=-1) for group, values in self.alphas.items()}
        norm = {
            group: torch.cat([F.softmax(betas[node[0] : node[-1] + 1], dim=0) for node in self.nodes[group]])
            for group, betas in self.betas.items()
        }
        output: Tensor = model(images, weights, norm)
        return output


class PlainSecondOrder(PlainDarts):
    """DARTS that looks one weight step ahead, in a second network, with a finite difference for the rest."""

    def alpha_gradients(self) -> None:
        """Leave d L_val(w', alpha) - xi (d L_train(w+) - d L_train(w-)) / 2R in the alphas."""
        rate = self.settings.learning_rate
        ahead = self._network_ahead(rate)
        self.loss(self.valid, ahead).backward()  # type: ignore[no-untyped-call]
        direct = [_gradient(values) for values in self.architecture()]
        vector = [_gradient(weight) for weight in ahead.parameters()]
        product = self._hessian_product(vector)
        for values, first, second in zip(self.architecture(), direct, product, strict=True):
            values.grad = first - rate * second

    def _network_ahead(self, rate: float) -> PlainSupernet:
        """Return a new network with the weights after a step of SGD."""
        loss = self.loss(self.train)
        theta = torch.cat([weight.detach().reshape(-1) for weight in self.weights])
        memory = [self.optimizer.state[weight].get("momentum_buffer") for weight in self.weights]
        moment = torch.cat([
            torch.zeros(weight.numel()) if buffer is None else buffer.reshape(-1)
            for weight, buffer in zip(self.weights, memory, strict=True)
        ]).mul_(self.settings.momentum)  # fmt: skip
        gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, self.weights)])
        moved = theta.sub(moment + gradient + self.settings.weight_decay * theta, alpha=rate)
        state, place = dict(self.model.state_dict()), 0
        for name, weight in self.model.named_parameters():
            state[name] = moved[place : place + weight.numel()].view(weight.shape)
            place += weight.numel()
        ahead: PlainSupernet = self.model.fresh()
        ahead.load_state_dict(state)
        like = self.train[0]
        if like.is_contiguous(memory_format=torch.channels_last):
            ahead.to(memory_format=torch.channels_last)
        return ahead.train()

    def _hessian_product(self, parts: Sequence[Tensor]) -> list[Tensor]:
        radius = RADIUS / float(torch.cat([part.reshape(-1) for part in parts]).norm())
        self._move(parts, radius)
        plus = torch.autograd.grad(self.loss(self.train), self.architecture())
        self._move(parts, -2 * radius)
        minus = torch.autograd.grad(self.loss(self.train), self.architecture())
        self._move(parts, radius)
        return [(high - low) / (2 * radius) for high, low in zip(plus, minus, strict=True)]

    def _move(self, parts: Sequence[Tensor], length: float) -> None:
        with torch.no_grad():
            for weight, part in zip(self.weights, parts, strict=True):
                weight.add_(part, alpha=length)


def _gradient(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


class PlainSdarts(PlainDarts):
    """SDARTS-RS: the weights are trained under edge weights with uniform noise."""

    def __init__(self, start: Start, radius: float) -> None:
        super().__init__(start)
        self.radius = radius

    def weight_step(self) -> float:
        """Train the weights with perturbed edge weights in place of the alphas' softmax."""
        with torch.no_grad():
            mixed = {group: self._perturbed(F.softmax(values, dim=-1)) for group, values in self.alphas.items()}
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.model(self.train[0], mixed), self.train[1])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.weights, self.settings.gradient_clip)
        self.optimizer.step()
        return float(loss.detach())

    def _perturbed(self, weights: Tensor) -> Tensor:
        moved = weights.add(torch.empty_like(weights).uniform_(-self.radius, self.radius)).clamp_(0.0, 1.0)
        return moved.div_(moved.sum(dim=1, keepdim=True))


class PlainSgas(PlainDarts):
    """SGAS in the middle of its search: decided edges compute one operation, pruned ones none.

    Each edge has a vector of alphas of its own; those of settled edges get no gradient.
    """

    def __init__(self, start: Start, choices: Choices) -> None:
        self.choices = choices
        self.vectors = {
            group: [row.detach().clone().requires_grad_() for row in values] for group, values in start.alphas.items()
        }
        super().__init__(start)

    def architecture(self) -> list[Tensor]:
        """Return the vectors of the open edges."""
        return [
            row
            for group, rows in self.vectors.items()
            for row, choice in zip(rows, self.choices[group], strict=True)
            if choice is OPEN
        ]

    def logits(self, model: Any, images: Tensor) -> Tensor:
        """Return the supernet's logits."""
        weights = {group: [F.softmax(row, dim=-1) for row in rows] for group, rows in self.vectors.items()}
        output: Tensor = model(images, weights, choices=self.choices)
        return output


class PlainGdas(PlainDarts):
    """GDAS on NAS-Bench-201: weights first, then alphas, each with a sample of its own.

    Args:
        start: With a supernet of NAS-Bench-201.
        temperature: tau.
    """

    def __init__(self, start: Start, temperature: float) -> None:
        super().__init__(start)
        self.temperature = temperature

    def logits(self, model: Any, images: Tensor) -> Tensor:
        """Return the logits of a sampled architecture, of which only the chosen operations are computed."""
        alphas = self.alphas["cell"]
        noise = -torch.empty_like(alphas, requires_grad=False).exponential_().log()
        soft = F.softmax((F.log_softmax(alphas, dim=1) + noise) / self.temperature, dim=1)
        index = soft.argmax(dim=1)
        hard = torch.zeros_like(soft).scatter_(1, index[:, None], 1.0)
        output: Tensor = model(images, hard - soft.detach() + soft, index.tolist())
        return output

    def __call__(self) -> float:
        """Take a weight step and an alpha step."""
        loss = self.weight_step()
        self.alpha_step()
        return loss
