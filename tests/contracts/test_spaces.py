"""What every registered search space must keep."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from nasbench.core.errors import ConfigError, GenotypeError
from nasbench.core.genotype import Genotype, load_genotype, save_genotype
from nasbench.core.seeding import generator
from nasbench.spaces import SPACES, compiled, fan_pass, few_launches
from nasbench.spaces.banks import SeparableBank
from nasbench.spaces.base import SearchSpace
from nasbench.spaces.mixed import MixedGraph
from nasbench.spaces.ops import Noise
from nasbench.spaces.two_input_cells import TwoInputCells
from tests.kernels import needs_kernels
from tests.mixed_edges import computed, gradients_of_operations, single_weights, with_values
from tests.space_cases import SpaceCase, cases

CASES = cases()
SIZES = [(8, 8), (7, 11)]

every_space = pytest.mark.parametrize("name", SPACES.names())
REPRESENTATIVES = [name for name in SPACES.names() if name in CASES and name in CASES[name].representatives]
representative_spaces = pytest.mark.parametrize("name", REPRESENTATIVES)
"""One space of each family and those of its spaces that differ in more than their candidates' names."""


def build(name: str) -> SearchSpace:
    return SPACES.get(name)()


def image_batch(case: SpaceCase, size: tuple[int, int] = (8, 8), count: int = 4) -> Tensor:
    return torch.randn(count, case.shape.in_channels, *size, dtype=torch.float64)


def one_hot_of(space: SearchSpace, genotype: Genotype) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """Edge weights and what of them is active."""
    one_hot = space.one_hot(genotype)
    weights = {group: torch.from_numpy(values) for group, values in one_hot.items()}
    return weights, {group: values != 0 for group, values in one_hot.items()}


def random_weights(space: SearchSpace, softmaxed: bool = False, dtype=torch.float64) -> dict[str, Tensor]:
    drawn = {group: torch.randn(full, dtype=dtype) for group, full in space.alpha_shapes.items()}
    return {group: (values.softmax(dim=1) if softmaxed else values).requires_grad_() for group, values in drawn.items()}


