"""Splits by a rule: shares of each class, nothing lost, and the published ones."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasbench.core.errors import DatasetError
from nasbench.datasets.cifar import nas_bench_201_rows
from nasbench.datasets.splits import report_count, share_rows


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(lambda counts: max(counts) > 1),
    rule=st.sampled_from(["40-40-20", "50-50"]),
    seed=st.integers(0, 5),
)
def test_both_parts_make_the_whole_and_every_class_keeps_its_share(counts, rule, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    train, test = (share_rows(labels, rule, split) for split in ("train", "test"))
    assert sorted([*train, *test]) == list(range(len(labels)))
    assert np.array_equal(test, np.sort(test))
    for label, count in enumerate(counts):
        wanted = -(-count // 5) if rule == "40-40-20" else count // 2
        wanted = min(wanted, max(count - 1, 0))
        assert np.count_nonzero(labels[test] == label) == wanted
        places = np.flatnonzero(np.isin(np.flatnonzero(labels == label), test))
        assert places.tolist() == [int((j + 0.5) * count / wanted) for j in range(wanted)]


def test_the_shares_of_flowers102_are_the_papers():
    """NASTransfer, Table 1: 6.5K and 1.7K; its lists 6,507 and 1,682 (facts/sampling_search.md, section 0)."""
    rng = np.random.default_rng(0)
    counts = 40 + rng.multinomial(8189 - 40 * 102, np.full(102, 1 / 102))  # the real counts lie in 40 to 258
    labels = np.repeat(np.arange(102), counts)
    train, test = (len(share_rows(labels, "40-40-20", split)) for split in ("train", "test"))
    assert train + test == 8189
    assert (round(train, -2), round(test, -2)) == (6500, 1700)


def test_half_of_imagenet22k():
    """NASTransfer, Table 1: 7.5M and 7M of 21,841 classes; each has an image to train on (a tenth of the size here)."""
    counts = np.random.default_rng(0).integers(1, 130, 21_841)
    labels = np.repeat(np.arange(21_841), counts)
    train, test = (share_rows(labels, "50-50", split) for split in ("train", "test"))
    assert 0 <= len(train) - len(test) <= 21_841
    assert np.bincount(labels[train], minlength=21_841).min() == 1


def test_classes_of_one_image_leave_nothing_to_test():
    with pytest.raises(DatasetError, match="3 images in 3 classes leave none"):
        share_rows(np.arange(3), "50-50", "train")


def test_nas_bench_201s_halves_of_cifar10():
    """facts/sampling_search.md, section 7.3: the first half starts with 0, train[10] = 26, train[111] = 203."""
    state = random.getstate()
    train, test = (nas_bench_201_rows(50_000, split) for split in ("train", "test"))
    assert random.getstate() == state
    assert (len(train), train[0], train[10], train[111]) == (25_000, 0, 26, 203)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(50_000))


def test_another_number_of_images_is_logged(caplog):
    report_count("mit67", "train", 5360, 5360)
    assert not caplog.records
    report_count("mit67", "train", 12, 5360)
    assert caplog.messages == ["mit67: train has 12 images; published are 5360"]
