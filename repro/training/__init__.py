"""Training: the loop that all experiments share, and its trainers for MLPs and for images.

``trainer`` is the loop with its checkpoints, ``mlp`` and ``images`` the trainers, ``recipe`` the hyperparameters,
``optimizers`` the update rules, ``random_streams`` all randomness, ``compute`` device and precision. ``fused_update``
with the compiled ``kernels`` and ``loss_kernel`` makes steps fast on CPUs, ``cuda_graphs`` on GPUs.

Losses live in ``kd``, networks in ``models``; which runs are trained, cached and resumed is decided in ``engine``.
Trainers of a single experiment (acoustic models, the variants' methods) live with that experiment.
"""
