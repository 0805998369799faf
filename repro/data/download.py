"""Where data sets that are fetched are kept."""

import os
from pathlib import Path

from repro.errors import UserError


def data_folder(setting: Path | None) -> Path:
    """The data directory: the setting, else REPRO_DATA, else ``data`` in the working directory.

    Raises:
        UserError: it is something other than a folder.
    """
    folder = setting or Path(os.environ.get("REPRO_DATA", "data"))
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--data {folder}: is not a folder")
    return folder
