"""What every registered search space must keep."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F  # noqa: N812

from nasbench.core.errors import GenotypeError
from nasbench.core.genotype import Cell, Genotype, load_genotype, save_genotype
from nasbench.core.seeding import generator
from nasbench.spaces import SPACES
from nasbench.spaces.base import NetworkShape, SearchSpace

SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=5, in_channels=2, image_size=8)

pytestmark = pytest.mark.parametrize("name", SPACES.names())


def copy_darts_weights(supernet: nn.Module, network: nn.Module, cells: Mapping[str, Cell]) -> None:
    """Make a discrete network compute what the supernet does with one-hot edge weights, in evaluation mode.

    A discrete network has affine BN, which starts as scale 1 and shift 0, and no BN after pools; so those of the
    supernet get running statistics that make them the identity (mean 0, variance 1 - eps).
    """
    for module in supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    for pool in (pool for cell in supernet.cells for source in cell.graph.sources for pool in source.pools.values()):
        pool[1].running_mean.zero_()
        pool[1].running_var.fill_(1 - pool[1].eps)

    def copy(source: nn.Module, target: nn.Module) -> None:
        result = target.load_state_dict(source.state_dict(), strict=False)
        assert not result.unexpected_keys
        assert all(key.endswith(("norm.weight", "norm.bias")) or ".2." in key for key in result.missing_keys)

    copy(supernet.stem, network.stem)
    copy(supernet.classifier, network.classifier)
    for kind, mixed, discrete in zip(supernet.kinds, supernet.cells, network.cells, strict=True):
        copy(mixed.preprocess0, discrete.preprocess0)
        copy(mixed.preprocess1, discrete.preprocess1)
        edges = iter(discrete.edges)
        for node, arriving in enumerate(cells[kind].nodes, start=2):
            for (operation, state), target in zip(arriving, edges, strict=False):
                weighted = mixed.graph.edges[sum(range(2, node)) + state].operations
                if operation in weighted:
                    copy(weighted[operation], target)


COPY: dict[str, Callable[[nn.Module, nn.Module, Mapping[str, Cell]], None]] = {"darts": copy_darts_weights}
"""How each space's discrete network takes over a supernet's weights."""


def build(name: str) -> SearchSpace:
    return SPACES.get(name)()


def test_genotypes_survive_json(name: str, tmp_path: Path) -> None:
    space = build(name)
    genotype = space.sample(generator(0, "json"))
    save_genotype(tmp_path / "genotype.json", genotype, space.cells(genotype))
    loaded, cells = load_genotype(tmp_path / "genotype.json")
    space.check(loaded)
    space.check_cells(loaded, cells)
    assert loaded == genotype
    assert cells == space.cells(genotype)


def test_cells_of_another_genotype_are_refused(name: str) -> None:
    space = build(name)
    first, second = space.sample(generator(0, "one")), space.sample(generator(0, "two"))
    assert first != second
    with pytest.raises(GenotypeError, match="are not those of the genes"):
        space.check_cells(first, space.cells(second))


def test_samples_are_uniform_in_every_choice(name: str) -> None:
    space, rng, draws = build(name), generator(0, "uniform"), 1000
    genotypes = [space.sample(rng) for _ in range(draws)]
    for index, choice in enumerate(space.choices):
        options = len(choice.candidates)
        counts = Counter(genotype.genes[index] for genotype in genotypes)
        assert set(counts) == set(range(options))
        deviation = 5 * np.sqrt(draws / options * (1 - 1 / options))
        assert all(abs(count - draws / options) <= deviation for count in counts.values())


def test_choices_have_unique_names_and_candidates(name: str) -> None:
    choices = build(name).choices
    assert len({choice.name for choice in choices}) == len(choices)
    assert all(len(set(choice.candidates)) == len(choice.candidates) > 0 for choice in choices)


def test_cells_and_genotype_are_inverse(name: str) -> None:
    space, rng = build(name), generator(0, "inverse")
    for _ in range(50):
        genotype = space.sample(rng)
        assert space.genotype(space.cells(genotype)) == genotype


def test_discretize_inverts_one_hot_alphas(name: str) -> None:
    space, rng = build(name), generator(0, "one-hot")
    for scale in (1.0, 30.0):
        genotype = space.sample(rng)
        one_hot = space.one_hot(genotype)
        assert {group: values.shape for group, values in one_hot.items()} == dict(space.alpha_shapes)
        assert {group: len(names) for group, names in space.operations.items()} == {
            group: shape[1] for group, shape in space.alpha_shapes.items()
        }
        assert space.discretize({group: scale * values for group, values in one_hot.items()}) == genotype


def test_foreign_and_impossible_genotypes_are_refused(name: str) -> None:
    space = build(name)
    genes = space.sample(generator(0, "bad")).genes
    too_high = (*genes[:-1], len(space.choices[-1].candidates))
    for bad in (
        Genotype(space="elsewhere", genes=genes),
        Genotype(space=name, genes=genes[:-1]),
        Genotype(space=name, genes=too_high),
        Genotype(space=name, genes=(*genes[:-1], -1)),
    ):
        for use in (space.check, space.cells, lambda genotype: space.network(genotype, SHAPE)):
            with pytest.raises(GenotypeError):
                use(bad)


def test_one_hot_supernet_equals_the_discrete_network(name: str) -> None:
    space, rng = build(name), generator(0, "equal")
    torch.manual_seed(0)
    images = torch.randn(3, 2, 8, 8, dtype=torch.float64)
    for _ in range(3):
        genotype = space.sample(rng)
        supernet = space.supernet(SHAPE).double()
        network = space.network(genotype, SHAPE).double()
        with torch.no_grad():
            COPY[name](supernet, network, space.cells(genotype))
            weights = {group: torch.from_numpy(values) for group, values in space.one_hot(genotype).items()}
            mixed = supernet.eval()(images, weights)
            discrete = network.eval()(images).logits
        torch.testing.assert_close(mixed, discrete, rtol=1e-10, atol=1e-10)
        assert discrete.std() > 1e-3


@pytest.mark.parametrize(("channels", "height", "width"), [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 7, 11)])
def test_any_image_size(name: str, channels: int, height: int, width: int) -> None:
    space = build(name)
    shape = NetworkShape(num_cells=3, channels=3, num_classes=5, in_channels=channels, image_size=height)
    images = torch.randn(2, channels, height, width)
    weights = {group: torch.full(full, 1 / full[1]) for group, full in space.alpha_shapes.items()}
    prediction = space.network(space.sample(generator(0, "size")), shape)(images)
    with torch.no_grad():
        assert space.supernet(shape)(images, weights).shape == (2, 5)
    assert prediction.logits.shape == (2, 5)
    assert prediction.auxiliary is None


def test_gradients_reach_every_edge_weight_but_none(name: str) -> None:
    space = build(name)
    torch.manual_seed(0)
    weights = {
        group: torch.rand(full, dtype=torch.float64).requires_grad_() for group, full in space.alpha_shapes.items()
    }
    supernet = space.supernet(SHAPE).double()
    logits = supernet(torch.randn(4, 2, 8, 8, dtype=torch.float64), weights)
    F.cross_entropy(logits, torch.arange(4)).backward()
    for group, values in weights.items():
        for index, operation in enumerate(space.operations[group]):
            gradient = values.grad[:, index]
            assert torch.isfinite(gradient).all()
            assert bool((gradient != 0).any()) == (operation != "none")
    assert all(parameter.grad is not None for parameter in supernet.parameters())


def test_same_seed_same_weights(name: str) -> None:
    space = build(name)

    def first(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        network = space.network(space.sample(generator(0, "seed")), SHAPE)
        return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_nothing_stays_on_the_cpu(name: str) -> None:
    """A fake CUDA device finds a tensor that is made on the wrong device; no GPU is needed."""
    space = build(name)
    shape = NetworkShape(num_cells=3, channels=4, num_classes=5, image_size=8)
    mode = FakeTensorMode()
    with mode, torch.device("cuda"):
        images = torch.randn(2, 3, 8, 8)
        weights = {group: torch.rand(full, requires_grad=True) for group, full in space.alpha_shapes.items()}
        supernet = space.supernet(shape)
        network = space.network(space.sample(generator(0, "cuda")), replace(shape, auxiliary=True))
    with mode:
        logits = supernet(images, weights)
        prediction = network(images, drop_path=0.5)
    assert logits.device.type == prediction.logits.device.type == prediction.auxiliary.device.type == "cuda"


def test_docstring_names_its_source(name: str) -> None:
    text = SPACES.get(name).__doc__ or ""
    assert "Reference:" in text
    assert "Differs from the paper:" in text
    assert name in COPY


def test_listing_loads_no_framework(name: str) -> None:
    code = (
        "import sys; from nasbench.spaces import SPACES; "
        f"SPACES.get({name!r})().cardinality; print('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
