"""Networks and their sizes.

``base`` is the interface that the trainers require, ``mlp`` the fully connected networks, trained many at a time,
``conv`` the convolutional network with its parts ``fused_norm`` and ``pixel_blocks``, ``cifar_resnets`` and
``torchvision_nets`` those of the literature, ``flops`` the counts of parameters and operations. Losses live in ``kd``,
training in ``training``, the specialist of section 5 in ``specialists``.
"""