def fix_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``noise`` give the same numbers at every call, so that networks can be compared that call it unequally."""

    def numbers(self: Noise, x: Tensor) -> Tensor:
        output = x[:, :, :: self.stride, :: self.stride]
        drawn = np.random.default_rng(0).normal(size=tuple(output.shape))
        return torch.from_numpy(drawn).to(output.dtype)

    monkeypatch.setattr(Noise, "forward", numbers)


@pytest.fixture
def fixed_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    fix_noise(monkeypatch)


def seeded_logits(network: nn.Module, *arguments, **options) -> Tensor:
    """Logits with the same draws for each network that draws in the same order."""
    torch.manual_seed(3)
    output = network(*arguments, **options)
    return output if isinstance(output, Tensor) else output.logits


def test_every_space_has_a_case_and_every_case_a_representative() -> None:
    assert set(CASES) == set(SPACES.names())
    assert all(case.representatives and set(case.representatives) <= set(case.names) for case in CASES.values())


def test_the_representatives_have_every_operation_and_trait_of_their_families() -> None:
    for case in CASES.values():
        whole, part = (
            set().union(*(operations_and_traits(build(name)) for name in names))
            for names in (case.names, case.representatives)
        )
        assert part == whole


def operations_and_traits(space: SearchSpace) -> set[str]:
    groups = set(space.alpha_shapes) - space.connection_groups
    return {name for group in groups for row in space.candidates[group] for name in row} | space.traits


@every_space
def test_genotypes_survive_json(name: str, tmp_path: Path) -> None:
    space = build(name)
    genotype = space.sample(generator(0, "json"))
    save_genotype(tmp_path / "genotype.json", genotype, space.cells(genotype))
    loaded, cells = load_genotype(tmp_path / "genotype.json")
    space.check(loaded)
    space.check_cells(loaded, cells)
    assert loaded == genotype
    assert cells == space.cells(genotype)


@every_space
def test_cells_of_another_genotype_are_refused(name: str) -> None:
    space = build(name)
    first, second = space.sample(generator(0, "one")), space.sample(generator(0, "two"))
    assert first != second
    with pytest.raises(GenotypeError, match="are not those of the genes"):
        space.check_cells(first, space.cells(second))


@every_space
def test_samples_are_uniform_in_every_choice(name: str) -> None:
    space, rng, draws = build(name), generator(0, "uniform"), 1000
    genotypes = [space.sample(rng) for _ in range(draws)]
    for index, choice in enumerate(space.choices):
        options = len(choice.candidates)
        counts = Counter(genotype.genes[index] for genotype in genotypes)
        assert set(counts) == set(range(options))
        deviation = 5 * np.sqrt(draws / options * (1 - 1 / options))
        assert all(abs(count - draws / options) <= deviation for count in counts.values())


@every_space
def test_choices_have_unique_names_and_candidates(name: str) -> None:
    choices = build(name).choices
    assert len({choice.name for choice in choices}) == len(choices)
    assert all(len(set(choice.candidates)) == len(choice.candidates) > 0 for choice in choices)


@every_space
def test_every_row_of_alphas_has_its_candidates(name: str) -> None:
    space = build(name)
    assert {group: len(names) for group, names in space.operations.items()} == {
        group: shape[1] for group, shape in space.alpha_shapes.items()
    }
    assert {group: (len(rows), {len(row) for row in rows}) for group, rows in space.candidates.items()} == {
        group: (edges, {operations}) for group, (edges, operations) in space.alpha_shapes.items()
    }
    assert all(len(set(row)) == len(row) for rows in space.candidates.values() for row in rows)
    assert space.connection_groups <= set(space.alpha_shapes)


@every_space
def test_cells_and_genotype_are_inverse(name: str) -> None:
    space, rng = build(name), generator(0, "inverse")
    for _ in range(50):
        genotype = space.sample(rng)
        assert space.genotype(space.cells(genotype)) == genotype


@every_space
def test_discretize_inverts_one_hot_alphas(name: str) -> None:
    space, rng = build(name), generator(0, "one-hot")
    for scale in (1.0, 30.0):
        for _ in range(10):
            genotype = space.sample(rng)
            one_hot = space.one_hot(genotype)
            assert {group: values.shape for group, values in one_hot.items()} == dict(space.alpha_shapes)
            assert space.discretize({group: scale * values for group, values in one_hot.items()}) == genotype


@every_space
def test_foreign_and_impossible_genotypes_are_refused(name: str) -> None:
    space, shape = build(name), CASES[name].shape
    genes = space.sample(generator(0, "bad")).genes
    too_high = (*genes[:-1], len(space.choices[-1].candidates))
    for bad in (
        Genotype(space="elsewhere", genes=genes),
        Genotype(space=name, genes=genes[:-1]),
        Genotype(space=name, genes=too_high),
        Genotype(space=name, genes=(*genes[:-1], -1)),
    ):
        for use in (space.check, space.cells, space.one_hot, lambda genotype: space.network(genotype, shape)):
            with pytest.raises(GenotypeError):
                use(bad)


@every_space
def test_one_hot_supernet_equals_the_discrete_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space, case, rng = build(name), CASES[name], generator(0, "equal")
    torch.manual_seed(0)
    supernet = space.supernet(case.shape).double()
    for size in SIZES:
        images, genotype = image_batch(case, size), space.sample(rng)
        network = space.network(genotype, case.shape).double()
        weights, active = one_hot_of(space, genotype)
        with torch.no_grad():
            case.copy(supernet, network, space.cells(genotype))
            supernet.eval()
            network.eval()
            discrete = seeded_logits(network, images)
            computed = seeded_logits(supernet, images, weights, active=active)
            with monkeypatch.context() as patch:
                fix_noise(patch)
                everything = seeded_logits(supernet, images, weights)
                discrete_of_fixed_noise = seeded_logits(network, images)
        torch.testing.assert_close(computed, discrete, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(everything, discrete_of_fixed_noise, rtol=1e-10, atol=1e-10)
        assert discrete.std() > 1e-3


def leaves(network: nn.Module) -> list[nn.Module]:
    """Modules with weights or running statistics of their own, but for those of mixed edges."""
    inside = {id(m) for g in network.modules() if isinstance(g, MixedGraph) for m in g.banks.modules()}
    return [
        module
        for module in network.modules()
        if id(module) not in inside
        and (any(True for _ in module.parameters(recurse=False)) or any(True for _ in module.buffers(recurse=False)))
    ]


def run_watched(supernet: nn.Module, *arguments, **options) -> tuple[Tensor, set[nn.Module]]:
    """Logits, and which leaves were called."""
    called: set[nn.Module] = set()
    hooks = [leaf.register_forward_hook(lambda module, *_: called.add(module)) for leaf in leaves(supernet)]
    logits = supernet(*arguments, **options)
    for hook in hooks:
        hook.remove()
    return logits, called


def arithmetic(network: nn.Module, *arguments, **options) -> int:
    """Operations of all convolutions and linear layers of a forward pass, however they are called."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*arguments, **options)
    return counter.get_total_flops()


