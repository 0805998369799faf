"""A batched MLP's members against single models, parameter and FLOP counts, dropout, data order, translations."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from repro.models.conv import ConvNet
from repro.models.flops import (
    count_conv_multiply_adds,
    count_conv_parameters,
    count_multiply_adds,
    count_parameters,
    step_flops,
)
from repro.models.mlp import BatchedMLP, HiddenLayer
from repro.training.mlp import translations
from repro.training.random_streams import BatchSampler, Dropout, random_translations


def test_parameter_counts_of_the_papers_networks():
    counts = [count_parameters((784, units, units, 10)) for units in (1200, 800, 300, 30)]
    assert counts == [2_395_210, 1_276_810, 328_810, 24_790]
    assert sum(p.numel() for p in BatchedMLP((784, 30, 30, 10), [0]).parameters()) == 24_790
    acoustic = count_parameters((26 * 40, *(2560,) * 8, 14_000))
    assert acoustic / 1e6 == pytest.approx(84.4, abs=0.05)  # section 4: "about 85M"


def test_flop_counts_are_those_of_pytorchs_counter():
    sizes, batch, models = (12, 7, 5, 3), 16, 2
    net, inputs = BatchedMLP(sizes, range(models)), torch.rand(batch, 12)
    with FlopCounterMode(display=False) as step:
        net(inputs).sum().backward()
    assert step.get_total_flops() == models * step_flops(sizes, batch)
    with FlopCounterMode(display=False) as test_time:
        net.logits(inputs)
    assert test_time.get_total_flops() == 2 * models * batch * count_multiply_adds(sizes)


def test_multiply_adds_of_a_convolutional_network_are_those_of_pytorchs_counter():
    net, images = ConvNet(3, 4, 10, 0), torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert sum(p.numel() for p in net.parameters()) == count_conv_parameters(3, 4, 10)
    with FlopCounterMode(display=False) as test_time:
        net.logits(images)
    assert test_time.get_total_flops() == 2 * len(images) * count_conv_multiply_adds(3, 4, 10, 32)


def test_a_member_starts_as_the_net_of_its_seed():
    together = BatchedMLP((12, 7, 5, 3), [3, 1, 4])
    for m, seed in enumerate((3, 1, 4)):
        alone = BatchedMLP((12, 7, 5, 3), [seed])
        for a, b in zip(alone.parameters(), together.parameters(), strict=True):
            assert torch.equal(a[0], b[m])


def test_hidden_layer_has_the_gradient_of_plain_autograd():
    torch.manual_seed(0)
    inputs, weight, bias = torch.randn(2, 9, 6), torch.randn(2, 6, 5), torch.randn(2, 1, 5)
    mask = Dropout([0, 1], 0, 0.0, 0.5).hidden_mask(0, 9, 5)
    gradients = []
    for layer in (
        lambda x, w, b: HiddenLayer.apply(x, w, b, mask, None),
        lambda x, w, b: torch.relu(x @ w + b) * mask.factors(x.dtype),
    ):
        leaves = [t.clone().requires_grad_() for t in (inputs, weight, bias)]
        layer(*leaves).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)


def test_constraint_bounds_incoming_norms_and_is_idempotent():
    net = BatchedMLP((50, 40, 30, 10), [0, 1])
    last = net.weights[-1].clone()
    net.clip_weight_norms(0.8)
    norms = [torch.linalg.vector_norm(weight.detach(), dim=1) for weight in net.weights[:-1]]
    assert all(float(norm.max()) <= 0.8 + 1e-6 for norm in norms)
    once = [weight.clone() for weight in net.weights]
    net.clip_weight_norms(0.8)
    for a, b in zip(once, net.weights, strict=True):
        torch.testing.assert_close(a, b)
    assert torch.equal(net.weights[-1], last)


@pytest.mark.parametrize(("drop", "threshold"), [(0.2, 51), (0.5, 128)])
def test_dropout_drops_what_it_says_and_keeps_the_mean(drop, threshold):
    """0.2 means that a fifth is dropped, not kept."""
    drawn = Dropout([0, 1], 5, 0.0, drop).hidden_mask(0, 400, 500)
    mask, scale = drawn.factors(torch.float32), drawn.scale
    assert scale == pytest.approx(256 / (256 - threshold))
    assert mask.unique().tolist() == pytest.approx([0.0, scale])
    assert float((mask == 0).float().mean()) == pytest.approx(threshold / 256, abs=0.005)
    assert float(mask.mean()) == pytest.approx(1, abs=0.01)
    assert not torch.equal(mask[0], mask[1])


def test_dropout_depends_on_seed_and_step_only():
    draws = [Dropout(seeds, step, 0, 0.5).hidden_mask(0, 8, 16).factors(torch.float32) for seeds, step in
             (([7], 3), ([7], 3), ([7], 4), ([8], 3))]  # fmt: skip
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2]) and not torch.equal(draws[0], draws[3])
    together = Dropout([8, 7], 3, 0, 0.5).hidden_mask(0, 8, 16).factors(torch.float32)
    assert torch.equal(together[1:], draws[0])


def test_every_pass_shows_every_case_once():
    order = BatchSampler(3, torch.arange(10, 110), batch_size=30)
    seen = torch.cat([order.indices(step) for step in range(10)])
    for epoch in seen.split(100):
        assert sorted(epoch.tolist()) == list(range(10, 110))
    assert not torch.equal(seen[:100], seen[100:200])
    assert torch.equal(BatchSampler(3, torch.arange(10, 110), batch_size=30).indices(7), seen[210:240])


def test_jitter_translates_and_keeps_the_mass_that_stays_inside():
    image = torch.zeros(28, 28)
    image[10:18, 9:20] = torch.rand(8, 11)
    views = translations(image.view(1, -1), 2)
    assert views.shape == (1, 5, 5, 28, 28)
    for row in range(5):
        for column in range(5):
            moved = torch.roll(image, (2 - row, 2 - column), dims=(0, 1))
            assert torch.equal(views[0, row, column], moved)
    rows, columns = random_translations(0, 0, 5000, 2)
    assert set(rows.tolist()) == set(columns.tolist()) == {0, 1, 2, 3, 4}
