"""What the training loop knows of the nets that it trains."""

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Model(nn.Module):
    """Nets side by side, or a single one: ``len`` says how many. They multiply in ``dtype``."""

    dtype: torch.dtype

    def __len__(self) -> int:
        raise NotImplementedError

    def logits(self, images: Tensor) -> Float[Tensor, "models case classes"]:
        """Logits at test time, with a leading axis of nets."""
        raise NotImplementedError

    def clip_weight_norms(self, max_norm: float) -> None:
        """Bound the norm of a hidden unit's incoming weights; not all nets can."""
        raise NotImplementedError


ModelType = TypeVar("ModelType", bound=Model)
