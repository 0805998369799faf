"""Where data sets that are fetched are kept."""

import os
from pathlib import Path


def data_folder(setting: Path | None) -> Path:
    """The data directory: the setting, else REPRO_DATA, else ``data`` in the working directory."""
    return setting or Path(os.environ.get("REPRO_DATA", "data"))
