"""Random and uniform classes, with all or a share of their images."""

from __future__ import annotations

import numpy as np
import pytest

from nasbench.core.errors import ConfigError, SelectionError
from nasbench.core.table import ExampleTable
from nasbench.selectors import SELECTORS, class_sampling
from nasbench.selectors.balance import quotas_of_sizes
from nasbench.selectors.base import ProxySelector
from nasbench.selectors.class_sampling import evenly_spaced, quotas_with_minimum, sample_of_classes
from nasbench.selectors.classes import RandomClasses, UniformClasses
from nasbench.selectors.nastransfer import NASTRANSFER_PROXIES, preset
from nasbench.selectors.selection import proxy_size, select_proxy

SIZES = np.array([30, 5, 0, 80, 12, 50, 20, 1])


def table(sizes: np.ndarray = SIZES, seed: int = 0) -> ExampleTable:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    return ExampleTable(dataset="", labels=labels)


def select(selector: ProxySelector, k: int | None = None, seed: int = 0) -> np.ndarray:
    """Counts a class of a proxy."""
    size = proxy_size(selector, table(), None, k, seed)
    rows = select_proxy(selector, table(), size, seed).indices
    assert len(rows) == size
    return np.bincount(table().labels[rows], minlength=len(SIZES))


def test_without_a_size_random_classes_give_all_their_images() -> None:
    drawn = [select(RandomClasses(num_classes=3), seed=seed) for seed in range(40)]
    for counts in drawn:
        assert np.count_nonzero(counts) == 3
        assert np.all((counts == 0) | (counts == SIZES))
    taken = np.sum([counts > 0 for counts in drawn], axis=0)
    assert taken[2] == 0  # a class without images is never one of them
    assert np.all(np.delete(taken, 2) > 5)  # 40 x 3/7 = 17 are expected


def test_random_classes_are_uniform_over_all_sets() -> None:
    sets = {tuple(np.flatnonzero(select(RandomClasses(num_classes=2), seed=seed))) for seed in range(200)}
    assert len(sets) == 21  # of 7 classes


