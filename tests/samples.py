"""Transfer sets, recipes and methods that several test modules share."""

import torch

from repro import config
from repro.training.mlp import TransferSet
from repro.training.recipe import Recipe
from repro.variants.settings import VariantsSettings

SIZES = (784, 16, 12, 10)
NOISY = Recipe(epochs=1, batch_size=50, learning_rate=0.003, warmup_fraction=0.2, weight_decay=0.01, max_norm=1.0,
               input_dropout=0.2, hidden_dropout=0.5, max_translation=1)  # fmt: skip


def transfer_set(toy, soft: bool = True) -> TransferSet:
    draw = torch.Generator().manual_seed(5)
    teacher = 4 * torch.randn(len(toy.train), 10, generator=draw) if soft else None
    return TransferSet(toy.train.images, toy.train.labels, teacher)


# The methods of the profiles: these tests do not depend on methods that users add.
METHODS = sorted(
    {plan.method for plan in config.load(VariantsSettings, config.profile_path("variants", "icons")).methods}
)
