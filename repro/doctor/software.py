"""Checks of versions, packages, environment variables and the terminal."""

import importlib
import locale
import os
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from repro import __version__
from repro.doctor.finding import Finding, error, ok, warning
from repro.errors import reason

PACKAGE = "repro-distillation"
CHECKOUT = Path(__file__).parents[2]
NEWEST_PYTHON = (3, 13)  # of those in docs/cli.md
# Modules whose name is not that of their package.
MODULES = {"espeakng-loader": "espeakng_loader", "pillow": "PIL", "markdown-it-py": "markdown_it",
           "scikit-learn": "sklearn"}  # fmt: skip
REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+).*?>=([\d.]+)")
VARIABLES = (
    "REPRO_DATA", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "RAY_ADDRESS", "MPLBACKEND",
    "MATPLOTLIBRC", "TMPDIR", "PYTHONPATH", "PYTHONIOENCODING", "LANG", "LC_ALL",
)  # fmt: skip
# Variables that restrict the instructions of the processor, and with them the speed.
RESTRICTING = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
PRINTED = "§–−×é"  # characters of tables and names


def versions() -> Iterator[Finding]:
    """Yield the versions of this package, of Python and of the platform."""
    system = f"Python {platform.python_version()}, {platform.platform()}"
    if sys.version_info[:2] > NEWEST_PYTHON:
        yield warning(system, f"tried with Python 3.11 to {'.'.join(map(str, NEWEST_PYTHON))}")
    else:
        yield ok(system)
    from repro.session import commit  # needs PyTorch

    yield ok(f"repro {__version__}, commit {commit()}, in {Path(__file__).parents[1]}")


def packages() -> Iterator[Finding]:
    """Yield the dependencies that are missing, too old or cannot be loaded, then the versions of all others."""
    remedy = "run `make` again, or `pip install -e .` in the checkout"
    usable = {}
    for name, minimum in dict(map(_requirement, _requirements())).items():
        try:
            version = metadata.version(name)
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
        except metadata.PackageNotFoundError:
            yield error(f"{name} is not installed", remedy)
        except (Exception, SystemExit) as problem:  # a broken package raises anything as it is loaded
            yield error(f"{name} {version} cannot be loaded ({type(problem).__name__}: {reason(problem)})", remedy)
        else:
            usable[name] = version
            if _numbers(version) < _numbers(minimum):
                yield error(f"{name} {version} is too old, {minimum} is needed", remedy)
    yield ok(", ".join(f"{name} {version}" for name, version in usable.items()))
    yield from _differences(usable)


def _requirements() -> list[str]:
    """Return the lines of the dependencies: those of the checkout, else those of the installed package."""
    project = CHECKOUT / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [line for line in metadata.requires(PACKAGE) or [] if "extra ==" not in line]


def _requirement(line: str) -> tuple[str, str]:
    """Return name and minimum version of a requirement such as ``torch>=2.6``."""
    match = REQUIREMENT.match(line)
    return (match[1], match[2]) if match else (line, "0")


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _differences(versions: dict[str, str]) -> Iterator[Finding]:
    """Yield how versions differ from those of the committed results, if these are known here."""
    constraints = CHECKOUT / "constraints.txt"
    if not constraints.is_file():
        return
    lines = re.findall(r"^([\w.-]+)==(\S+)", constraints.read_text(encoding="utf-8"), re.MULTILINE)
    pinned = {name.lower(): version for name, version in lines}
    other = [
        f"{name} ({pinned[name]})"
        for name, version in versions.items()
        if pinned.get(name, version) != version.partition("+")[0]
    ]
    if other:
        yield ok(f"other versions than those of the committed results: {', '.join(other)}", "LOCKED=1 installs those")
    else:
        yield ok("the versions of the committed results")


def variables() -> Iterator[Finding]:
    """Yield the environment variables that matter, and those of them that are malformed or slow commands down."""
    present = {name: os.environ[name] for name in (*VARIABLES, *RESTRICTING) if name in os.environ}
    usable = dict(present)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in present and not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", present[name]):
            yield warning(f"{name}={usable.pop(name)} is not a number of threads", f"unset {name}")
    for name in RESTRICTING:
        if name in present:
            yield warning(f"{name}={usable.pop(name)} restricts the processor", f"unset {name} for full speed")
    if usable or not present:
        yield ok(", ".join(f"{name}={value}" for name, value in usable.items()) or "none of those that matter is set")


def terminal() -> Iterator[Finding]:
    """Yield the encodings, and whether they hold the characters of our tables."""
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    kind = "a terminal" if sys.stdout.isatty() else "a file or pipe"
    text = f"standard output is {kind}, {encoding}; file names {sys.getfilesystemencoding()}, {locale.getlocale()[0]}"
    try:
        PRINTED.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        yield warning(f"{text}; not all characters of the tables can be printed", "set PYTHONIOENCODING=utf-8")
    else:
        yield ok(text)
