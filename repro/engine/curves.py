"""Curves of runs for TensorBoard, written while they train (``--log tensorboard``)."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.errors import UserError


@dataclass
class CurveLog:
    """Event files below ``folder``, in a folder for each run; every process has writers of its own."""

    folder: Path
    _writers: dict[str, Any] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_writers": {}}

    def write(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write values of a run at a step, each to a curve of its name, at once."""
        if run not in self._writers:
            # Points from here on that an interrupted training wrote are not shown twice.
            self._writers[run] = summary_writer()(str(self.folder / run), purge_step=step)
        writer = self._writers[run]
        for name, value in values.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    def close(self) -> None:
        """Close the files of this process."""
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            with contextlib.suppress(OSError):  # what was written before is kept
                writer.close()


def summary_writer() -> Any:
    """Return TensorBoard's writer class.

    Raises:
        UserError: TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            '--log tensorboard: TensorBoard is not installed; pip install -e ".[tensorboard]" in the checkout'
        ) from error
    return SummaryWriter
