"""GDAS: the temperatures, a one-hot forward pass with a soft backward one, and what is computed.

Source: section 9.1 of the differentiable-search fact sheet (GDAS, CVPR 2019, arXiv:1910.04465; NAS-Bench-201's code).
"""

from __future__ import annotations

import numpy as np
import pytest
import small_cells
import torch
from tiny_space import image_set

from nasbench.config.component import fields_of
from nasbench.core.errors import ConfigError, TrainingError
from nasbench.searchers import gdas_strategy
from nasbench.searchers.base import SearchTask
from nasbench.searchers.gdas import Gdas
from nasbench.searchers.gdas_strategy import GdasStrategy, gumbel_softmax, straight_through
from nasbench.searchers.strategy import Moment
from nasbench.spaces import SPACES
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.darts import Darts
from nasbench.spaces.group_weights import take_apart
from nasbench.spaces.mixed import MixedGraph
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.tracking.tracker import NullTracker
from nasbench.training.determinism import seeded
from nasbench.training.recipe import Augmentation
from tests import mixed_edges

SHAPE = NetworkShape(num_cells=3, channels=2, num_classes=3, in_channels=1, image_size=6)
ALPHAS = torch.tensor([[0.5, -1.0, 2.0, 0.0, 1.0]])


def strategy_of(space=None):
    return GdasStrategy(space or NasBench201(), 10.0, 0.1)


def architecture_of(space, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        group: torch.tensor(scale * rng.normal(size=shape), dtype=torch.float32, requires_grad=True)
        for group, shape in space.alpha_shapes.items()
    }


def task(space, **changes):
    fields = {
        "space": space,
        "shape": SHAPE,
        "images": image_set(),
        "weight_indices": np.arange(30, dtype=np.int64),
        "alpha_indices": np.arange(30, 60, dtype=np.int64),
        "augmentation": Augmentation(crop_padding=1, flip=False),
        "seed": 0,
    }
    return SearchTask(**(fields | changes))


def test_the_temperature_falls_linearly_from_10_to_a_tenth():
    taus = [strategy_of().temperature(Moment(epoch, 250)) for epoch in range(250)]
    assert (taus[0], taus[249]) == (10.0, 0.1)
    assert taus == pytest.approx([10 - 9.9 * epoch / 249 for epoch in range(250)])
    assert taus[100] == pytest.approx(6.024096, abs=1e-6)
    assert strategy_of().temperature(Moment(0, 1)) == 10.0
    assert strategy_of().temperature(Moment(7, 250, step=3, steps=9)) == taus[7]  # by epoch, not by step


def test_the_defaults_are_those_of_nas_bench_201():
    expected = {
        "epochs": 250, "batch_size": 64, "learning_rate": 0.025, "final_learning_rate": 0.001, "schedule": "step",
        "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4, "gradient_clip": 5.0, "alpha_learning_rate": 3e-4,
        "alpha_weight_decay": 1e-3, "alpha_betas": [0.5, 0.999], "alpha_gradient_clip": 0.0, "first_temperature": 10.0,
        "final_temperature": 0.1,
    }  # fmt: skip
    found = fields_of(Gdas())
    assert {name: found[name] for name in expected} == expected
    assert GdasStrategy.alphas_first is False


@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_forward_is_one_hot_and_backward_soft(temperature):
    alphas = ALPHAS.double().requires_grad_()
    with seeded(3):
        p = gumbel_softmax(alphas, temperature)
    with seeded(3):
        noise = gdas_strategy.gumbel(alphas)
    by_hand = np.exp((ALPHAS.double().log_softmax(dim=1) + noise).numpy() / temperature)
    by_hand /= by_hand.sum()
    assert p.detach().numpy() == pytest.approx(by_hand, rel=1e-9)
    weights = straight_through(p)
    assert weights.tolist() == [[float(k == by_hand.argmax()) for k in range(5)]]
    slope = torch.tensor([[0.3, -0.7, 1.1, 0.2, -2.0]], dtype=torch.float64)
    (found,) = torch.autograd.grad((slope * weights).sum(), alphas)
    # d/d alpha_k of sum_j c_j p_j with p the softmax of (alpha + g - logsumexp alpha) / tau: p_k (c_k - c.p) / tau
    c = slope.numpy()
    assert found.numpy() == pytest.approx(by_hand * (c - (c * by_hand).sum()) / temperature, rel=1e-6, abs=1e-15)


