"""Section 3 of Hinton, Vinyals & Dean 2015 (arXiv 1503.02531) on MNIST: teacher of 2x1200 units, students of 2x800.

``python -m repro.minimal [--data FOLDER]`` prints 122 test errors for the teacher, 181 for the student alone and 144
for the student with soft targets (paper: 67, 146, 74) after 95 s on 2 cores with AMX; without bf16 it runs in fp32.
"""

import argparse
import os
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from repro.data import mnist

TEMPERATURE, BATCH_SIZE, TEACHER, STUDENT = 20.0, 256, 1200, 800
CAPABILITIES: dict[str, bool] = getattr(torch.cpu, "get_capabilities", lambda: {})()  # of the processor
BF16 = CAPABILITIES.get("amx_bf16", False) or CAPABILITIES.get("avx512_bf16", False)


def distillation_loss(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """Return section 2's loss on soft targets, T^2 KL(teacher || student), averaged over the batch, in nats."""
    return F.kl_div(F.log_softmax(student / T, -1), F.softmax(teacher / T, -1), reduction="batchmean") * T**2


def dropout(x: Tensor, p: float) -> Tensor:
    """Return inverted dropout of ``x`` by random bytes: much cheaper on a CPU than ``F.dropout``'s Bernoulli draws."""
    threshold, size = round(256 * p), x.numel()
    random = torch.randint(-(2**63), 2**63 - 1, (size // 8 + 1,)).view(torch.uint8)[:size].view(x.shape)
    return x * (random >= threshold) * (256 / (256 - threshold))


class MLP(nn.Module):
    """Two hidden ReLU layers and ten logits; these are fp32, because bf16 rounds away their signal at T = 20."""

    def __init__(self, hidden: int, dropout: tuple[float, float, float] = (0.0, 0.0, 0.0)):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in ((784, hidden), (hidden, hidden), (hidden, 10)))
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        for layer, p in zip(self.layers, self.dropout, strict=True):
            x, last = dropout(x, p) if self.training and p else x, layer is self.layers[-1]
            with torch.autocast("cpu", torch.bfloat16, enabled=BF16 and not last):
                x = layer(x.float()) if last else layer(x).relu()
        return x


def translate(images: Tensor, pixels: int) -> Tensor:
    """Return (batch, 784) images, each translated at random by up to ``pixels`` each way and filled with zeros."""
    views = F.pad(images.view(-1, 28, 28), (pixels,) * 4).unfold(1, 28, 1).unfold(2, 28, 1)
    rows, columns = torch.randint(2 * pixels + 1, (2, len(images)))
    return views[torch.arange(len(images)), rows, columns].flatten(1)


def train(model: MLP, data: mnist.ImageSet, epochs: int, rate: float, soft: Tensor | None = None, shift: int = 0):
    """Train on hard targets or, where the teacher's logits ``soft`` (example, class) are given, on them alone."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.0, fused=True)
    batches = [batch for _ in range(epochs) for batch in torch.randperm(len(data)).split(BATCH_SIZE)]
    for step, batch in enumerate(batches):
        logits = model(translate(data.images[batch], shift) if shift else data.images[batch])
        hard = F.cross_entropy(logits, data.labels[batch])
        loss = hard if soft is None else distillation_loss(logits, soft[batch], TEMPERATURE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate * (1 - step / len(batches))
        optimizer.step()
    return model.eval()


def main(data: mnist.Mnist, epochs: tuple[int, int, int] = (16, 6, 14)) -> None:
    """Train the teacher and both students; print their test errors beside the paper's."""
    torch.manual_seed(0)
    teacher = train(MLP(TEACHER, (0.2, 0.5, 0.5)), data.train, epochs[0], 2e-3, shift=2)
    with torch.no_grad():
        soft = teacher(data.train.images)
    alone, distilled = MLP(STUDENT), MLP(STUDENT)
    train(alone, data.train, epochs[1], 1e-3)
    train(distilled, data.train, epochs[2], 4e-3, soft)
    for name, model, paper in (("teacher", teacher, 67), ("student", alone, 146), ("student, T = 20", distilled, 74)):
        with torch.no_grad():
            errors = int((model(data.test.images).argmax(-1) != data.test.labels).sum())
        print(f"{name:15} {errors:4} test errors (paper: {paper})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=os.environ.get("REPRO_DATA", "data"), help="folder of MNIST")
    main(mnist.load(Path(parser.parse_args().data)))
