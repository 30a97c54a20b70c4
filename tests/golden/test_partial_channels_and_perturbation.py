"""PC-DARTS, SDARTS-RS and EcoDARTS against figures of their papers and code.

Source: sections 4, 5 and 7 of the differentiable-search fact sheet.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import small_cells
import tiny_space
import torch
from counted import num_weights, without_values
from torch import Tensor

from nasbench.config.component import parse
from nasbench.core.errors import ConfigError
from nasbench.searchers.base import SearchTask
from nasbench.searchers.bilevel import bilevel_search
from nasbench.searchers.eco_darts import EcoDarts
from nasbench.searchers.eco_darts_strategy import ReducedSetting
from nasbench.searchers.halves import Endless
from nasbench.searchers.pc_darts import PcDarts
from nasbench.searchers.pc_darts_strategy import PartialChannels, edge_norm
from nasbench.searchers.presets import preset
from nasbench.searchers.sdarts_rs import SdartsRs
from nasbench.searchers.sdarts_rs_strategy import RandomSmoothing, perturbed
from nasbench.searchers.strategy import Moment, Strategy, softmax_of
from nasbench.spaces.base import NetworkShape, SearchSpace
from nasbench.spaces.darts import PRIMITIVES, Darts
from nasbench.spaces.nas_bench_201 import NasBench201
from nasbench.tracking.tracker import NullTracker
from nasbench.training.recipe import Augmentation

CIFAR10 = NetworkShape(num_cells=8, channels=16, num_classes=10)


def partial_channels(number: int = 4) -> PartialChannels:
    return PartialChannels(number, Darts().edges_of_nodes)


def test_pc_darts_has_252_architecture_parameters() -> None:
    own = partial_channels().own_parameters(Darts())
    assert own == {"normal/edges": (14,), "reduce/edges": (14,)}
    assert sum(math.prod(shape) for shape in (*Darts().alpha_shapes.values(), *own.values())) == 252


@pytest.mark.parametrize(
    ("number", "shape", "weights"),
    [
        (4, CIFAR10, 299_578),
        (2, NetworkShape(num_cells=8, channels=16, num_classes=1000, image_size=224, stem="imagenet"), 956_512),
    ],
)
def test_pc_darts_supernet_weights(number: int, shape: NetworkShape, weights: int) -> None:
    """956,512 is also printed in PC-DARTS#15."""
    with without_values():
        supernet = partial_channels(number).supernet(Darts(), shape)
    assert num_weights(supernet) == weights


def test_edges_compete_within_their_node() -> None:
    betas = torch.arange(14, dtype=torch.float64) / 3
    nodes = Darts().edges_of_nodes["normal"]
    norm = edge_norm(betas, nodes)
    for first, last in ((0, 2), (2, 5), (5, 9), (9, 14)):
        raised = [math.exp(value / 3) for value in range(first, last)]
        assert norm[first:last].tolist() == pytest.approx([value / sum(raised) for value in raised], rel=1e-12)
    mixed = edge_norm(betas, ((3, 0), (1, 4, 2)))  # edges in any order
    assert float(mixed[0] + mixed[3]) == pytest.approx(1.0)
    assert float(mixed[4] / mixed[1]) == pytest.approx(math.e)


def by_hand(best: list[float], betas: list[float]) -> dict[str, np.ndarray]:
    """Alphas of DARTS whose sep_conv_3x3 has this softmax weight on the edges of node 3; else all is equal."""
    alphas = np.zeros((14, 8))
    for edge, share in zip((2, 3, 4), best, strict=True):
        others = (1 - share) / 7
        alphas[edge] = np.log(np.where(np.arange(8) == PRIMITIVES.index("sep_conv_3x3"), share, others))
    norms = np.zeros(14)
    norms[2:5] = np.log(betas)
    return {"normal": alphas, "reduce": np.zeros((14, 8)), "normal/edges": norms, "reduce/edges": np.zeros(14)}


