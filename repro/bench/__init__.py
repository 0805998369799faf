"""``repro bench``: every speed claim of the project as a ratio of two times, measured in turn on one machine.

``timing`` times the sides of a ratio, ``mnist``, ``specialists`` and ``speech`` define the ratios of an experiment. The
ratios' names are those of ``results/bench*.json``.
"""
