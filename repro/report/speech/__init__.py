"""The report on sections 4 and 6, from the records alone.

``queries`` selects records, ``analysis`` computes and judges, ``remarks`` puts results into words; ``tables``,
``figures`` and ``section`` lay them out, and ``notes`` holds the prose. Nothing here trains or decodes.
"""
