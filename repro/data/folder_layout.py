"""Files of an image folder: the parts, their class folders, the images in them, and what is left out.

root/train/<class>/**    root/test/<class>/**    optional: root/validation/<class>/** (or valid, or val)
"""

import unicodedata
from collections import defaultdict, deque
from dataclasses import dataclass
from pathlib import Path

from repro.data import pictures
from repro.errors import UserError
from repro.names import text_of

VALIDATION = ("validation", "valid", "val")
# Files and folders that operating systems, file servers and archives add; names without regard to case.
METADATA = {
    "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information", "thumbs.db",
    "ehthumbs.db", "desktop.ini",
}  # fmt: skip
HIDDEN = "hidden, or metadata of an operating system"
BROKEN = "broken link"
REPEATED = "link to a folder that is read already, or that holds this one"
SPECIAL = "neither a file nor a folder"
NO_IMAGE = "not in an image format, by the extension"
NO_CLASS = "file outside the class folders"
NO_PART = "folder that is none of train, test and validation"

Labelled = list[tuple[Path, int]]


@dataclass(frozen=True)
class Layout:
    """The image files of each part with their classes, and the files left out.

    Attributes:
        folder_names: names of train's class folders, as the file system gives them.
        classes: the same as text.
        files: the image files of each part, each with the index of its class.
        left_out: files and folders that are not read, by reason, relative to the root.
    """

    folder_names: tuple[str, ...]
    classes: tuple[str, ...]
    files: dict[str, Labelled]
    left_out: dict[str, list[str]]


def find(root: Path) -> Layout:
    """Find the images of all parts under ``root``; none of them is opened.

    Raises:
        UserError: a folder is missing or empty, two class folders have one name, or a class is not in train.
    """
    search = _Search(root)
    folders = search.part_folders()
    train = search.class_folders(folders["train"])
    classes = tuple(train)
    if len(classes) < 2:
        raise UserError(f"data folder {folders['train']}: must hold two or more classes, has only {classes[0]!r}")
    files = {"train": search.images(folders["train"], train, classes)}
    for part in [part for part in folders if part != "train"]:
        class_folders = search.class_folders(folders[part])
        if unknown := [name for name in class_folders if name not in train]:
            named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            raise UserError(f"data folder {folders[part]}: has classes that train does not have: {named}")
        files[part] = search.images(folders[part], class_folders, classes)
    names = tuple(folder.name for folder in train.values())
    return Layout(names, classes, files, search.left_out)


class _Search:
    """The search of one root, which collects what is left out."""

    def __init__(self, root: Path):
        self.root = root
        self.left_out: defaultdict[str, list[str]] = defaultdict(list)
        self.extensions = pictures.extensions()

    def leave_out(self, path: Path, reason: str) -> None:
        """Add a file or folder to those that are left out."""
        self.left_out[reason].append(text_of(path.relative_to(self.root)) + ("/" if path.is_dir() else ""))

    def part_folders(self) -> dict[str, Path]:
        """Return the folder of each part."""
        root = self.root
        if not root.is_dir():
            raise UserError(f"data folder {root}: there is no such folder")
        for part in ("train", "test"):
            if not (root / part).is_dir():
                raise UserError(f"data folder {root}: has no folder {part!r}; it must hold {part}/<class>/<images>")
        folders = {"train": root / "train", "test": root / "test"}
        validation = [name for name in VALIDATION if (root / name).is_dir()]
        if len(validation) > 1:
            named = " and ".join(map(repr, validation))
            raise UserError(f"data folder {root}: has {named}; keep one of them")
        if validation:
            folders["validation"] = root / validation[0]
        for path in sorted(root.iterdir()):
            if path.is_dir() and path not in folders.values() and not _is_hidden(path):
                self.leave_out(path, NO_PART)
        return folders

    def class_folders(self, folder: Path) -> dict[str, Path]:
        """Return the class folders of a part by name, in the order of the file system's names.

        Names are compared in Unicode's composed form, for macOS writes some letters as two characters.
        """
        class_folders: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            if reason := HIDDEN if _is_hidden(path) else _unusable(path):
                self.leave_out(path, reason)
            elif not path.is_dir():
                self.leave_out(path, NO_CLASS)
            else:
                name = unicodedata.normalize("NFC", text_of(path.name))
                if name in class_folders:
                    raise UserError(f"data folder {folder}: has two class folders that read {name!r}; rename one")
                class_folders[name] = path
        if not class_folders:
            raise UserError(f"data folder {folder}: has no class folders; it must hold <class>/<images>")
        return class_folders

    def images(self, part_folder: Path, class_folders: dict[str, Path], classes: tuple[str, ...]) -> Labelled:
        """Return the image files in the class folders of a part, each with the index of its class.

        Links to folders are followed once all other folders are read; no folder is read twice, so that cycles end.
        """
        real_root = self.root.resolve()
        seen = {real_root, *real_root.parents, part_folder.resolve()}
        folders: deque[tuple[Path, int]] = deque()
        links: deque[tuple[Path, int]] = deque()
        files: Labelled = []

        def enter(folder: Path, label: int) -> None:
            (links if folder.is_symlink() else folders).append((folder, label))

        for name, folder in class_folders.items():
            enter(folder, classes.index(name))
        while folders or links:
            folder, label = (folders or links).popleft()
            if (real := folder.resolve()) in seen:
                self.leave_out(folder, REPEATED)
                continue
            seen.add(real)
            for path in sorted(folder.iterdir()):
                if reason := HIDDEN if _is_hidden(path) else _unusable(path):
                    self.leave_out(path, reason)
                elif path.is_dir():
                    enter(path, label)
                elif path.suffix.lower() in self.extensions:
                    files.append((path, label))
                else:
                    self.leave_out(path, NO_IMAGE)
        present = {label for _, label in files}
        for name, folder in class_folders.items():
            if classes.index(name) not in present:
                raise UserError(f"data folder {folder}: the class is empty (no file in an image format)")
        return files


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in METADATA


def _unusable(path: Path) -> str:
    """Return why a path is neither a file nor a folder; empty if it is one of them."""
    if path.is_file() or path.is_dir():
        return ""
    return SPECIAL if path.exists() else BROKEN
