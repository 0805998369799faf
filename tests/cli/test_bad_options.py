"""Malformed options and commands: one line that names the option and what it may be, exit code 2."""

import pytest
import torch

WORDS = {
    # commands
    "mnsit": "No such command 'mnsit'",
    "--bogus": "No such option: --bogus",
    "config": "EXPERIMENT: must be one of mnist, mnist-choice",
    "config nothing": "EXPERIMENT: must be one of mnist, mnist-choice, specialists, speech, variants, not 'nothing'",
    "config mnist extra": "unexpected extra argument(s) (extra)",
    "config mnist --profile nowhere": "profile: must be one of",
    "config variants --profile quick": "profile: quick stands for quick_mnist and quick_icons; name one of them",
    # options
    "mnist --sed 3": "No such option: --sed",
    "mnist extra": "unexpected extra argument(s) (extra)",
    "mnist --set": "Option '--set' requires an argument",
    "mnist --device": "Option '--device' requires an argument",
    "mnist --report-only=maybe": "Option '--report-only' does not take a value",
    "mnist --profile nowhere": "profile: must be one of choice, evening, gpu, gpu_choice, long, paper, quick, smoke",
    "mnist --profile smoke --profile quik": "not 'quik'",
    "specialists --profile nowhere": "cifar100, cifar100_2percent, icons_2percent, icons_search, letters, letters_",
    "variants --profile nowhere": "cifar100, cifar100_resnet, classifier, icons, icons_long, mnist, paper, quick, ",
    "mnist --device tpu": "--device: must be one of auto, cpu, cuda, not 'tpu'",
    "mnist --device cuda": "--device cuda: no CUDA device is there; use --device cpu or auto",
    "mnist --precision fp8": "--precision: must be one of auto, fp32, bf16, not 'fp8'",
    "mnist --profile smoke --executor dask": "--executor: must be one of local, ray, not 'dask'",
    "mnist --profile smoke --log wandb": "--log: must be one of none, tensorboard, not 'wandb'",
    # folders
    "mnist --profile smoke --data file": "--data file: is not a folder",
    "mnist --profile smoke --data file/data": "--data file/data: file is not a folder",
    "specialists --profile smoke --data file": "--data file: is not a folder",
    "speech --profile smoke --data file": "--data file: is not a folder",
    "variants --profile smoke --data file": "--data file: is not a folder",
    "mnist --profile smoke --runs file": "file/smoke: cannot be written to (file is a file, not a folder)",
    "mnist --profile smoke --out out --runs file": "file/mnist: cannot be written to (file is a file, not a folder)",
    "mnist --profile smoke --runs file/runs": "file/runs/smoke: cannot be written to (file is a file, not a folder)",
    "mnist --profile smoke --out file": "file: cannot be written to (file is a file, not a folder)",
    "mnist --profile smoke --out file/out": "file/out: cannot be written to (file is a file, not a folder)",
    "variants --profile quick --out file": "file: cannot be written to (file is a file, not a folder)",
    # data that settings name or rule out
    "specialists --profile smoke --set data.source=folder --set data.folder=nowhere": "nowhere",
    "specialists --profile smoke --set specialists.count=5000": "specialists.count",
    "specialists --profile smoke --set specialists.classes_per_specialist=5000": "specialists.classes_per_",
    # other commands
    "report": "results: there are no records to report on; run an experiment first",
    "report --out missing": "missing/results: there are no records to report on",
    "report --out file": "file/results: there are no records to report on",
    "report --out": "Option '--out' requires an argument",
    "bench --repeats 0": "Invalid value for '--repeats'",
    "bench --repeats two": "Invalid value for '--repeats'",
    "bench --device tpu": "--device: must be one of auto, cpu, cuda",
    "bench --data file": "--data file: is not a folder",
    "bench --out file": "file/results: cannot be written to (file is a file, not a folder)",
    "data --data file": "--data file: is not a folder",
    "icons-build --tarball missing": "--tarball missing: cannot be read",
    "icons-build --tarball file": "--tarball file: is not @iconify/json@",
    "icons-build --tarball .": "--tarball .: cannot be read",
    "letters-build --packages file": "--packages file: is not a folder",
    "letters-build --packages file/below": "--packages file/below: file is not a folder",
    "doctor --profile smoke": "No such option: --profile",
    "doctor --data": "Option '--data' requires an argument",
}


@pytest.mark.parametrize("words", WORDS)
def test_a_malformed_command_line_is_named(error_of, tmp_path, monkeypatch, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "file").write_text("")
    line = error_of(*words.split())
    assert WORDS[words] in line and len(line) < 500
    assert (tmp_path / "file").read_text() == ""
