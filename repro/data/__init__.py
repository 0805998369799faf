"""Data sets: where every array comes from, checked against a digest before it is used.

``types`` holds what a data set is once it is read, ``sources`` the setting that selects one, ``download`` the code that
fetching shares, ``embedded`` the format of data sets that are files of this package; one module for each image data set
(``mnist``, ``cifar100``, ``icons``, ``letters``, and ``image_folder`` with ``folder_layout`` and ``pictures``), and
``speech`` for corpora. Augmentation and batches are in ``repro.training``, acoustic features in ``repro.speech``.
"""
