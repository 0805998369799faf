"""Sections 5, 6.1 and 8: a generalist, specialists on the classes that it confuses, and their combination.

Here: the settings (``settings``), the runs (``runs``), what is run in which order (``experiment``, of one seed
``pipeline``), the recipe search (``search``), how a run is executed (``runner``), the choice of classes
(``clustering``), the model and losses of one specialist (``specialist``), what training starts from (``starts``),
teachers that see the student's views (``same_view``), equation 5 (``inference``), metrics (``evaluate``) and example
images (``examples``).

Not here: distillation losses (``repro.kd``), the convolutional network (``repro.models``), the training loop
(``repro.training``), image data (``repro.data``), and tables, figures and findings (``repro.report.specialists``).
"""
