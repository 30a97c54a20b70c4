"""Classifiers by name."""

from __future__ import annotations

import pytest
import timm
import torch

from nasbench.core.errors import CheckpointError, ConfigError
from nasbench.models import resnet_cifar, timm_zoo, zoo
from nasbench.models.autoencoder import ConvAutoencoder
from nasbench.models.transfer import TransferNet
from nasbench.training.cost import measure


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # He et al. 2016, Table 6 prints millions: 0.27, 0.46, 0.66, 0.85, 1.7.
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ],
)
def test_parameter_counts(name, parameters):
    with torch.device("meta"):
        model = zoo.create(name, 10, 3)
    assert sum(weight.numel() for weight in model.parameters()) == parameters
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) + 1 == int(name.removeprefix("resnet"))  # weighted layers, the linear one included


def test_macs_of_resnet20():
    with torch.device("meta"):
        model = zoo.create("resnet20", 10, 3)
    # By hand: stem 27*16*32^2, 6 of 9*16*16*32^2, (9*16*32 + 5*9*32*32)*16^2, (9*32*64 + 5*9*64*64)*8^2, 640.
    stages = 6 * 2304 * 1024 + (4608 + 5 * 9216) * 256 + (18432 + 5 * 36864) * 64
    assert measure(model, (3, 32, 32)).macs == 432 * 1024 + stages + 640 == 40_551_040


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28), (3, 17, 9)])
def test_any_image_size_and_channels(shape):
    model = zoo.create("resnet20", 7, shape[0]).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, *shape)).shape == (2, 7)


def test_shortcut_has_no_parameters_and_pads_half_the_channels_on_each_side():
    block = resnet_cifar.BasicBlock(4, 8, 2).eval()
    torch.nn.init.zeros_(block.bn2.weight)  # the residual is 0: what is left is ReLU of the shortcut
    states = torch.rand(1, 4, 6, 6)
    with torch.no_grad():
        output = block(states)
    assert output.shape == (1, 8, 3, 3)
    assert torch.equal(output[:, 2:6], states[:, :, ::2, ::2])
    assert not output[:, :2].any()
    assert not output[:, 6:].any()


def test_weights_come_from_the_default_generator():
    states = []
    for seed in (0, 0, 1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            states.append(zoo.create("resnet20", 10, 3).state_dict()["conv1.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("name", ["resnet21", "timm:", "", "resnet18"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError, match="Known: resnet20"):
        zoo.create(name, 10, 3)
    with pytest.raises(ConfigError):
        resnet_cifar.create(name, 10, 3)


def test_timm_models_by_name():
    model = zoo.create("timm:resnet10t", 5, 1).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 1, 32, 32)).shape == (1, 5)


def test_unknown_timm_name_has_the_nearest():
    with pytest.raises(ConfigError, match=r"timm has no 'resnet10x'.*Did you mean 'resnet"):
        zoo.create("timm:resnet10x", 5, 3)


def test_pretrained_weights_without_a_network_are_explained(monkeypatch):
    def offline(*_arguments, **_options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match=r"cannot be had .*no route to host.*give the weights as a file"):
        zoo.create("timm:resnet18", 10, 3, pretrained=True)


def test_the_error_without_a_network_says_what_to_do_for_a_backbone(monkeypatch):
    def offline(*_arguments, **_options):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(CheckpointError, match=r"Run once where there is a network .* as a file \('weights'\)"):
        timm_zoo.backbone("resnet18", 3, None)


@pytest.mark.parametrize(("name", "width"), [("resnet20", 64), ("timm:test_resnet", 96), ("timm:test_vit", 64)])
def test_without_its_head_a_model_gives_what_the_head_was_given(name, width):
    model = zoo.create(name, 5, 3).eval()
    images, seen = torch.rand(2, 3, 160, 160), []
    head = model.linear if name == "resnet20" else model.get_classifier()
    head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(images)
        features = zoo.without_head(name, model)(images)
    assert features.shape == (2, width)
    torch.testing.assert_close(features, seen[0])


def test_a_model_whose_head_cannot_be_taken_off_is_named():
    with pytest.raises(ConfigError, match="classifier of Linear cannot be taken off"):
        timm_zoo.without_head(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("channels", [3, 1])
def test_a_backbone_takes_weights_of_a_whole_model(channels):
    whole = timm.create_model("test_resnet", num_classes=7).eval()
    backbone = timm_zoo.backbone("test_resnet", channels, whole.state_dict()).eval()
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        wanted = whole.forward_head(whole.forward_features(grey.expand(2, 3, 32, 32)), pre_logits=True)
        found = backbone(grey if channels == 1 else grey.expand(2, 3, 32, 32))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(CheckpointError, match="do not fit"):
        timm_zoo.backbone("test_resnet", channels, {"conv1.0.weight": torch.zeros(3, 3, 3, 3)})


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (1, 28, 28), (3, 17, 30), (1, 2, 3)])
def test_an_autoencoder_reconstructs_any_size(shape):
    model = ConvAutoencoder(shape[0], min(shape[1:]))
    assert model(torch.rand(2, *shape)).shape == (2, *shape)
    halvings = sum(isinstance(layer, torch.nn.Conv2d) for layer in model.encoder)
    assert halvings == min(4, min(shape[1:]).bit_length() - 1)
    assert model.encoder(torch.rand(2, shape[0], 2**halvings, 2**halvings)).shape[2:] == (1, 1)


def test_an_autoencoder_of_one_pixel_is_refused():
    with pytest.raises(ConfigError, match="at least 2 pixels"):
        ConvAutoencoder(1, 1)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_transferred_backbone_is_frozen(frozen):
    """Moser et al., code: the backbone's weights never change; its running statistics do unless they are frozen."""
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    model = TransferNet(body, 4, 3, frozen_statistics=frozen).train()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    model(torch.rand(5, 1, 3, 3)).sum().backward()
    assert all(weight.grad is None for weight in body.parameters())
    assert all(weight.grad is not None for weight in model.head.parameters())
    assert torch.equal(before["1.running_mean"], body.state_dict()["1.running_mean"]) == frozen
    kinds = [type(layer).__name__ for layer in model.head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Dropout", "Linear"]


def test_pretrained_is_handed_to_timm(monkeypatch):
    seen = {}
    monkeypatch.setattr(timm, "create_model", lambda name, **options: seen.update(options, name=name))
    zoo.create("timm:resnet18", 10, 1, pretrained=True)
    assert seen == {"name": "resnet18", "pretrained": True, "num_classes": 10, "in_chans": 1}


def test_residual_networks_have_no_pretrained_weights():
    with pytest.raises(ConfigError, match="pretrained"):
        zoo.create("resnet20", 10, 3, pretrained=True)
