"""Learning rates against the published formulas and PyTorch's own schedulers; presets against the sheets."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from nasbench.core.errors import ConfigError, UnknownNameError
from nasbench.training.determinism import configure, device_of, seeded
from nasbench.training.presets import PRESETS, preset
from nasbench.training.recipe import Augmentation, Recipe
from nasbench.training.schedule import learning_rate


def rates(recipe):
    return [learning_rate(recipe, epoch) for epoch in range(recipe.epochs)]


def torch_rates(scheduler, start, epochs, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=start)
    schedule = scheduler(optimizer, **options)
    values = []
    for _ in range(epochs):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return values


def test_cosine_is_pytorchs():
    want = torch_rates(torch.optim.lr_scheduler.CosineAnnealingLR, 0.025, 50, T_max=50, eta_min=0.001)
    got = rates(Recipe(epochs=50, final_learning_rate=0.001))
    assert got == pytest.approx(want, rel=1e-9)
    assert got[0] == 0.025
    assert got[25] == pytest.approx(0.013)


def test_step_is_pytorchs():
    want = torch_rates(torch.optim.lr_scheduler.StepLR, 0.1, 20, step_size=1, gamma=0.97)
    assert rates(Recipe(epochs=20, learning_rate=0.1, schedule="step", decay=0.97)) == pytest.approx(want)


def test_linear_is_pc_darts():
    # facts/differentiable_search.md, section 11: lr (E-5-e)/(E-5), in the last five epochs lr (E-e)/((E-5) 5)
    got = rates(Recipe(epochs=250, learning_rate=0.5, schedule="linear"))
    assert got[0] == 0.5
    assert got[100] == pytest.approx(0.5 * 145 / 245)
    assert got[244] == pytest.approx(0.5 / 245)
    assert got[245:] == pytest.approx([0.5 * k / (245 * 5) for k in (5, 4, 3, 2, 1)])


def test_warm_up_rises_to_the_base_rate_and_then_the_schedule_goes_on_unshifted():
    plain = rates(Recipe(epochs=20, schedule="linear", learning_rate=0.5))
    warm = rates(Recipe(epochs=20, schedule="linear", learning_rate=0.5, warmup_epochs=5))
    assert warm[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert warm[5:] == plain[5:]


# facts/differentiable_search.md, section 11 (table of evaluation protocols); sampling_search.md, section 1.3.
GOLDEN = {
    "nastransfer": (600, 96, 0.025, 3e-4, 5.0, 0.0, 0.0, 0, 0.0, "cosine"),
    "darts-cifar": (600, 96, 0.025, 3e-4, 5.0, 0.2, 0.4, 16, 0.0, "cosine"),
    "pc-darts-cifar": (600, 96, 0.025, 3e-4, 5.0, 0.3, 0.4, 16, 0.0, "cosine"),
    "robust-darts": (600, 96, 0.025, 3e-4, 5.0, 0.2, 0.4, 16, 0.0, "cosine"),
    "darts-imagenet": (250, 128, 0.1, 3e-5, 5.0, 0.0, 0.4, 0, 0.1, "step"),
    "pc-darts-imagenet": (250, 1024, 0.5, 3e-5, 5.0, 0.0, 0.4, 0, 0.1, "linear"),
}


def test_every_preset_has_its_published_figures():
    assert set(PRESETS) == set(GOLDEN)
    for name, figures in GOLDEN.items():
        recipe = preset(name)
        assert figures == (
            recipe.epochs,
            recipe.batch_size,
            recipe.learning_rate,
            recipe.weight_decay,
            recipe.gradient_clip,
            recipe.drop_path,
            recipe.auxiliary_weight,
            recipe.augmentation.cutout,
            recipe.label_smoothing,
            recipe.schedule,
        ), name
        assert (recipe.momentum, recipe.nesterov, recipe.final_learning_rate) == (0.9, False, 0.0)
        assert name in preset.__doc__
    assert preset("darts-imagenet").decay == 0.97
    assert [preset(name).warmup_epochs for name in GOLDEN] == [0, 0, 0, 0, 0, 5]
    assert preset("darts-cifar").augmentation == Augmentation(crop_padding=4, flip=True, cutout=16)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'darts-cifar'"):
        preset("dart-cifar")


def test_a_preset_can_be_shortened():
    short = dataclasses.replace(preset("nastransfer"), epochs=3)
    assert rates(short) == pytest.approx([0.025 * (1 + math.cos(math.pi * e / 3)) / 2 for e in range(3)])


def test_seeding_is_scoped():
    torch.manual_seed(5)
    want = torch.rand(3)
    torch.manual_seed(5)
    with seeded(1):
        inner = torch.rand(3)
    assert torch.equal(torch.rand(3), want)
    with seeded(1):
        assert torch.equal(torch.rand(3), inner)
    with seeded(2):
        assert not torch.equal(torch.rand(3), inner)
    with pytest.raises(RuntimeError, match="stop"), seeded(1):
        raise RuntimeError("stop")


def test_configure_makes_pytorch_deterministic(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    threads, before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    try:
        configure(1)
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.backends.cudnn.benchmark
        assert not torch.utils.deterministic.fill_uninitialized_memory
        with pytest.raises(ConfigError, match="threads: 0"):
            configure(0)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


@pytest.mark.parametrize(("name", "amp", "message"), [
    ("gpu9", False, "not a device"),
    ("meta", False, "not supported"),
    ("cuda:77", False, "asked for"),
    ("cpu", True, "needs CUDA"),
])  # fmt: skip
def test_an_impossible_device_is_refused(name, amp, message):
    with pytest.raises(ConfigError, match=message):
        device_of(name, amp=amp)
    assert device_of("cpu").type == "cpu"
