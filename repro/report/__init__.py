"""From records to tables, figures, verdicts and pages. Nothing here trains or reads data sets.

``build`` is the entry; each experiment has a package with its ``analysis``, ``tables``, ``figures`` and ``section``;
``pages`` renders. The same records give the same bytes.
"""

import os

# Matplotlib refuses to be imported where this names a backend that is not installed, as notebooks make it do.
os.environ["MPLBACKEND"] = "agg"