@pytest.mark.parametrize(
    ("best", "betas", "inputs"),
    [
        # scores 0.5 * 0.2 = 0.10, 0.4 * 0.3 = 0.12, 0.3 * 0.5 = 0.15: the alphas alone would keep 0 and 1
        ([0.5, 0.4, 0.3], [0.2, 0.3, 0.5], (1, 2)),
        # 0.17, 0.13, 0.10: equal betas leave the alphas' choice
        ([0.5, 0.4, 0.3], [1.0, 1.0, 1.0], (0, 1)),
        # 0.30, 0.04, 0.09: what the alphas rank second loses
        ([0.5, 0.4, 0.3], [0.6, 0.1, 0.3], (0, 2)),
    ],
)
def test_edge_scores_are_beta_times_the_best_alpha(
    best: list[float], betas: list[float], inputs: tuple[int, int]
) -> None:
    space = Darts()
    cell = space.cells(partial_channels().genotype(space, by_hand(best, betas)))["normal"]
    assert tuple(source for _, source in cell.nodes[1]) == inputs
    assert {operation for operation, _ in cell.nodes[1]} == {"sep_conv_3x3"}


def test_none_counts_in_the_softmax_and_is_never_chosen() -> None:
    space, architecture = Darts(), by_hand([0.5, 0.4, 0.3], [1.0, 1.0, 1.0])
    architecture["normal"][2, PRIMITIVES.index("none")] = 10.0  # takes nearly all of the first edge's weight
    cell = space.cells(partial_channels().genotype(space, architecture))["normal"]
    assert cell.nodes[1] == (("sep_conv_3x3", 1), ("sep_conv_3x3", 2))


def test_edge_normalisation_scales_where_a_node_keeps_all_its_edges() -> None:
    space = NasBench201()
    strategy = PartialChannels(4, space.edges_of_nodes)
    torch.manual_seed(0)
    supernet = strategy.supernet(space, NetworkShape(num_cells=3, channels=4, num_classes=5))
    architecture = {group: torch.randn(shape) for group, shape in space.alpha_shapes.items()}
    betas = {group: torch.zeros(shape) for group, shape in strategy.own_parameters(space).items()}
    images, moment = torch.randn(4, 3, 8, 8), Moment(0, 1)

    def logits() -> Tensor:
        return strategy.alpha_mixture(architecture | betas, moment).apply(supernet, images)

    even = logits()
    for values in betas.values():
        values[-1] += 2.0
    assert not torch.allclose(even, logits(), atol=1e-3)
    arrays = {group: values.double().numpy() for group, values in (architecture | betas).items()}
    assert strategy.genotype(space, arrays) == space.discretize(arrays)


def test_a_space_without_edges_has_no_betas() -> None:
    strategy, space = PartialChannels(4, {}), Darts()
    architecture = {group: torch.zeros(shape) for group, shape in space.alpha_shapes.items()}
    assert strategy.own_parameters(space) == {}
    assert strategy.alpha_mixture(architecture, Moment(0, 1)).edge_norm is None


def test_the_first_and_last_radius_of_50_epochs() -> None:
    """0.03 + 0.27 * 49 / 50."""
    strategy = RandomSmoothing(0.03, 0.3)
    assert strategy.radius(Moment(0, 50)) == 0.03
    assert strategy.radius(Moment(49, 50)) == pytest.approx(0.2946, abs=1e-12)
    assert strategy.radius(Moment(25, 50)) == pytest.approx(0.165, abs=1e-12)


@pytest.mark.parametrize("epoch", [0, 49])
def test_noise_is_uniform_within_the_radius(epoch: int) -> None:
    strategy, moment = RandomSmoothing(0.03, 0.3), Moment(epoch, 50)
    alphas = {"normal": torch.zeros(20_000, 2, dtype=torch.float64)}
    torch.manual_seed(0)
    weights = strategy.weight_mixture(alphas, moment).edge_weights["normal"]
    radius = strategy.radius(moment)
    # Two weights of 1/2 with noise a and b never reach 0 or 1; the first becomes (1/2 + a) / (1 + a + b).
    low, high = (0.5 - radius) / 1.0, (0.5 + radius) / 1.0
    assert low <= float(weights.min()) < low + 0.05 * radius
    assert high - 0.05 * radius < float(weights.max()) <= high
    assert float(weights.mean()) == pytest.approx(0.5, abs=0.01 * radius)
    # For small eps the deviation is (a - b) / 2, of variance eps^2 / 6.
    if epoch == 0:
        assert float(weights[:, 0].var()) == pytest.approx(radius**2 / 6, rel=0.05)


def test_perturbed_rows_are_shares_again() -> None:
    torch.manual_seed(0)
    weights = torch.softmax(3 * torch.randn(500, 8, dtype=torch.float64), dim=1)
    moved = perturbed(weights, torch.empty_like(weights).uniform_(-0.3, 0.3))
    assert torch.allclose(moved.sum(dim=1), torch.ones(500, dtype=torch.float64), atol=1e-12)
    assert 0.0 <= float(moved.min()) <= float(moved.max()) <= 1.0
    assert (moved == 0).any()  # some entries are clamped