def test_in_float32_the_forward_pass_is_exactly_one_hot():
    with seeded(0):
        weights = straight_through(gumbel_softmax(torch.randn(2000, 5), 0.7))
    assert set(weights.unique().tolist()) == {0.0, 1.0}
    assert (weights.sum(dim=1) == 1).all()


@pytest.mark.parametrize("temperature", [10.0, 0.1])
def test_an_operation_is_sampled_as_often_as_its_softmax_says(temperature):
    rows = 20_000
    with seeded(1):
        weights = straight_through(gumbel_softmax(ALPHAS.expand(rows, 5).contiguous(), temperature))
    counts = weights.sum(dim=0).numpy()
    expected = rows * torch.softmax(ALPHAS[0], dim=0).numpy()
    assert ((counts - expected) ** 2 / expected).sum() < 18.47  # chi-square, 4 degrees of freedom, 0.999


def test_noise_that_is_not_finite_is_drawn_again(monkeypatch):
    draws = [torch.full((1, 5), float("inf")), torch.full((1, 5), float("nan")), torch.zeros(1, 5)]
    monkeypatch.setattr(gdas_strategy, "gumbel", lambda like: draws.pop(0))
    assert torch.allclose(gumbel_softmax(ALPHAS, 1.0), torch.softmax(ALPHAS, dim=1))
    assert not draws


def test_alphas_that_are_not_finite_are_an_error_and_no_endless_loop():
    with pytest.raises(TrainingError, match="alphas are not finite"):
        gumbel_softmax(torch.tensor([[0.0, float("nan")]]), 1.0)


def test_both_halves_of_a_step_take_samples_of_their_own():
    space, strategy = NasBench201(), strategy_of()
    architecture = architecture_of(space, scale=0.0)
    with seeded(0):
        pairs = [
            (
                strategy.weight_mixture(architecture, Moment(0, 9)).active["cell"],
                strategy.alpha_mixture(architecture, Moment(0, 9)).active["cell"],
            )
            for _ in range(20)
        ]
    assert sum((one == two).all() for one, two in pairs) == 0  # 5^-6 each


def computed(supernet, mixture):
    """Edges and names of the convolutions that are computed, counted over all cells."""
    return sorted(mixed_edges.computed(supernet, lambda: mixture.apply(supernet, torch.randn(3, 1, 6, 6))))


def test_only_the_sampled_operation_of_an_edge_is_computed():
    space, strategy = NasBench201(), strategy_of()
    supernet = space.supernet(SHAPE)
    names = space.operations["cell"]
    with seeded(0):
        mixture = strategy.alpha_mixture(architecture_of(space), Moment(0, 9))
    active = mixture.active["cell"]
    assert (active.sum(axis=1) == 1).all()
    assert (mixture.edge_weights["cell"].detach().numpy() == active).all()
    sampled = [(edge, names[int(row.argmax())]) for edge, row in enumerate(active)]
    expected = sorted(pair for pair in sampled if "conv" in pair[1])
    assert expected
    assert computed(supernet, mixture) == sorted(expected * 3)  # the same in each of the three cells


