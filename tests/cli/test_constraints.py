"""constraints.txt: the exact versions of the committed results, for every package that the project names."""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9._-]+)==(\S+)")


def normalized(name: str) -> str:
    """Return a package's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    """Return the versions in constraints.txt by package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [PIN.fullmatch(line) for line in lines if line and not line.startswith("#")]
    assert all(matches), "each line must be a comment or name==version"
    return {normalized(match[1]): match[2] for match in matches if match}


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {normalized(re.match(r"[A-Za-z0-9._-]+", requirement)[0]) for requirement in required}
    assert names <= pins().keys()


def test_the_pinned_torch_is_that_of_every_committed_record():
    records = (ROOT / "results").glob("*/*/records.jsonl")
    versions = {json.loads(line)["machine"]["torch"].partition("+")[0] for path in records for line in path.open()}
    assert versions == {pins()["torch"]}
