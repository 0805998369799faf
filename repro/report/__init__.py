"""From records to tables, figures, verdicts and pages. Nothing here trains or reads data sets.

``build`` is the entry; each experiment has a package with its ``analysis``, ``tables``, ``figures`` and ``section``;
``pages`` renders. The same records give the same bytes.
"""

import importlib.util
import os
from pathlib import Path

# Matplotlib refuses to be imported where this names a backend that is not installed, as notebooks make it do.
os.environ["MPLBACKEND"] = "agg"
# Its own settings file in place of the user's, which may be malformed.
if (_matplotlib := importlib.util.find_spec("matplotlib")) and _matplotlib.origin:
    os.environ["MATPLOTLIBRC"] = str(Path(_matplotlib.origin).parent / "mpl-data" / "matplotlibrc")
