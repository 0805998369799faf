"""From scores of tied states to words and word error rates.

Here are the trigram language model, pocketsphinx's search with a network's scores (``decoder``; its C library is
called in ``sphinx`` only), the choice of the acoustic scale (``pipeline``) and word errors (``wer``). Training of
acoustic models and forced alignment are in ``repro.speech``.
"""
