"""The plain supernets and search steps, and the benchmark that times them against ours."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest
import torch

from benchmarks import network_steps, search_steps, supernet_step
from benchmarks.common import BenchmarkError
from benchmarks.network_steps import MEMORY, Size, starting_alphas
from benchmarks.plain_search import PlainSdarts, PlainSecondOrder, Start
from benchmarks.plain_supernet import OPEN, PRUNED, PlainSupernet, choices_of
from benchmarks.supernet_check import check_same_function
from nasbench.searchers.darts import Darts as DartsSearch
from nasbench.searchers.hypergradient import AlphaStep, second_order
from nasbench.searchers.strategy import softmax_of
from nasbench.spaces.darts import Darts
from nasbench.training.determinism import seeded

TINY = supernet_step.QUICK_SIZES[0]
CHANNELS_LAST = MEMORY["channels_last"]


@pytest.mark.parametrize("check", ["check_partial", "check_decided", "check_nas_bench_201"])
def test_plain_supernets_are_the_same_function_as_ours(check) -> None:
    getattr(supernet_step, check)(TINY)


def test_supernets_that_are_not_the_same_are_refused() -> None:
    space = Darts()
    shapes, images = space.alpha_shapes, TINY.images(2)
    plain = PlainSupernet(space.candidates, TINY.shape)
    wider = PlainSupernet(space.candidates, dataclasses.replace(TINY, channels=8).shape)

    def logits(network, scale=1.0):
        return network, lambda images, alphas: scale * network(images, softmax_of(alphas))

    with pytest.raises(BenchmarkError, match="x: ours has 72854 weights, the plain one 2"):
        check_same_function("x", (logits(plain), logits(wider)), images, shapes)
    with pytest.raises(BenchmarkError, match="x: logits of ours"):
        check_same_function("x", (logits(plain), logits(plain, scale=1.001)), images, shapes)


def test_a_line_is_checked_and_timed_against_both_memory_formats() -> None:
    asked: list[object] = []
    line = supernet_step.Line(
        name="x", ours=lambda: lambda: time.sleep(0.1), check=lambda: asked.append("check"),
        plain=lambda memory: asked.append(memory) or (lambda: time.sleep(0.2)),
    )  # fmt: skip
    nchw, last = supernet_step.measured(line, rounds=1, figures=True)
    assert [nchw.name, last.name] == ["x: plain NCHW", "x: plain channels_last"]
    assert asked == ["check", *MEMORY.values()]
    assert nchw.ratio > 1.5
    assert nchw.figures == last.figures == {}, "only forward and backward passes have a footprint"


def test_ours_takes_no_more_than_the_plain_way(monkeypatch) -> None:
    monkeypatch.setattr(supernet_step, "peak_memory_of", lambda call: 3 * 2**20)
    line = supernet_step.lines(quick=True)[0]
    ours = supernet_step.footprint(line.ours())
    plain = supernet_step.footprint(line.plain(MEMORY["NCHW"]))
    assert ours["weights"] == plain["weights"] == 72854
    assert plain["weight_tensors"] == 548
    assert plain["held_mb"] == pytest.approx(1.71, abs=0.01)
    assert plain["peak_resident_mb"] == 3.0
    assert all(ours[name] <= plain[name] for name in ("weight_tensors", "operations", "held_mb", "peak_tensors_mb"))


def test_every_search_step_runs_on_both_sides() -> None:
    searches = {line.name: line for line in supernet_step.search_lines(quick=True)}
    assert [name.split(" step")[0] for name in searches] == [
        "PC-DARTS (K=4)", "second-order DARTS", "SDARTS-RS", "SGAS (half decided)", "GDAS",
    ]  # fmt: skip
    for name, line in searches.items():
        if "second-order" not in name:  # it takes longest, and its two sides are compared below
            line.ours()()
            line.plain(CHANNELS_LAST)()
    assert set(supernet_step.ours(quick=True)) == {line.name for line in supernet_step.lines(quick=True)}


def test_both_sides_of_gdas_get_the_same_samples() -> None:
    alphas = starting_alphas(network_steps.NasBench201())
    drawn = [network_steps.sampled(alphas, number, False).edge_weights["cell"] for number in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_decisions_become_choices() -> None:
    space = Darts()
    decided = search_steps.half_decided(space)
    for group, choices in search_steps.sgas_choices(space).items():
        found = [choice for choice in choices if choice not in (OPEN, PRUNED)]
        assert len(found) == search_steps.DECISIONS
        assert choices == choices_of(decided.one_hot[group], decided.settled[group])
        computed = sum(8 if choice is OPEN else int(choice != PRUNED) for choice in choices)
        assert computed == decided.active[group].sum()


def start(space: Darts, size: Size = TINY) -> Start:
    with seeded(0):
        model = PlainSupernet(space.candidates, size.shape)
    images = size.images(2 * size.batch).chunk(2)
    alphas = starting_alphas(space)
    return Start(
        model=model, settings=DartsSearch(order="second", batch_size=2), train=(images[0], size.labels()),
        valid=(images[1], size.labels()), alphas=alphas,
    )  # fmt: skip


@pytest.fixture
def double() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.usefixtures("double")
def test_the_plain_second_order_gradient_is_that_of_the_product() -> None:
    given = start(Darts())
    plain = PlainSecondOrder(given)
    before = [weight.detach().clone() for weight in plain.weights]
    plain.alpha_gradients()
    assert max(float((a - b.detach()).abs().max()) for a, b in zip(before, plain.weights, strict=True)) < 1e-12
    _, wanted = second_order(
        AlphaStep(
            train_loss=lambda: plain.loss(given.train), valid_loss=lambda: plain.loss(given.valid),
            weights=plain.weights, alphas=plain.architecture(), buffers=list(given.model.buffers()),
            momenta=[None] * len(plain.weights), learning_rate=0.025, momentum=0.9, weight_decay=3e-4,
        )
    )  # fmt: skip
    for values, gradient in zip(plain.architecture(), wanted, strict=True):
        assert torch.allclose(values.grad, gradient, rtol=1e-6, atol=1e-9)
        assert gradient.abs().max() > 1e-4


def test_plain_perturbed_weights_are_shares() -> None:
    weights = torch.full((14, 8), 0.125)
    moved = PlainSdarts(start(Darts()), 0.3)._perturbed(weights)
    assert torch.allclose(moved.sum(dim=1), torch.ones(14))
    assert bool((moved >= 0).all())
    assert not torch.equal(moved, weights)
