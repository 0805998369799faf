"""Fused batch normalization and ReLU: equal to PyTorch's two operations, forward and backward."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from repro.models.conv import ConvNet
from repro.models.fused_norm import norm_relu


def norm_of(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        norm.weight.uniform_(-1, 2)
        norm.bias.normal_()
    return norm


def hidden_of(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    hidden = (2 * torch.randn(shape) + 3).to(dtype)
    return hidden.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("shape", [(64, 8, 16, 16), (32, 32, 4, 4), (33, 5, 7, 7), (3, 100, 1, 1), (4, 3, 1, 1)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float32, 1e-5)])
def test_equals_batch_norm_and_relu_in_fp32(shape, memory_format, dtype, tolerance):
    torch.manual_seed(0)
    norm, hidden = norm_of(shape[1]), hidden_of(*shape, dtype=dtype)
    upstream = torch.randn(shape).to(dtype).contiguous(memory_format=memory_format)
    reference, same = copy.deepcopy(norm), hidden.detach().float().requires_grad_()
    output, expected = norm_relu(hidden, norm), F.relu(reference(same))
    output.backward(upstream)
    expected.backward(upstream.float())

    def close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float) -> bool:
        return bool((ours.float() - theirs).abs().max() <= tolerance * theirs.abs().max())

    assert output.dtype == hidden.grad.dtype == dtype
    assert type(output.grad_fn).__name__ == "_NormReLUBackward", "by the kernel"
    assert close(output, expected, tolerance) and close(hidden.grad, same.grad, 2 * tolerance)
    for name in ("weight", "bias"):
        assert close(getattr(norm, name).grad, getattr(reference, name).grad, 1e-4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert close(getattr(norm, name).double(), getattr(reference, name).double(), 1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-7), (torch.float32, 1e-5)])
def test_is_as_precise_as_pytorch_where_the_mean_is_large(dtype, tolerance):
    torch.manual_seed(0)
    norm, hidden = norm_of(8), (torch.randn(64, 8, 8, 8) + 100).to(dtype)
    exact = F.relu(copy.deepcopy(norm).double()(hidden.double()))
    assert (norm_relu(hidden, norm).double() - exact).abs().max() <= tolerance * exact.abs().max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-7), (torch.float32, 1e-4)])
def test_an_outlier_where_sums_start_does_not_spoil_the_variance(dtype, tolerance):
    torch.manual_seed(0)
    norm, hidden = norm_of(4), torch.randn(64, 4, 8, 8)
    hidden[0, :, 0, 0] = 1000
    hidden = hidden.to(dtype)
    exact = F.relu(copy.deepcopy(norm).double()(hidden.double()))[1:]
    assert (norm_relu(hidden, norm)[1:].double() - exact).abs().max() <= tolerance * exact.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_second_derivatives_are_those_of_pytorch(dtype):
    results = []
    for relu_of_norm in (norm_relu, lambda hidden, norm: F.relu(norm(hidden))):
        torch.manual_seed(0)
        norm, hidden = norm_of(3), hidden_of(4, 3, 4, 4, dtype=dtype)
        loss = relu_of_norm(hidden, norm).float().square().sum()
        (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
        gradient.float().square().sum().backward()
        results.append((hidden.grad.float(), norm.weight.grad))
    for ours, theirs in zip(*results, strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * float(theirs.abs().max()))


def test_hooks_see_the_norm():
    norm, seen = norm_of(8), []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    norm_relu(hidden_of(4, 8, 2, 2), norm)
    assert seen == [(4, 8, 2, 2)]


def test_not_a_number_stays():
    hidden = hidden_of(4, 8, 2, 2)
    with torch.no_grad():
        hidden[0, 3, 0, 0] = float("nan")
    assert norm_relu(hidden, norm_of(8))[:, 3].isnan().all()


def test_a_single_value_of_a_channel_is_refused_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_relu(hidden_of(1, 8, 1, 1), norm_of(8))


@pytest.mark.parametrize("change", ["fp64", "evaluation"])
def test_otherwise_pytorch_computes_it(change):
    norm, hidden = norm_of(8), hidden_of(4, 8, 2, 2)
    if change == "fp64":
        norm, hidden = norm.double(), hidden.detach().double().requires_grad_()
    else:
        norm.eval()
    assert torch.equal(norm_relu(hidden, norm), F.relu(copy.deepcopy(norm)(hidden)))


def test_does_not_depend_on_the_number_of_threads():
    gradients = []
    for threads in (1, 2):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(0)
            norm, hidden = norm_of(8), hidden_of(64, 8, 16, 16)
            norm_relu(hidden, norm).square().sum().backward()
            gradients.append(torch.cat([hidden.grad.flatten().float(), norm.weight.grad]))
        finally:
            torch.set_num_threads(before)
    assert torch.equal(*gradients)


def test_the_first_kernel_of_a_process_leaves_the_number_of_threads():
    code = """if True:
        import torch
        from torch import nn
        from repro.models.fused_norm import norm_relu
        torch.set_num_threads(1)
        before = torch.get_num_threads()
        norm_relu(torch.randn(4, 8, 4, 4).bfloat16().requires_grad_(), nn.BatchNorm2d(8))
        assert before == 1
        print(torch.get_num_threads())
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120).stdout == b"1\n"


def test_a_network_in_bf16_learns_what_it_learns_in_fp32():
    """Both reach the same training loss on random labels, up to noise."""
    torch.manual_seed(0)
    images, labels = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8), torch.randint(0, 5, (64,))
    losses = {}
    for dtype in (torch.float32, torch.bfloat16):
        net = ConvNet(3, 8, 5, 0, dtype).train()
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        for _ in range(60):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images)[0], labels)
            loss.backward()
            optimizer.step()
        losses[dtype] = loss.item()
    assert max(losses.values()) < 0.2
