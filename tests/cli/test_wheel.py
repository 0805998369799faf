"""An installed wheel is complete: it runs without a checkout."""

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build a wheel of the working tree without network access."""
    if any(importlib.util.find_spec(name) is None for name in ("pip", "setuptools")):
        pytest.skip("building a wheel requires pip and setuptools")
    source, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheel"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("repro", "paper_configs"):  # a copy, because building leaves files behind
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


def test_a_wheel_contains_all_code_data_and_profiles_and_nothing_else(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {file for name in ("repro", "paper_configs") for file in (ROOT / name).rglob("*") if file.is_file()}
    assert packed == {file.relative_to(ROOT).as_posix() for file in files if "__pycache__" not in file.parts}
    assert {
        "repro/data/icons/files/icons.npz",
        "repro/data/letters/files/letters.npz",
        "repro/report/pages/templates/index.html.j2",
        "paper_configs/mnist/paper.toml",
    } <= packed


def test_an_installed_wheel_trains_and_reports_in_an_empty_folder(wheel, tmp_path, real_folder):
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    subprocess.run([*PIP, "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)], check=True)
    words = ["mnist", "--profile", "smoke", "--set", "seeds=1"]
    environment = os.environ | {"PYTHONPATH": str(target), "REPRO_DATA": str(real_folder), "CUDA_VISIBLE_DEVICES": ""}
    run = lambda *command: subprocess.run(  # noqa: E731
        [sys.executable, *command], cwd=empty, env=environment, capture_output=True, text=True, check=False
    )
    icons = run("-c", "import repro; from repro.data import icons; print(repro.__file__, len(icons.load().classes))")
    assert icons.stdout.split()[0] == str(target / "repro" / "__init__.py") and int(icons.stdout.split()[1]) > 100
    done = run("-m", "repro", *words)
    assert done.returncode == 0, done.stderr
    assert (empty / "runs/smoke-changed/results/index.html").stat().st_size > 10_000 and "Claims" in done.stdout
