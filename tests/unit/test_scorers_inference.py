"""The pass over a set: faster forms of a model, blocks, partial results on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import fx, nn

from nasbench.core.errors import CheckpointError
from nasbench.datasets.base import ImageSet
from nasbench.models import zoo
from nasbench.scorers import partial
from nasbench.scorers.folding import prepared
from nasbench.scorers.inference import num_outputs, score_set
from nasbench.scorers.logits import entropies, entropy_from_logits
from nasbench.scorers.partial import open_partial
from nasbench.training.determinism import seeded

CPU = torch.device("cpu")
SHAPE = (3, 16, 16)


def resnet() -> nn.Module:
    """A ResNet-20 whose running statistics are not 0 and 1."""
    with seeded(0):
        model = zoo.create("resnet20", 10, 3)
        for _ in range(3):
            model(torch.randn(16, *SHAPE) * 2 + 1)
    return model.eval()


def images(count: int = 21) -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet(
        images=rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8),
        labels=np.arange(count) % 10,
        ids=tuple(map(str, range(count))),
        num_classes=10,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def plain(model: nn.Module, data: ImageSet) -> np.ndarray:
    """The textbook's loop: NCHW, as torchvision's ToTensor and Normalize round."""
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2).contiguous().float().div(255)
    batch = (pixels - torch.tensor(data.mean).view(3, 1, 1)) / torch.tensor(data.std).view(3, 1, 1)
    with torch.no_grad():
        return entropy_from_logits(model(batch)).numpy()


@pytest.mark.parametrize(("precision", "allowed"), [("float32", 1e-5), ("float32-folded", 2e-5), ("bfloat16", 0.1)])
def test_each_precision_stays_near_a_plain_loop_and_is_another(precision, allowed):
    model, data = resnet(), images()
    wanted = np.log10(plain(model, data))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = np.log10(entropies(model, data, batch_size=8, device=CPU, precision=precision))
    assert np.abs(found - wanted).max() <= allowed
    if precision != "float32":
        assert not np.array_equal(found, np.log10(entropies(model, data, batch_size=8, device=CPU)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == before[name].dtype for name, value in model.state_dict().items())


def test_our_networks_are_traced_folded_and_overwrite_what_nothing_else_reads():
    folded = prepared(resnet(), SHAPE, "float32-folded")
    assert isinstance(folded, fx.GraphModule)
    assert not [node for node in folded.graph.nodes if "bn" in str(node.target)]
    kept = prepared(resnet(), SHAPE, "float32")
    assert isinstance(kept, fx.GraphModule)
    targets = [getattr(node.target, "__name__", str(node.target)) for node in kept.graph.nodes]
    assert targets.count("relu_") == 19
    assert targets.count("iadd") == 9
    assert len([name for name in targets if "bn" in name]) == 19


class Shared(nn.Module):
    """A convolution's output is read twice: once by a ReLU, once unchanged."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        states = self.norm(self.conv(batch))
        return torch.cat([self.relu(states), states], 1).mean((2, 3))


class Moody(nn.Module):
    """What it does depends on the pixels; a trace would see a tensor where a number is needed."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.norm(batch).mean((2, 3)) * (2 if batch.mean() > 0 else 1)


@pytest.mark.parametrize("kind", [Shared, Moody])
@pytest.mark.parametrize("precision", ["float32", "float32-folded"])
def test_a_model_is_never_changed_in_what_it_gives(kind, precision):
    with seeded(0):
        model = kind().eval()
        batch = torch.randn(5, *SHAPE)
    with torch.no_grad():
        wanted, found = model(batch), prepared(model, SHAPE, precision)(batch)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


class Lazy:
    """Pixels that cannot be had whole."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels, self.largest = pixels, 0
        self.shape, self.dtype, self.fingerprint = pixels.shape, pixels.dtype, "of files"

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, rows):
        found = self._pixels[rows]
        self.largest = max(self.largest, len(found))
        return found


def test_a_set_of_files_is_read_batch_by_batch_and_scores_the_same():
    data, model = images(), resnet()
    lazy = Lazy(data.images)
    files = ImageSet(images=lazy, labels=data.labels, ids=data.ids, num_classes=10, mean=data.mean, std=data.std)
    found = entropies(model, files, batch_size=4, device=CPU)
    assert np.array_equal(found, entropies(model, data, batch_size=4, device=CPU))
    assert lazy.largest <= 5  # a last image alone joins the batch before it


@pytest.mark.parametrize("rows", [1, 4, 7, 4096])
def test_the_size_of_a_block_changes_nothing(rows, monkeypatch):
    wanted = entropies(resnet(), images(), batch_size=4, device=CPU)
    monkeypatch.setattr(partial, "ROWS_PER_BLOCK", rows)
    assert np.array_equal(entropies(resnet(), images(), batch_size=4, device=CPU), wanted)


def test_rows_of_scores_are_kept_in_a_file_where_they_are_large(monkeypatch, tmp_path):
    monkeypatch.setattr(partial, "_IN_MEMORY_BYTES", 10)
    flat = nn.Flatten()
    options = {"batch_size": 8, "device": CPU, "width": num_outputs(flat, SHAPE), "dtype": np.float32}
    found = score_set(flat, images(), lambda values, _pixels, _labels: values, **options)
    assert isinstance(found, np.memmap)
    assert (found.shape, found.dtype) == ((21, 768), np.float32)
    named = score_set(flat, images(), lambda values, _p, _l: values, checkpoint=tmp_path / "c.pt", **options)
    assert np.array_equal(named, found)
    assert (tmp_path / "c.pt.scores" / "values.npy").stat().st_size > 21 * 768 * 4


@pytest.mark.parametrize("damage", ["absent", "truncated", "other shape"])
def test_damaged_partial_scores_are_refused(damage, tmp_path):
    scores = open_partial(tmp_path / "c.pt", (6,), np.float64, {"a": 1})
    scores.values[:3] = 1.0
    scores.save(3)
    again = open_partial(tmp_path / "c.pt", (6,), np.float64, {"a": 1})
    assert (again.done, again.values[:3].tolist()) == (3, [1.0, 1.0, 1.0])
    file = tmp_path / "c.pt.scores" / "values.npy"
    if damage == "absent":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-8])
    else:
        np.save(file, np.zeros(7))
    with pytest.raises(CheckpointError, match=r"values\.npy .* Delete"):
        open_partial(tmp_path / "c.pt", (6,), np.float64, {"a": 1})
    with pytest.raises(CheckpointError, match="a is 1 in the file, 2 now"):
        open_partial(tmp_path / "c.pt", (6,), np.float64, {"a": 2})
