"""Comparison of later distillation methods under one protocol, and ablations of when distillation helps."""