def without_loose_ends(space: SearchSpace, rng: np.random.Generator) -> Genotype:
    """The first sample in which every node is part of the output or feeds another, so that all it chose matters."""
    while True:
        genotype = space.sample(rng)
        cells = space.cells(genotype).values()
        used = [{*cell.concat, *(source for edges in cell.nodes for _, source in edges)} for cell in cells]
        if all(set(range(cell.num_inputs, cell.num_inputs + len(cell.nodes))) <= states
               for cell, states in zip(cells, used, strict=True)):  # fmt: skip
            return genotype


@representative_spaces
@pytest.mark.usefixtures("fixed_noise")
def test_what_is_not_active_is_not_computed_and_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space, case = build(name), CASES[name]
    torch.manual_seed(0)
    images, genotype = image_batch(case), without_loose_ends(space, generator(0, "active"))
    supernet, network = space.supernet(case.shape).double(), space.network(genotype, case.shape).double()
    _, active = one_hot_of(space, genotype)
    weights = random_weights(space, softmaxed=True)  # those of what is not active must not matter; none is negative,
    # as a network whose single operations end in a ReLU could be dead then

    before = {leaf: [buffer.clone() for buffer in leaf.buffers(recurse=False)] for leaf in leaves(supernet)}
    watched: list[tuple[Tensor, set[nn.Module]]] = []
    mixed = computed(supernet, lambda: watched.append(run_watched(supernet, images, weights, active=active)))
    ((logits, called),) = watched
    asleep = set(leaves(supernet)) - called
    changed = {
        leaf
        for leaf, buffers in before.items()
        if not all(torch.equal(*pair) for pair in zip(leaf.buffers(recurse=False), buffers, strict=True))
    }
    logits.square().sum().backward()
    assert changed <= called
    assert all(p.grad is None or not p.grad.any() for leaf in asleep for p in leaf.parameters(recurse=False))
    check_mixed_edges(space, supernet, mixed, active)
    for group, values in weights.items():
        assert (values.grad.numpy() != 0).tolist() == (active[group] & ~is_none(space, group)).tolist()

    zeroed = {group: values.detach() * torch.from_numpy(active[group]) for group, values in weights.items()}
    supernet.eval()  # in training the statistics of a pointwise convolution come from products of their own
    monkeypatch.setattr(fan_pass, "ALIKE_BYTES", 0)  # nor are there zeros around smaller kernels
    assert arithmetic(supernet, images, zeroed, active=active) == arithmetic(network, images)
    supernet.train()
    with torch.no_grad():
        everything, called_by_all = run_watched(supernet, images, zeroed)
    torch.testing.assert_close(logits, everything, rtol=1e-10, atol=1e-10)
    assert called <= called_by_all == set(leaves(supernet))  # where widths are chosen every leaf may be in use


