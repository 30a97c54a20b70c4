"""The entropy of softmax against a reference of 60 decimal digits, and the pass over a set."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

import numpy as np
import pytest
import torch

from nasbench.core.errors import ScoreError
from nasbench.datasets.base import ImageSet
from nasbench.scorers.logits import entropies, entropy_from_logits, loss_from_logits, top1

CPU = torch.device("cpu")


def exact(logits: list[float]) -> Decimal:
    """Entropy in nats from the definition, with 60 digits."""
    with decimal.localcontext(prec=60):
        powers = [Decimal(value).exp() for value in logits]
        shares = [power / sum(powers) for power in powers]
        return -sum(share * share.ln() for share in shares)


@pytest.mark.parametrize(
    "logits",
    [
        [0.0, 0.0],
        [1.0, 2.0, 3.0],
        [-3.0, 40.0, 1.5, 1.25],
        [0.0, -51.5],  # H about 2e-21, the smallest of the published CIFAR-10 list (1.690e-21)
        [100.0, 36.5, 20.0],
        [5.0, -80.0, -81.0, -82.0],
        [0.0, -600.0],
        [700.0, 700.0, -700.0],
        [1e-9, 0.0, -1e-9],
    ],
)
def test_sixty_digits_agree(logits):
    value = entropy_from_logits(torch.tensor([logits], dtype=torch.float64))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(float(exact(logits)), rel=2e-15)


def test_plain_formula_would_lose_what_this_one_keeps():
    logits = torch.tensor([[0.0, -51.5]], dtype=torch.float64)
    shares = torch.log_softmax(logits, dim=1)
    plain = -(shares.exp() * shares).sum().item()
    wanted = float(exact([0.0, -51.5]))
    assert abs(plain / wanted - 1) > 0.01
    assert abs(entropy_from_logits(logits).item() / wanted - 1) < 1e-14


def test_float32_logits_are_taken_exactly():
    logits = torch.randn(50, 10, generator=torch.Generator().manual_seed(0)) * 20
    wanted = [float(exact(row.double().tolist())) for row in logits]
    np.testing.assert_allclose(entropy_from_logits(logits).numpy(), wanted, rtol=1e-14)


def test_uniform_is_log_k_and_a_single_class_is_zero():
    assert entropy_from_logits(torch.full((1, 7), 3.0)).item() == pytest.approx(math.log(7), rel=1e-15)
    assert entropy_from_logits(torch.tensor([[4.0]])).item() == 0.0
    assert entropy_from_logits(torch.tensor([[0.0, -1000.0]])).item() == 0.0


def test_impossible_classes_add_nothing():
    value = entropy_from_logits(torch.tensor([[0.0, -math.inf, 0.0], [1.0, -math.inf, -math.inf]]))
    assert value.tolist() == pytest.approx([math.log(2), 0.0], rel=1e-15)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_give_nan(bad):
    value = entropy_from_logits(torch.tensor([[0.0, bad], [bad, bad], [0.0, 0.0]]))
    assert value.isnan().tolist() == [True, True, False]
    assert entropy_from_logits(torch.full((1, 2), -math.inf)).isnan().all()


def test_gradients_and_inputs_are_left_alone():
    logits = torch.tensor([[1.0, 2.0]])
    before = logits.clone()
    entropy_from_logits(logits)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("logits", [[0.0, 0.0], [3.0, -48.0, 1.0], [-3.0, 40.0, 1.5], [0.0, 80.0], [700.0, -700.0]])
@pytest.mark.parametrize("label", [0, 1])
def test_the_loss_of_a_class_agrees_with_sixty_digits(logits, label):
    with decimal.localcontext(prec=60):
        powers = [Decimal(value).exp() for value in logits]
        wanted = float(-(powers[label] / sum(powers)).ln())
    value = loss_from_logits(torch.tensor([logits], dtype=torch.float64), torch.tensor([label]))
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(wanted, rel=2e-15)


def test_the_loss_is_pytorch_s_where_that_is_precise():
    logits = torch.randn(50, 7, generator=torch.Generator().manual_seed(0)) * 3
    labels = torch.arange(50) % 7
    wanted = torch.nn.functional.cross_entropy(logits.double(), labels, reduction="none")
    torch.testing.assert_close(loss_from_logits(logits, labels), wanted, rtol=1e-13, atol=0)
    assert loss_from_logits(torch.tensor([[0.0, torch.nan]]), torch.tensor([0])).isnan().all()


def images(count: int = 11) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 2, 2, 1), dtype=np.uint8)
    labels = np.arange(count) % 4
    return ImageSet(
        images=pixels,
        labels=labels,
        ids=tuple(f"picture {row}" for row in range(count)),
        num_classes=4,
        mean=(0.25,),
        std=(0.5,),
    )


class Flat(torch.nn.Module):
    """Logits are the four normalised pixels; notes batch sizes and modes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, bool]] = []

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen.append((len(batch), self.training))
        return batch.flatten(1)


def test_pass_is_in_file_order_normalised_in_evaluation_mode():
    model = Flat().train()
    values = entropies(model, images(), batch_size=4, device=CPU)
    logits = (images().images.reshape(11, 4) / 255 - 0.25) / 0.5
    wanted = [float(exact(row.tolist())) for row in logits]
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    assert model.seen == [(4, False), (4, False), (3, False)]
    assert model.training


def test_top1_counts_the_largest_logit():
    wanted = np.mean(images().images.reshape(11, 4).argmax(axis=1) == images().labels)
    assert top1(Flat(), images(), batch_size=4, device=CPU) == pytest.approx(wanted)


def test_nan_is_an_error_that_names_the_row():
    class Broken(Flat):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            logits = super().forward(batch).clone()
            if len(self.seen) == 2:
                logits[1:] = torch.nan
            return logits

    with pytest.raises(ScoreError, match=r"entropy: the score of row 5 \(id 'picture 5'\) is nan"):
        entropies(Broken(), images(), batch_size=4, device=CPU)
