"""Interface between the training loop and the models that it trains."""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Model(nn.Module):
    """One model, or several side by side: ``len`` is their number. Matrices multiply in ``dtype``."""

    dtype: torch.dtype

    def __len__(self) -> int:
        raise NotImplementedError

    def logits(self, images: Tensor) -> Float[Tensor, "model example class"]:
        """Return logits at test time."""
        raise NotImplementedError

    def clip_weight_norms(self, max_norm: float) -> None:
        """Bound the L2 norm of a hidden unit's incoming weights; not every model supports it."""
        raise NotImplementedError


ModelType = TypeVar("ModelType", bound=Model)
