"""Networks that more than one experiment trains, and their sizes.

``base`` is the interface that the trainers require, ``mlp`` the fully connected networks, trained many at a time,
``conv`` the convolutional network, ``flops`` the counts of parameters and operations. Losses live in ``kd``, training
in ``training``; models of a single experiment (specialists, the variants' students) live with that experiment.
"""
