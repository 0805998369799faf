"""Residual networks of the literature: published numbers of parameters, shapes of the stages, shortcuts."""

import pytest
import torch

from repro.models import cifar_resnets

# For 100 classes: of the code of Tian et al. 2020.
PUBLISHED = {
    "resnet20": 278_324,
    "resnet56": 861_620,
    "resnet110": 1_736_564,
    "resnet8x4": 1_233_540,
    "resnet32x4": 7_433_860,
    "wrn_16_2": 703_284,
    "wrn_40_1": 569_780,
    "wrn_40_2": 2_255_156,
}


def test_every_network_has_the_published_number_of_parameters():
    with torch.device("meta"):
        nets = {name: cifar_resnets.build(name, 3, 100) for name in cifar_resnets.NAMES}
    assert {name: sum(parameter.numel() for parameter in net.parameters()) for name, net in nets.items()} == PUBLISHED


@pytest.mark.parametrize(("name", "stages", "channels"), [("resnet8x4", "layer", 64), ("wrn_16_2", "block", 32)])
def test_each_stage_halves_the_resolution_and_doubles_the_channels(name, stages, channels):
    with torch.device("meta"):
        net, image = cifar_resnets.build(name, 3, 10), torch.zeros(2, 3, 32, 32)
        shapes = {}
        for stage in (1, 2, 3):
            net.get_submodule(f"{stages}{stage}").register_forward_hook(
                lambda _, __, output, stage=stage: shapes.update({stage: tuple(output.shape)})
            )
        assert net(image).shape == (2, 10)
    assert shapes == {stage: (2, channels << (stage - 1), *(64 >> stage,) * 2) for stage in (1, 2, 3)}


def test_a_pre_activation_block_adds_its_input_or_a_convolution_of_the_normalized_input():
    torch.manual_seed(0)
    same, wider = cifar_resnets.PreActivationBlock(4, 4, 1).eval(), cifar_resnets.PreActivationBlock(4, 8, 2).eval()
    images = torch.randn(2, 4, 8, 8)
    for block in (same, wider):
        torch.nn.init.zeros_(block.conv2.weight)
    assert torch.equal(same(images), images)
    assert torch.equal(wider(images), wider.shortcut(wider.bn1(images).relu()))
