"""Execution and storage of runs: keys, records, checkpoints, executors; README.md in this folder describes them."""