def test_the_alphas_of_unsampled_operations_get_a_gradient_through_the_softmax():
    space, strategy = NasBench201(), strategy_of()
    architecture = architecture_of(space, seed=2)
    architecture["cell"].data[:, 0] = -99.0  # an edge with ``none`` has no gradient at all
    with seeded(0):
        supernet = space.supernet(SHAPE)
        mixture = strategy.alpha_mixture(architecture, Moment(0, 9))
        loss = torch.nn.functional.cross_entropy(mixture.apply(supernet, torch.randn(8, 1, 6, 6)), torch.arange(8) % 3)
    (gradient,) = torch.autograd.grad(loss, architecture["cell"])
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 1:] != 0).all()
    assert gradient.sum(dim=1).abs().max() < 1e-5  # that of a softmax


@pytest.mark.parametrize("space", [NasBench201(), Darts()], ids=lambda space: space.name)
def test_nothing_breaks_where_every_edge_is_none(space):
    none = {group: torch.full(shape, -60.0) for group, shape in space.alpha_shapes.items()}
    for values in none.values():
        values[:, 0] = 60.0
        values.requires_grad_()
    with seeded(0):
        supernet = space.supernet(SHAPE)
        mixture = strategy_of(space).alpha_mixture(none, Moment(8, 9))
        logits = mixture.apply(supernet, torch.randn(4, 1, 6, 6))
    loss = torch.nn.functional.cross_entropy(logits, torch.arange(4) % 3)
    loss.backward()
    assert all(row.argmax() == 0 for active in mixture.active.values() for row in active)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(weight.grad).all() for weight in supernet.parameters() if weight.grad is not None)
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in supernet.parameters())


@pytest.mark.parametrize("space", [NasBench201(), Darts()], ids=lambda space: space.name)
def test_the_supernet_is_evaluated_with_the_derived_genotype_and_no_noise(space):
    architecture = architecture_of(space)
    arrays = {group: values.detach().double().numpy() for group, values in architecture.items()}
    mixture = strategy_of(space).evaluation_mixture(architecture, Moment(0, 9))
    for group, values in space.one_hot(space.discretize(arrays)).items():
        assert (mixture.edge_weights[group].numpy() == values).all()
        assert (mixture.active[group] == (values > 0)).all()


def connections():
    return [name for name in SPACES.names() if SPACES.get(name).connection_groups]


@pytest.mark.parametrize("name", connections())
def test_inputs_of_nodes_are_a_soft_sample_and_all_computed(name):
    space = SPACES.get(name)()
    architecture = architecture_of(space)
    with seeded(0):
        soft = strategy_of(space).alpha_mixture(architecture, Moment(0, 9))
        hard = strategy_of(space).alpha_mixture(architecture, Moment(0, 9))
    for group in space.alpha_shapes:
        values = soft.edge_weights[group].detach()
        assert values.sum(dim=1) == pytest.approx(1.0, abs=1e-5)
        if group in space.connection_groups:
            assert soft.active[group].all()
            assert ((values > 0) & (values < 1)).all() or values.shape[1] == 1
        else:
            assert set(values.unique().tolist()) == {0.0, 1.0}
    assert hard.active.keys() == space.alpha_shapes.keys()


def test_a_search_records_its_temperatures():
    settings = Gdas(epochs=3, batch_size=30)
    result = settings.search(task(NasBench201()), NullTracker())
    assert [record["temperature"] for record in result.trajectory] == [10.0, pytest.approx(5.05), 0.1]
    alphas = {"cell": np.array(result.trajectory[-1]["alphas"]["cell"])}
    assert NasBench201().discretize(alphas) == result.genotype


def test_both_temperatures_matter():
    alphas = []
    for changed in ({}, {"first_temperature": 3.0}, {"final_temperature": 3.0}):
        result = Gdas(epochs=2, batch_size=30, **changed).search(task(small_cells.TwoNodes()), NullTracker())
        alphas.append([record["alphas"] for record in result.trajectory])
    assert alphas[0] not in alphas[1:]
    assert alphas[1] != alphas[2]


def test_every_space_can_be_searched():
    assert Gdas.spaces() == tuple(SPACES.names())


