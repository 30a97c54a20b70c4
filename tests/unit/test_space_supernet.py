"""The supernet against a textbook one: one module for each operation on each edge, nothing shared."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nasbench.core.errors import ConfigError
from nasbench.spaces.base import NetworkShape
from nasbench.spaces.batch_norm import BatchNorm, use_batch_statistics
from nasbench.spaces.darts import PRIMITIVES, Darts
from nasbench.spaces.robust_darts import RobustDartsS4
from nasbench.spaces.supernet import Supernet
from nasbench.spaces.two_input_cells import NUM_EDGES
from tests.mixed_edges import with_values
from tests.space_cases.two_input_cells import PlainSupernet, pairs, plain_supernet

SHAPE = NetworkShape(num_cells=3, channels=4, num_classes=5)


def both(k: int, shape: NetworkShape = SHAPE) -> tuple[Supernet, PlainSupernet]:
    torch.manual_seed(0)
    ours = Darts().supernet(shape, partial_channels=k).double()
    return ours, plain_supernet(Darts(), shape, ours, k)


def edge_weights() -> dict[str, Tensor]:
    return {
        kind: torch.randn(NUM_EDGES, len(PRIMITIVES), dtype=torch.float64).softmax(dim=1).requires_grad_()
        for kind in ("normal", "reduce")
    }


def edge_norms() -> dict[str, Tensor]:
    return {kind: torch.rand(NUM_EDGES, dtype=torch.float64).requires_grad_() for kind in ("normal", "reduce")}


def close(mine: Tensor | None, theirs: Tensor | None) -> None:
    assert mine is not None
    assert theirs is not None
    torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("k", "normalised", "size"), [(1, True, (8, 8)), (2, False, (8, 8)), (4, True, (7, 11))])
def test_logits_and_all_gradients_equal_the_textbook(k: int, normalised: bool, size: tuple[int, int]) -> None:
    """Partial channels and edge normalisation; the contract test has the case without either."""
    ours, plain = both(k)
    images = torch.randn(6, 3, *size, dtype=torch.float64)
    labels = torch.arange(6) % 5
    weights = edge_weights()
    betas = edge_norms() if normalised else None
    inputs = [*weights.values(), *(betas or {}).values()]

    logits = ours(images, weights, betas)
    expected = plain(images, weights, betas)
    close(logits, expected)
    mine = torch.autograd.grad(F.cross_entropy(logits, labels), [*inputs, *ours.parameters()])
    theirs = torch.autograd.grad(F.cross_entropy(expected, labels), [*inputs, *plain.parameters()])
    for a, b in zip(mine[: len(inputs)], theirs[: len(inputs)], strict=True):
        close(a, b)
    gradients = with_values(ours, mine[len(inputs) :]), with_values(plain, theirs[len(inputs) :])
    for a, b in pairs(*gradients):
        close(a, b.view_as(a))


def test_running_statistics_follow_the_textbook() -> None:
    ours, plain = both(1)
    weights = edge_weights()
    for _ in range(2):
        images = torch.randn(6, 3, 8, 8, dtype=torch.float64)
        ours(images, weights)
        plain(images, weights)
    ours.eval()
    plain.eval()
    images = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    close(ours(images, weights), plain(images, weights))


def test_memory_format_does_not_matter() -> None:
    ours, _ = both(4)
    weights = edge_weights()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    expected = ours(images, weights)
    fast = ours.to(memory_format=torch.channels_last)
    close(fast(images.contiguous(memory_format=torch.channels_last), weights), expected)


DROP = 0.4


def dropped_by_hand(plain: PlainSupernet) -> None:
    """Let every mixed edge of the textbook network, identities included, be dropped for an image."""

    def drop(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept = torch.empty(len(inputs[0]), 1, 1, 1, dtype=output.dtype).bernoulli_(1 - DROP)
        return output * kept / (1 - DROP)

    for cell in plain.cells:
        for edge in cell.edges:
            edge.register_forward_hook(drop)


def test_drop_path_drops_whole_mixed_edges_image_by_image() -> None:
    ours, plain = both(1)
    dropped_by_hand(plain)
    images, weights, betas = torch.randn(6, 3, 8, 8, dtype=torch.float64), edge_weights(), edge_norms()
    results = []
    for network, options in ((ours, {"drop_path": DROP}), (plain, {})):
        torch.manual_seed(5)
        logits = network(images, weights, betas, **options)
        inputs = [*weights.values(), *betas.values()]
        results.append([logits, *torch.autograd.grad(logits.square().sum(), inputs)])
    for mine, theirs in zip(*results, strict=True):
        close(mine, theirs)
    assert not torch.allclose(results[0][0], ours(images, weights, betas))


def test_a_dropped_edge_gets_no_gradient() -> None:
    """With one image, an edge weight's gradient is zero exactly where the cells' draws dropped the edge."""
    torch.manual_seed(0)
    supernet = Darts().supernet(SHAPE).double()
    weights = edge_weights()
    logits = supernet(torch.randn(1, 3, 8, 8, dtype=torch.float64), weights, drop_path=0.5)
    gradients = torch.autograd.grad(logits.square().sum(), list(weights.values()))
    for gradient in gradients:
        reached = (gradient[:, 1:] != 0).any(dim=1)
        assert 0 < int(reached.sum()) < NUM_EDGES


def test_drop_path_draws_nothing_in_evaluation_mode_or_at_zero() -> None:
    torch.manual_seed(0)
    supernet = Darts().supernet(SHAPE).double()
    images, weights = torch.randn(2, 3, 8, 8, dtype=torch.float64), edge_weights()
    state = torch.get_rng_state()
    whole = supernet.eval()(images, weights)
    assert torch.equal(supernet(images, weights, drop_path=DROP), whole)
    supernet.train()(images, weights, drop_path=0.0)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("k", [1, 2])
def test_active_with_partial_channels_edge_norm_and_empty_nodes(k: int, stem: str) -> None:
    """What is not active counts as zero; what bypasses the operations does not depend on it."""
    rng = np.random.default_rng(0)
    active = {kind: rng.random((NUM_EDGES, len(PRIMITIVES))) < 0.3 for kind in ("normal", "reduce")}
    for kind, first, last in (("normal", 2, 5), ("reduce", 0, 2), ("reduce", 9, 14)):
        active[kind][first:last] = False  # node 3 of the normal cell, nodes 2 and 5 of the reduction cell
    torch.manual_seed(0)
    shape = NetworkShape(num_cells=3, channels=4, num_classes=5, stem=stem)
    supernet = Darts().supernet(shape, partial_channels=k).double()
    images, weights, betas = torch.randn(4, 3, 15, 19, dtype=torch.float64), edge_weights(), edge_norms()
    masked = {kind: values.detach() * torch.from_numpy(active[kind]) for kind, values in weights.items()}
    results = []
    for given, options in ((weights, {"active": active}), (masked, {})):
        leaves = {kind: values.detach().requires_grad_() for kind, values in given.items()}
        logits = supernet(images, leaves, betas, **options)
        inputs = [*leaves.values(), *betas.values(), *supernet.parameters()]
        results.append((logits, torch.autograd.grad(logits.square().sum(), inputs, materialize_grads=True)))
    (mine, of_mine), (expected, of_expected) = results
    close(mine, expected)
    for kind, gradient, other in zip(active, of_mine, of_expected, strict=False):
        assert not gradient[~torch.from_numpy(active[kind])].any()
        close(gradient, other * torch.from_numpy(active[kind]))
    for gradient, other in zip(of_mine[2:], of_expected[2:], strict=True):
        close(gradient, other)


def test_nothing_active_at_all_is_a_constant() -> None:
    torch.manual_seed(0)
    supernet = Darts().supernet(SHAPE).double()
    nothing = {kind: np.zeros((NUM_EDGES, len(PRIMITIVES)), dtype=bool) for kind in ("normal", "reduce")}
    logits = supernet(torch.randn(3, 3, 7, 11, dtype=torch.float64), edge_weights(), active=nothing, drop_path=DROP)
    close(logits, supernet.classifier.linear.bias.expand(3, 5))


def test_noise_does_not_depend_on_the_memory_format() -> None:
    torch.manual_seed(0)
    supernet = RobustDartsS4().supernet(SHAPE).double()
    weights = {kind: torch.randn(shape, dtype=torch.float64) for kind, shape in RobustDartsS4().alpha_shapes.items()}
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    torch.manual_seed(5)
    expected = supernet(images, weights)
    fast = supernet.to(memory_format=torch.channels_last)
    torch.manual_seed(5)
    close(fast(images.contiguous(memory_format=torch.channels_last), weights), expected)


def test_odd_sizes_and_the_imagenet_stem() -> None:
    """With a quarter of the channels; all of them and a half are among the cases of `active`."""
    uniform = {kind: torch.full((NUM_EDGES, len(PRIMITIVES)), 0.125) for kind in ("normal", "reduce")}
    for stem in ("cifar", "imagenet"):
        shape = NetworkShape(num_cells=3, channels=4, num_classes=5, stem=stem)
        with torch.no_grad():
            assert Darts().supernet(shape, partial_channels=4)(torch.randn(2, 3, 7, 21), uniform).shape == (2, 5)


def test_second_derivatives_exist() -> None:
    """Second-order DARTS differentiates the gradient of the alphas by the weights."""
    torch.manual_seed(0)
    supernet = Darts().supernet(NetworkShape(num_cells=3, channels=2, num_classes=3)).double()
    weights = {kind: values.detach().requires_grad_() for kind, values in edge_weights().items()}
    loss = F.cross_entropy(supernet(torch.randn(3, 3, 4, 4, dtype=torch.float64), weights), torch.arange(3))
    first = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), list(supernet.parameters()))
    assert all(torch.isfinite(g).all() for g in second)
    assert any(g.abs().max() > 1e-8 for g in second)


def test_batch_statistics_in_evaluation_mode_equal_training_mode_and_leave_the_running_ones() -> None:
    torch.manual_seed(0)
    supernet = Darts().supernet(SHAPE, batch_statistics=True).double()
    weights = edge_weights()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    in_training = supernet(images, weights)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    supernet.eval()
    close(supernet(images, weights), in_training)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    use_batch_statistics(supernet, False)
    assert not torch.allclose(supernet(images, weights), in_training)


def test_only_the_stem_has_affine_batch_norm() -> None:
    with torch.device("meta"):
        supernet = Darts().supernet(SHAPE)
    affine = [name for name, module in supernet.named_modules() if isinstance(module, BatchNorm) and module.affine]
    assert affine == ["stem.body.1"]
    assert all(m.momentum == 0.1 and m.track_running_stats for m in supernet.modules() if isinstance(m, BatchNorm))


def test_a_new_supernet_is_undecided() -> None:
    torch.manual_seed(0)
    supernet = Darts().supernet(NetworkShape(num_cells=5, channels=8, num_classes=10))
    uniform = {kind: torch.full((NUM_EDGES, len(PRIMITIVES)), 1 / len(PRIMITIVES)) for kind in ("normal", "reduce")}
    with torch.no_grad():
        loss = F.cross_entropy(supernet(torch.randn(64, 3, 16, 16), uniform), torch.arange(64) % 10)
    assert abs(loss.item() - 2.302585) < 0.25


def test_weights_come_from_the_default_generator() -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return next(Darts().supernet(SHAPE).parameters()).detach()

    one = first(1)
    assert torch.equal(first(1), one)
    assert not torch.equal(first(2), one)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ConfigError, match="partial_channels 3 must divide channels 4"):
        Darts().supernet(SHAPE, partial_channels=3)
    with pytest.raises(ConfigError, match="no auxiliary head"):
        Darts().supernet(NetworkShape(num_cells=3, channels=4, num_classes=5, auxiliary=True))
    with pytest.raises(ConfigError, match="at least 3"):
        Darts().supernet(NetworkShape(num_cells=2, channels=4, num_classes=5))
    supernet = Darts().supernet(SHAPE)
    images = torch.randn(2, 3, 8, 8)
    good = {kind: torch.zeros(14, 8) for kind in ("normal", "reduce")}
    with pytest.raises(ConfigError, match="edge_weights has shapes"):
        supernet(images, {"normal": good["normal"]})
    with pytest.raises(ConfigError, match=r"\(13, 8\)"):
        supernet(images, {**good, "reduce": torch.zeros(13, 8)})
    with pytest.raises(ConfigError, match="edge_norm has shapes"):
        supernet(images, good, {kind: torch.zeros(8) for kind in good})
