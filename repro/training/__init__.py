"""Training: the loop that all experiments share, and its trainers for MLPs and for images.

``trainer`` is the loop with its checkpoints, ``mlp`` and ``images`` the trainers, ``recipe`` the hyperparameters,
``random_streams`` all randomness, ``compute`` device and precision. Losses live in ``kd``, networks in ``models``;
which runs are trained, cached and resumed is decided in ``engine``. Trainers of a single experiment (acoustic
models, the variants' methods) live with that experiment.
"""