def test_perturbation_by_hand() -> None:
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.25, 0.4, 0.35], [0.1, 0.1, 0.8]])
    noise = torch.tensor([[0.1, -0.4, 0.2], [-0.5, -0.5, -0.5], [0.0, 0.0, 0.3]])
    expected = torch.tensor([[0.6, 0.0, 0.4], [0.0, 1.0, 0.0], [0.1 / 1.2, 0.1 / 1.2, 1.0 / 1.2]])
    assert torch.allclose(perturbed(weights, noise), expected, atol=1e-7)


def test_the_alphas_step_is_not_perturbed_and_the_weights_step_is_anew() -> None:
    strategy, moment = RandomSmoothing(0.03, 0.3), Moment(3, 50)
    alphas = {"normal": torch.randn(14, 8)}
    plain = softmax_of(alphas)["normal"]
    assert torch.equal(strategy.alpha_mixture(alphas, moment).edge_weights["normal"], plain)
    assert torch.equal(strategy.evaluation_mixture(alphas, moment).edge_weights["normal"], plain)
    drawn = [strategy.weight_mixture(alphas, moment).edge_weights["normal"] for _ in range(2)]
    assert not torch.equal(drawn[0], plain)
    assert not torch.equal(*drawn)


@pytest.mark.parametrize(("ratio", "channels", "weights"), [(0.5, 8, 597_890), (0.25, 4, 207_094)])
def test_eco_darts_supernet_weights(ratio: float, channels: int, weights: int) -> None:
    shape = ReducedSetting(ratio, 0.5).shape(CIFAR10)
    assert (shape.channels, shape.image_size) == (channels, 16)
    with without_values():
        supernet = Darts().supernet(shape)
    assert num_weights(supernet) == weights


def test_eco_darts_shrinks_what_the_supernet_sees() -> None:
    strategy = ReducedSetting(0.5, 0.5)
    ramp = torch.arange(32.0).expand(2, 3, 32, 32)
    seen = strategy.view(ramp)
    assert seen.shape == (2, 3, 16, 16)
    # Away from the borders an antialiased resize keeps a ramp: its pixels are the means of pairs.
    assert torch.allclose(seen[..., 2:-2], (torch.arange(16.0) * 2 + 0.5)[2:-2].expand(2, 3, 16, 12), atol=1e-4)
    stripes = (torch.arange(32) % 2).float().expand(1, 1, 32, 32)
    assert float(strategy.view(stripes).std()) < 0.05  # what the small grid cannot hold is smoothed away
    assert ReducedSetting(0.5, 1.0).view(ramp) is ramp


@pytest.mark.parametrize(
    ("channel_ratio", "resolution_ratio", "message"),
    [
        (0.3, 0.5, r"channel_ratio: 0\.3 of 16 channels is 4\.8; an even whole number .* Take 0\.25"),
        (0.0625, 0.5, r"channel_ratio: 0\.0625 of 16 channels is 1; .* Take 0\.125"),
        (0.5, 0.3, r"resolution_ratio: 0\.3 of 32 pixels is 9\.6; a whole number of at least 4 .* Take 0\.312"),
        (0.5, 0.0625, r"resolution_ratio: 0\.0625 of 32 pixels is 2; .* Take 0\.125"),
    ],
)
def test_eco_darts_refuses_ratios_of_no_use(channel_ratio: float, resolution_ratio: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ReducedSetting(channel_ratio, resolution_ratio).shape(CIFAR10)


def test_eco_darts_takes_ratios_to_three_digits_and_says_when_images_are_too_small() -> None:
    """The c1 of EcoNAS is two thirds of c0, 24 of 36 channels."""
    wide = NetworkShape(num_cells=8, channels=36, num_classes=10)
    assert ReducedSetting(0.667, 0.75).shape(wide).channels == 24
    small = NetworkShape(num_cells=8, channels=16, num_classes=10, image_size=3)
    with pytest.raises(ConfigError, match=r"0\.5 of 3 pixels is 1\.5; .* at least 4 is needed\. Take a larger size"):
        ReducedSetting(0.5, 0.5).shape(small)


def test_defaults_are_the_papers() -> None:
    pc, smooth, eco = PcDarts(), SdartsRs(), EcoDarts()
    names = ("partial_channels", "batch_size", "learning_rate", "final_learning_rate", "alpha_learning_rate")
    assert [getattr(pc, name) for name in names] == [4, 256, 0.1, 0.0, 6e-4]
    assert (pc.alpha_warmup_epochs, pc.epochs, pc.weight_decay, pc.gradient_clip) == (15, 50, 3e-4, 5.0)
    assert (smooth.first_perturbation, smooth.largest_perturbation) == (0.03, 0.3)
    assert (eco.channel_ratio, eco.resolution_ratio) == (0.5, 0.5)
    for member in (smooth, eco):
        assert (member.epochs, member.batch_size, member.learning_rate, member.alpha_learning_rate) == (
            50, 64, 0.025, 3e-4,
        )  # fmt: skip


def test_perturbations_that_do_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"largest_perturbation: 0\.1 is less than first_perturbation, 0\.2"):
        SdartsRs(first_perturbation=0.2, largest_perturbation=0.1)
    with pytest.raises(ConfigError, match=r"first_perturbation: 0\.0 leaves the only epoch without perturbation"):
        SdartsRs(first_perturbation=0.0, epochs=1)