def test_a_share_of_each_class() -> None:
    for selector in (RandomClasses(num_classes=4), UniformClasses(num_classes=4), UniformClasses()):
        whole = select(selector)
        for k in (1, 3, int(whole.sum()) // 2, int(whole.sum()) - 1):
            counts = select(selector, k)
            assert np.abs(counts - k * whole / whole.sum()).max() < 1
            assert np.array_equal(counts, quotas_of_sizes(whole, k))


def test_fraction_is_of_the_images_of_the_chosen_classes() -> None:
    selector = UniformClasses(num_classes=2)
    available = 5 + 50  # of sizes 1, 5, 12, 20, 30, 50, 80 at places 1 and 5
    assert proxy_size(selector, table(), 0.5, None, 0) == available // 2
    assert proxy_size(SELECTORS.get("random")(), table(), 0.5, None, 0) == int(SIZES.sum()) // 2


def test_size_may_be_left_out_only_where_all_there_is_can_be_taken() -> None:
    assert proxy_size(SELECTORS.get("whole")(), table(), None, None, 0) == SIZES.sum()
    with pytest.raises(SelectionError, match="exactly one must be given"):
        proxy_size(SELECTORS.get("random")(), table(), None, None, 0)
    with pytest.raises(SelectionError, match="exactly one must be given"):
        proxy_size(UniformClasses(), table(), 0.5, 3, 0)


def test_uniform_classes_are_evenly_spaced_in_the_order_of_size() -> None:
    sizes = np.array([7, 1, 3, 5, 3, 9])  # ascending: classes 1, 2, 4, 3, 0, 5
    assert evenly_spaced(sizes, 1).tolist() == [3]  # place 3
    assert evenly_spaced(sizes, 2).tolist() == [0, 2]  # places 1 and 4
    assert evenly_spaced(sizes, 3).tolist() == [2, 3, 5]  # places 1, 3, 5
    assert evenly_spaced(sizes, 6).tolist() == list(range(6))
    assert all(len(set(evenly_spaced(np.arange(1, 51), count))) == count for count in range(1, 51))


def test_uniform_classes_keep_the_spread_of_sizes() -> None:
    sizes = np.random.default_rng(0).geometric(0.01, 2000)
    chosen = sizes[evenly_spaced(sizes, 40)]
    for quantile in (0.1, 0.5, 0.9):
        assert abs((sizes <= np.quantile(chosen, quantile)).mean() - quantile) < 0.03


def test_classes_that_would_keep_too_few_are_left_out_and_their_share_given_to_the_others() -> None:
    assert select(UniformClasses(), 20).tolist() == [3, 1, 0, 8, 1, 5, 2, 0]
    counts = select(UniformClasses(min_images=2), 20)
    assert counts.sum() == 20
    assert set(np.flatnonzero(counts)) == {0, 3, 5, 6}
    assert counts.tolist() == quotas_of_sizes(np.where(counts > 0, SIZES, 0), 20).tolist()
    assert counts[counts > 0].min() >= 2


def test_leaving_out_is_repeated_until_every_class_keeps_enough() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        sizes = rng.integers(0, 60, 30)
        k, minimum = int(rng.integers(60, sizes.sum() // 2)), int(rng.integers(1, 4))
        quotas = quotas_with_minimum(sizes, k, minimum)
        assert quotas.sum() == k
        assert np.all(quotas <= sizes)
        assert np.all((quotas == 0) | (quotas >= minimum))


def test_a_minimum_that_no_class_keeps_is_refused() -> None:
    with pytest.raises(SelectionError, match=r"k = 5 cannot be shared.*at least 4 examples.*hold 0"):
        select(UniformClasses(min_images=4), 5)


def test_more_classes_or_images_than_there_are_are_refused() -> None:
    with pytest.raises(SelectionError, match="8 of 7 classes cannot be taken"):
        select(RandomClasses(num_classes=8))
    with pytest.raises(
        SelectionError, match=r"the 1 classes that 'uniform-classes' took hold 20 examples, fewer than 21"
    ):
        UniformClasses(num_classes=1).select(table(), 21, np.random.default_rng(0))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.8, 1.0])
def test_every_row_of_a_class_is_equally_likely(share: float) -> None:
    labels = table().labels
    quotas = quotas_of_sizes(SIZES, int(share * SIZES.sum()))
    times, draws = np.zeros(len(labels)), 400
    for seed in range(draws):
        rows = sample_of_classes(labels, quotas, np.random.default_rng(seed))
        assert np.array_equal(np.bincount(labels[rows], minlength=len(SIZES)), quotas)
        assert np.all(np.diff(rows) > 0)
        times[rows] += 1
    probability = (quotas / np.maximum(SIZES, 1))[labels]
    spread = np.sqrt(draws * probability * (1 - probability))
    assert np.all(np.abs(times - draws * probability) <= 4.5 * spread)


def test_pairs_of_rows_are_drawn_together_as_often_as_they_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_sampling, "_SPARE", 0.0)
    labels, together = np.zeros(6, dtype=np.int64), np.zeros((6, 6))
    for seed in range(3000):
        rows = sample_of_classes(labels, np.array([2]), np.random.default_rng(seed))
        together[rows[0], rows[1]] += 1
    counts = together[np.triu_indices(6, 1)]
    assert np.square(counts - 200).sum() / 200 < 36.1  # chi-square, 14 degrees of freedom, 0.001


def test_too_few_rows_that_pass_and_equal_numbers_are_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 3 bits most numbers are equal, and with a low bound too few rows pass."""
    monkeypatch.setattr(class_sampling, "_KEY_BITS", 3)
    monkeypatch.setattr(class_sampling, "_SPARE", -2.0)
    labels, quotas = np.repeat(np.arange(3), 400), np.array([90, 190, 390])
    drawn: list[bool] = []
    tied: list[int] = []
    draw, without_ties = class_sampling._draw, class_sampling._without_ties

    def watched_draw(*given):
        rows, short = draw(*given)
        drawn.append(bool(short.any()))
        return rows, short

    def watched_ties(rows, *given):
        tied.append(len(rows))
        return without_ties(rows, *given)

    monkeypatch.setattr(class_sampling, "_draw", watched_draw)
    monkeypatch.setattr(class_sampling, "_without_ties", watched_ties)
    for seed in range(40):
        rows = sample_of_classes(labels, quotas, np.random.default_rng(seed))
        assert np.array_equal(np.bincount(labels[rows], minlength=3), quotas)
    assert any(drawn)
    assert len(drawn) > 40
    assert tied


def test_a_preset_is_a_selector_with_its_fields() -> None:
    for name, chosen in NASTRANSFER_PROXIES.items():
        assert preset(name) is chosen
        assert isinstance(SELECTORS.get(chosen.selector)(**chosen.options), ProxySelector)
        assert set(chosen.as_params()) <= {"selector", "options", "size"}
    with pytest.raises(ConfigError, match=r"no proxy preset 'imagenet1k-p6'.*Did you mean"):
        preset("imagenet1k-p6")