def check_mixed_edges(space: SearchSpace, supernet: nn.Module, mixed: list[tuple[int, str]], active) -> None:
    """What is active was computed and has a gradient, nothing else."""
    kinds = getattr(supernet, "kinds", None)
    expected = []
    for (cell, edge, name), gradients in gradients_of_operations(supernet).items():
        group = kinds[cell] if kinds else next(iter(space.alpha_shapes))
        chosen = bool(active[group][edge][space.candidates[group][edge].index(name)])
        expected += [(edge, name)] * chosen
        biased = {gradient.dim() == 1 for gradient in gradients} == {True, False}
        assert any(gradient.any() for gradient in gradients) == chosen
        assert biased or all(gradient.any() for gradient in gradients) == chosen  # a BN takes a bias away
    assert mixed == expected


def is_none(space: SearchSpace, group: str) -> np.ndarray:
    return np.array([[operation == "none" for operation in row] for row in space.candidates[group]])


@representative_spaces
@pytest.mark.usefixtures("fixed_noise")
def test_all_active_is_the_same_as_no_choice(name: str) -> None:
    space, case = build(name), CASES[name]
    torch.manual_seed(0)
    images, supernet, weights = image_batch(case), space.supernet(case.shape).double(), random_weights(space)
    active = {group: np.ones(full, dtype=bool) for group, full in space.alpha_shapes.items()}
    with torch.no_grad():
        expected = supernet(images, weights)
        torch.testing.assert_close(supernet(images, weights, active=active), expected, rtol=1e-10, atol=1e-10)


def by_value(network: nn.Module, gradients: tuple[Tensor, ...]) -> dict[tuple[object, bytes], Tensor]:
    """Gradient of every weight; weights of two networks that are the same numbers get the same key."""
    found: dict[tuple[object, bytes], Tensor] = {}
    both = single_weights(network), single_weights(with_values(network, gradients))
    for parameter, gradient in zip(*both, strict=True):
        key = (tuple(parameter.shape), parameter.detach().contiguous().numpy().tobytes())
        found[key] = found[key] + gradient if key in found else gradient
    return found


def with_its_plain(name: str) -> tuple[nn.Module, nn.Module]:
    """A supernet, all of whose weights are different numbers, and the textbook one of the same weights."""
    space, case = build(name), CASES[name]
    torch.manual_seed(0)
    supernet = space.supernet(case.shape)
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return supernet, case.plain(space, case.shape, supernet)


@every_space
def test_logits_and_all_gradients_equal_the_textbook(name: str) -> None:
    check_against_textbook(name)


def check_against_textbook(name: str) -> None:
    supernet, plain = with_its_plain(name)
    if name in REPRESENTATIVES:
        check_float32_logits(name, supernet, plain.float(), SIZES[1], False)
    supernet.double()
    plain.double()
    for size, softmaxed in list(zip(SIZES, (False, True), strict=True))[0 if name in REPRESENTATIVES else 1 :]:
        check_gradients(name, supernet, plain, size, softmaxed)