def task(space: SearchSpace | None = None, channels: int = 4) -> SearchTask:
    return SearchTask(
        space=space or small_cells.TwoNodes(),
        shape=NetworkShape(num_cells=3, channels=channels, num_classes=3, in_channels=1, image_size=6),
        images=tiny_space.image_set(40),
        weight_indices=np.arange(20, dtype=np.int64),
        alpha_indices=np.arange(20, 40, dtype=np.int64),
        augmentation=Augmentation(crop_padding=1, flip=False),
        seed=0,
    )


def test_records_hold_what_the_method_adds() -> None:
    smooth = SdartsRs(epochs=3, batch_size=20).search(task(), NullTracker())
    assert [record["perturbation"] for record in smooth.trajectory] == pytest.approx([0.03, 0.12, 0.21])
    member = PcDarts(epochs=2, batch_size=20, alpha_warmup_epochs=1)
    found = member.search(task(small_cells.SmallCells()), NullTracker())
    first, last = (record["edge_norm"] for record in found.trajectory)
    assert found.trajectory[0]["alphas_frozen"]
    assert first["normal"][0] == pytest.approx(0.5, abs=1e-3)  # as initialised
    assert first != last
    for norm in last.values():
        assert [sum(norm[a:b]) for a, b in ((0, 2), (2, 5), (5, 9), (9, 14))] == pytest.approx([1.0] * 4)


def test_the_rate_of_the_imagenet_search_rises_over_five_epochs() -> None:
    """Section 4 of the sheet: 0.25 (1 + cos(pi e / 50)), times (e + 1) / 5 in epochs 0 to 4; as its published code."""
    fields = {**preset("pc-darts-imagenet").fields, "batch_size": 30}
    tiny = SearchTask(
        space=tiny_space.TinySpace(), shape=tiny_space.SHAPE, images=tiny_space.image_set(60),
        weight_indices=np.arange(30), alpha_indices=np.arange(30, 60),
        augmentation=Augmentation(crop_padding=1, flip=False), seed=0,
    )  # fmt: skip
    records = bilevel_search("pc-darts", parse(PcDarts, fields), tiny, NullTracker(), Strategy()).trajectory
    rates = [record["learning_rate"] for record in records]
    expected = [0.1, 0.19980267, 0.29881721, 0.39645745, 0.49214579, 0.48776413]
    assert rates[:6] == pytest.approx(expected, abs=1e-8)
    assert rates[49] == pytest.approx(0.00049332, abs=1e-8)
    assert sum(record["alphas_frozen"] for record in records) == 35


def test_frozen_alphas_load_no_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code loads them all the same (PC-DARTS#11)."""
    loaded = []

    def count(self: Endless) -> tuple[Tensor, Tensor]:
        loaded.append(self)
        return following(self)

    following = Endless.__next__
    monkeypatch.setattr(Endless, "__next__", count)
    PcDarts(epochs=3, batch_size=10, alpha_warmup_epochs=2).search(task(), NullTracker())
    assert len(loaded) == 2  # the steps of the third epoch


def test_partial_channels_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^partial_channels: 4 does not divide the supernet's 6 channels"):
        PcDarts(epochs=2, batch_size=20, alpha_warmup_epochs=0).search(task(channels=6), NullTracker())