@pytest.mark.parametrize("name", [name for name in SPACES.names() if name.startswith(("nats", "nas-bench-1shot1-2"))])
def test_spaces_without_edges_are_searched(name):
    space = SPACES.get(name)()
    result = Gdas(epochs=1, batch_size=30).search(task(space), NullTracker())
    space.check(result.genotype)


@pytest.mark.parametrize("space", [NasBench201(), Darts()], ids=lambda space: space.name)
def test_added_weights_change_no_output_and_bring_the_sum_of_its_gradient(space):
    """Against an autograd by hand: an edge's output plus a scalar zero for each operation that is not computed."""
    architecture, images, labels = architecture_of(space, seed=2), torch.randn(8, 1, 6, 6), torch.arange(8) % 3
    for values in architecture.values():
        values.data[:, 0] -= 9.0  # a node without any operation is zero, and so is the gradient of the ReLU after it
    with seeded(0):
        supernet = space.supernet(SHAPE)
    with seeded(1):
        left = strategy_of(space).alpha_mixture(architecture, Moment(0, 9))
    with seeded(1):
        added = GdasStrategy(space, 10.0, 0.1, add_unchosen=True).alpha_mixture(architecture, Moment(0, 9))
    assert left.edge_bias is None
    assert all((values == 0).all() for values in added.edge_bias.values())
    assert torch.equal(left.apply(supernet, images), added.apply(supernet, images))

    def gradient(mixture):
        loss = torch.nn.functional.cross_entropy(mixture.apply(supernet, images), labels)
        return torch.autograd.grad(loss, list(architecture.values()), retain_graph=True)

    zeros = {g: torch.zeros(shape[0], requires_grad=True) for g, shape in space.alpha_shapes.items()}
    loss = torch.nn.functional.cross_entropy(left._replace(edge_bias=zeros).apply(supernet, images), labels)
    sums = torch.autograd.grad(loss, list(zeros.values()))  # dL/d(edge output), summed over all its elements
    assert all((values != 0).any() for values in sums)
    by_hand = [
        one
        + torch.autograd.grad(
            (total[:, None] * left.edge_weights[group] * ~torch.from_numpy(left.active[group])).sum(),
            architecture[group],
            retain_graph=True,
        )[0]
        for one, total, group in zip(gradient(left), sums, space.alpha_shapes, strict=True)
    ]
    for found, expected, plain in zip(gradient(added), by_hand, gradient(left), strict=True):
        assert torch.allclose(found, expected, atol=1e-7)
        assert not torch.allclose(found, plain, atol=1e-7)


def test_an_edge_bias_is_added_to_every_element_of_a_node():
    """One cell by hand: with all operations off, a node is the sum of the biases of its edges."""
    graph = MixedGraph(
        2, 1, (("none", "skip_connect"),) * 3, num_inputs=1, num_nodes=2, partial_channels=1, pool_norm=False
    )
    shapes = {"cell": (3, 2)}
    bias = torch.tensor([0.5, -1.0, 4.0])
    weights = {"cell": torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 3.0]])}
    (group,) = take_apart(shapes, weights, None, None, 0.0, {"cell": bias}).values()
    states = graph([torch.zeros(1, 2, 3, 3)], group)
    assert states[1].unique().tolist() == [0.5]
    assert states[2].unique().tolist() == [4.5]  # -1 + 4 + 3 * 0.5
    with pytest.raises(ConfigError, match="edge_bias has shapes"):
        take_apart(shapes, weights, None, None, 0.0, {"cell": bias[:2]})


def test_added_weights_are_refused_where_there_are_no_edges():
    with pytest.raises(ConfigError, match=r"unchosen: 'add' is not there on space 'nats-bench-size'"):
        Gdas(epochs=1, batch_size=30, unchosen="add").search(task(SPACES.get("nats-bench-size")()), NullTracker())