@pytest.mark.parametrize("name", [name for name in REPRESENTATIVES if isinstance(SPACES.get(name)(), TwoInputCells)])
def test_few_launches_equal_the_textbook(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What other devices than the CPU compute, on the CPU, in the spaces that have separable convolutions."""
    supernet, plain = with_its_plain(name)
    assert any(isinstance(module, SeparableBank) for module in supernet.modules())
    monkeypatch.setattr(few_launches, "ON_CPU", True)
    check_float32_logits(name, supernet, plain.float(), SIZES[1], False)
    supernet.double()
    plain.double()
    for size, softmaxed in zip(SIZES, (False, True), strict=True):
        check_gradients(name, supernet, plain, size, softmaxed)


@every_space
@needs_kernels
def test_compiled_kernels_equal_the_textbook(name: str) -> None:
    with compiled.used():
        check_against_textbook(name)


def check_gradients(name: str, supernet: nn.Module, plain: nn.Module, size, softmaxed: bool) -> None:
    weights = random_weights(build(name), softmaxed)
    images = image_batch(CASES[name], size)
    direction = torch.randn(len(images), CASES[name].shape.num_classes, dtype=torch.float64)
    results = []
    for network in (supernet, plain):
        logits = seeded_logits(network, images, weights)
        gradients = torch.autograd.grad(
            (logits * direction).sum(), [*weights.values(), *network.parameters()], materialize_grads=True
        )
        results.append((logits, gradients[: len(weights)], by_value(network, gradients[len(weights) :])))
    (logits, of_edges, of_weights), (expected, expected_of_edges, expected_of_weights) = results
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(of_edges, expected_of_edges, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(of_weights, expected_of_weights, rtol=1e-10, atol=1e-10)
    assert len(of_weights) == len(single_weights(supernet))  # no two weights were the same numbers
    assert all(gradient.abs().max() > 1e-3 for gradient in of_edges)


def check_float32_logits(name: str, supernet: nn.Module, plain: nn.Module, size, softmaxed: bool) -> None:
    images = image_batch(CASES[name], size).float()
    weights = random_weights(build(name), softmaxed, torch.float32)
    with torch.no_grad():
        expected = seeded_logits(plain, images, weights)
        difference = (seeded_logits(supernet, images, weights) - expected).abs().max()
    assert difference <= 1e-5 * expected.abs().max()


@representative_spaces
@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 32)])
def test_images_of_other_channels_and_sizes(name: str, channels: int, size: int) -> None:
    """Two channels of 8x8 and 7x11 pixels are what the textbook is compared on."""
    space = build(name)
    shape = replace(CASES[name].shape, in_channels=channels, image_size=size)
    images = torch.randn(2, channels, size, size)
    weights = {group: torch.full(full, 1 / full[1]) for group, full in space.alpha_shapes.items()}
    with torch.no_grad():
        prediction = space.network(space.sample(generator(0, "size")), shape)(images)
        assert space.supernet(shape)(images, weights).shape == (2, 5)
    assert prediction.logits.shape == (2, 5)
    assert prediction.auxiliary is None


@representative_spaces
def test_gradients_reach_every_edge_weight_but_none(name: str) -> None:
    """The weight of ``noise`` gets one too: it is what a search learns of it. The noise's input gets none."""
    space, case = build(name), CASES[name]
    torch.manual_seed(0)
    weights, supernet = random_weights(space), space.supernet(case.shape).double()
    supernet(image_batch(case), weights).square().sum().backward()
    for group, values in weights.items():
        assert torch.isfinite(values.grad).all()
        assert (values.grad.numpy() == 0).tolist() == is_none(space, group).tolist()
    assert all(parameter.grad is not None for parameter in supernet.parameters())


@representative_spaces
def test_same_seed_same_weights(name: str) -> None:
    space, shape = build(name), CASES[name].shape
    genotype = space.sample(generator(0, "seed"))
    for make in (lambda: space.supernet(shape), lambda: space.network(genotype, shape)):
        drawn = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            drawn.append(torch.cat([parameter.detach().flatten() for parameter in make().parameters()]))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


@representative_spaces
@torch.no_grad()
def test_traits_are_kept(name: str) -> None:
    space, case = build(name), CASES[name]
    torch.manual_seed(0)
    images, supernet = image_batch(case), space.supernet(case.shape).double()
    weights = {group: values.detach() for group, values in random_weights(space).items()}
    if "edges" in space.traits:
        edges = {group: sorted(sum(nodes, ())) for group, nodes in space.edges_of_nodes.items()}
        assert edges == {group: list(range(full[0])) for group, full in space.alpha_shapes.items()}
        norm = {group: torch.rand(full[0], dtype=torch.float64) for group, full in space.alpha_shapes.items()}
        normed = seeded_logits(supernet, images, weights, edge_norm=norm)
        product = {group: values * norm[group][:, None] for group, values in weights.items()}
        torch.testing.assert_close(normed, seeded_logits(supernet, images, product), rtol=1e-10, atol=1e-10)
    else:
        assert space.num_kept is None
        with pytest.raises(ConfigError):
            _ = space.edges_of_nodes
    if "partial-channels" in space.traits:
        partial = space.supernet(case.shape, partial_channels=2).double()
        assert partial(images, weights).shape == (4, 5)
        assert sum(p.numel() for p in partial.parameters()) < sum(p.numel() for p in supernet.parameters())
        with pytest.raises(ConfigError, match="must divide"):
            space.supernet(case.shape, partial_channels=3)
    if "drop-path" in space.traits:
        supernet.eval()
        whole = seeded_logits(supernet, images, weights)
        assert torch.equal(seeded_logits(supernet, images, weights, drop_path=0.5), whole)
        supernet.train()
        kept = seeded_logits(supernet, images, weights)
        assert not torch.allclose(seeded_logits(supernet, images, weights, drop_path=0.5), kept)


@every_space
def test_wrong_weights_and_an_auxiliary_supernet_are_refused(name: str) -> None:
    space, case = build(name), CASES[name]
    supernet, images, weights = space.supernet(case.shape).double(), image_batch(case), random_weights(space)
    group, (edges, operations) = next(iter(space.alpha_shapes.items()))
    for wrong in (
        {other: values for other, values in weights.items() if other != group},
        {**weights, group: torch.zeros(edges, operations + 1, dtype=torch.float64)},
    ):
        with pytest.raises(ConfigError, match="edge_weights"):
            supernet(images, wrong)
    active = {other: np.ones(full, dtype=bool) for other, full in space.alpha_shapes.items()}
    with pytest.raises(ConfigError, match="active"):
        supernet(images, weights, active={**active, group: np.ones((edges + 1, operations), dtype=bool)})
    with pytest.raises(ConfigError, match="auxiliary"):
        space.supernet(replace(case.shape, auxiliary=True))


@representative_spaces
def test_nothing_stays_on_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake CUDA device finds a tensor that is made on the wrong device; no GPU is needed."""
    for layer in (nn.Conv2d, nn.Linear):
        monkeypatch.setattr(layer, "reset_parameters", lambda self: None)  # fake numbers need not be drawn
    space, shape = build(name), CASES[name].shape
    genotype = space.sample(generator(0, "cuda"))
    mode = FakeTensorMode()
    with mode, torch.device("cuda"):
        images = torch.randn(2, shape.in_channels, 8, 8)
        weights = {group: torch.rand(full, requires_grad=True) for group, full in space.alpha_shapes.items()}
        supernet = space.supernet(shape)
        refusal = "auxiliary"
        try:
            network = space.network(genotype, replace(shape, auxiliary=True))
        except ConfigError as error:  # this space's networks have no such head
            refusal, network = str(error), space.network(genotype, shape)
    assert "auxiliary" in refusal
    _, active = one_hot_of(space, genotype)
    with mode:
        logits = [supernet(images, weights), supernet(images, weights, active=active)]
        prediction = network(images, drop_path=0.5)
    outputs = [*logits, *(output for output in prediction if output is not None)]
    assert {output.device.type for output in outputs} == {"cuda"}


@every_space
def test_docstring_names_its_source(name: str) -> None:
    text = SPACES.get(name).__doc__ or ""
    assert "Reference:" in text
    assert "Differs from the paper:" in text


def test_listing_loads_no_framework() -> None:
    code = (
        "import sys; from nasbench.spaces import SPACES\n"
        "for name in SPACES.names():\n"
        "    space = SPACES.get(name)()\n"
        "    space.cardinality, space.candidates\n"
        "    print(name, 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [f"{name} False" for name in SPACES.names()]
