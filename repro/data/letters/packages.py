"""The npm packages of typefaces that the letters are built from: the pinned list, fetching and reading.

``files/packages.csv`` pins a version and a digest for each. It lists the packages ``@fontsource/...`` of families that
have Latin letters with accents and any of Vietnamese, Cyrillic and Greek, as the npm package google-font-metadata 6.0.8
tells, in a regular upright weight, and no Chinese, Japanese or Korean, whose packages are large. Families that are no
text faces (outlines, dirt, mazes, skeletons of layouts) are not listed.
"""

import csv
import json
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from repro.data.download import file_digest, report
from repro.errors import UserError

LIST = Path(__file__).parent / "files" / "packages.csv"
BATCH = 16  # packages that one call of npm fetches
# The files of a package hold different characters. A character in several is taken from the first of these.
SUBSETS = ("latin", "latin-ext", "vietnamese", "cyrillic", "cyrillic-ext", "greek", "greek-ext", "math", "symbols")


@dataclass(frozen=True)
class Package:
    """A pinned npm package: name, version and the SHA-256 of its tarball."""

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        """Return the package as messages name it, with its digest."""
        return f"{self.spec} (sha256 {self.sha256[:12]}...)"

    @property
    def spec(self) -> str:
        """Return name and version as npm takes them."""
        return f"{self.name}@{self.version}"

    def path(self, folder: Path) -> Path:
        """Return the path that npm gives the tarball in a folder."""
        return folder / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"


@dataclass(frozen=True)
class Typeface:
    """A family in its regular weight: name, version, license (SPDX), copyright, and its font files (WOFF) in order."""

    id: str
    family: str
    version: str
    license: str
    copyright: str
    fonts: tuple[bytes, ...]


def pinned() -> list[Package]:
    """Return the packages of the committed list."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return [Package(**row) for row in csv.DictReader(file)]


def fetch(packages: Sequence[Package], folder: Path) -> None:
    """Fetch the packages that the folder lacks, with npm.

    Raises:
        UserError: npm is missing, or a package cannot be fetched.
    """
    missing = [package for package in packages if not package.path(folder).exists()]
    for first in range(0, len(missing), BATCH):
        batch = missing[first : first + BATCH]
        report(f"fetching packages {first + 1} to {first + len(batch)} of {len(missing)}")
        if not _pack(batch, folder):
            # One package that is gone fails all of a call: the others come one by one.
            for package in batch:
                if not package.path(folder).exists() and not _pack([package], folder):
                    raise UserError(f"{package}: could not be fetched with npm; put its tarball into --packages")


def _pack(packages: Sequence[Package], folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    specs = [package.spec for package in packages]
    command = ["npm", "pack", *specs, "--silent", "--pack-destination", str(folder)]
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=sys.stderr)
    except OSError as error:
        raise UserError(f"npm cannot be run ({error}); put the tarballs into --packages") from error
    return done.returncode == 0 and all(package.path(folder).exists() for package in packages)


def read(package: Package, folder: Path) -> Typeface:
    """Read a package in memory.

    Raises:
        UserError: the tarball is missing, not the pinned one, or without a regular weight.
    """
    path = package.path(folder)
    digest = file_digest(path, "sha256")
    if digest is None:
        raise UserError(f"{path}: cannot be read; it must be {package}")
    if digest != package.sha256:
        raise UserError(f"{path}: is not {package} but has sha256 {digest[:12]}...")
    id = package.name.rpartition("/")[-1]
    wanted = {f"package/files/{id}-{subset}-400-normal.woff": subset for subset in SUBSETS}
    fonts, metadata = {}, {}
    with tarfile.open(path, "r|gz") as tarball:
        for member in tarball:
            if (subset := wanted.get(member.name)) and (file := tarball.extractfile(member)):
                fonts[subset] = file.read()
            elif member.name == "package/metadata.json" and (file := tarball.extractfile(member)):
                metadata = json.load(file)
    if "latin" not in fonts or not metadata:
        raise UserError(f"{path}: has no regular weight or no metadata")
    license = metadata["license"]
    return Typeface(
        id,
        metadata["family"],
        package.version,
        license["type"],
        " ".join(license["attribution"].split()),
        tuple(fonts[subset] for subset in SUBSETS if subset in fonts),
    )
