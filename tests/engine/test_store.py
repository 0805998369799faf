"""Store of finished runs: corrupt files, full disks, locks and keys."""

import ast
import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

from repro.engine import files, store
from repro.errors import UserError
from repro.mnist.runner import CODE_DEPENDENCIES

WEIGHTS = {"weights.0": torch.randn(2, 3, 4)}
RECORDS = [{"key": "a", "metrics": {"test_errors": 3}}, {"key": "b", "metrics": {"test_errors": 4}}]


@pytest.fixture
def filled(tmp_path):
    """Store with one group of two runs."""
    (tmp_path / "runs").mkdir()
    filled = store.Store(tmp_path / "runs")
    filled.add("group", RECORDS, WEIGHTS)
    return filled


def test_a_stored_group_can_be_read_again(filled):
    again = store.Store(filled.folder)
    assert again.record("b") == RECORDS[1] and again.record("c") is None
    assert torch.equal(again.weights("b")["weights.0"], WEIGHTS["weights.0"][1:2])


def test_a_corrupt_record_is_quarantined_and_its_runs_count_as_unfinished(filled, capsys):
    path = filled.folder / "group.json"
    path.write_text(path.read_text().replace('"test_errors": 3', '"test_errors": 2'))
    again = store.Store(filled.folder)
    assert again.record("a") is None and "damaged" in capsys.readouterr().err
    assert (filled.folder / "group.json.damaged").exists()


@pytest.mark.parametrize("position", [0, 30, -1])
def test_runs_with_corrupt_weights_count_as_unfinished(filled, capsys, position):
    path = filled.folder / "group.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    again = store.Store(filled.folder)
    assert again.weights("a") is None and again.record("a") is None and again.record("b") is None
    assert "damaged" in capsys.readouterr().err
    again.add("group", RECORDS, WEIGHTS)
    assert store.Store(filled.folder).weights("a") is not None


def test_a_store_that_does_not_repair_changes_nothing(filled, capsys):
    (filled.folder / "group.safetensors").write_bytes(b"damaged")
    (filled.folder / "other.json").write_bytes(b"damaged")
    before = {path.name: path.read_bytes() for path in filled.folder.iterdir()}
    again = store.Store(filled.folder, repairs=False)
    assert again.weights("a") is None and again.record("a") == RECORDS[0]
    assert "other.json is damaged" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in filled.folder.iterdir()} == before


def test_a_file_that_cannot_be_read_now_is_not_taken_for_damaged(filled, monkeypatch):
    def refused(path):
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        with pytest.raises(UserError, match=r"group.safetensors: cannot be read \(Too many open files\)"):
            filled.weights("a")
        with pytest.raises(UserError, match=r"group.json: cannot be read"):
            store.Store(filled.folder)
    assert store.Store(filled.folder).weights("a") is not None


def test_a_record_that_another_process_removed_is_no_error(filled):
    filled.read("gone")
    assert filled.record("a") == RECORDS[0]


def test_a_truncated_tensor_file_is_corrupt(tmp_path):
    files.save_tensors(tmp_path / "file", WEIGHTS, {})
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-7])
    with pytest.raises(files.CorruptFile, match="file"):
        files.load_tensors(tmp_path / "file")


def test_a_full_disk_raises_a_user_error_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write(path, b"old")
    monkeypatch.setattr(
        os, "fsync", lambda number: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
    )
    with pytest.raises(UserError, match="No space left"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_second_command_cannot_open_a_locked_store(filled):
    with (
        store.opened(filled.folder) as first,
        pytest.raises(UserError, match=f"process {os.getpid()} is writing"),
    ):
        assert first.record("a")
        with store.opened(filled.folder):
            pass


def test_a_folder_that_cannot_be_made_raises_a_user_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"), store.opened(tmp_path / "file" / "runs"):
        pass


def test_the_code_digest_does_not_depend_on_the_python_version():
    arguments = ["arguments", ("args", [["arg", ("arg", "'a'")]])]
    body = [["Return", ("value", ["Constant", ("value", "1")])]]
    function = store._plain(ast.parse("def f(a): return 1").body[0])
    assert function == ["FunctionDef", ("args", arguments), ("body", body), ("name", "'f'")]
    assert store._plain(ast.parse("f(1)")) != store._plain(ast.parse("f(2)"))


def test_keys_are_stable_and_distinct():
    assert store.key({"a": 1, "b": [2.0]}) == store.key({"b": [2.0], "a": 1})
    assert store.key({"a": 1}) != store.key({"a": 2})
    assert len(store.code_version(CODE_DEPENDENCIES)) == 12 and store.code_version(
        CODE_DEPENDENCIES
    ) != store.code_version(CODE_DEPENDENCIES[1:])


def test_a_file_under_the_name_of_another_is_not_taken_for_it(tmp_path, capsys):
    filled = store.Store(tmp_path)
    for name, value in (("a", 1.0), ("b", 2.0)):
        filled.add(name, [{"key": name}], {"weight": torch.full((1, 2), value)})
    for suffix in (".json", ".safetensors"):
        shutil.copy(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}")
    again = store.Store(tmp_path)
    assert again.record("a") and again.record("b") is None and "b.json is damaged" in capsys.readouterr().err
    filled.add("b", [{"key": "b"}], {"weight": torch.ones(1, 2)})
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    again = store.Store(tmp_path)
    assert again.weights("b") is None and "b.safetensors is damaged: it is a copy of a" in capsys.readouterr().err


def test_files_of_earlier_versions_without_their_name_are_read(tmp_path):
    records, tensors, about = json.dumps([{"key": "a"}]), {"weight": torch.ones(1, 2)}, "{}"
    digest = hashlib.sha256(records.encode()).hexdigest()
    (tmp_path / "a.json").write_text(f'{{"sha256": "{digest}", "records": {records}}}')
    entry = json.dumps({"about": about, "digest": files.digest_of(tensors, about)})
    (tmp_path / "a.safetensors").write_bytes(safetensors.torch.save(tensors, {files.ENTRY: entry}))
    stored = store.Store(tmp_path)
    assert stored.record("a") and torch.equal(stored.weights("a")["weight"], tensors["weight"])


def test_a_record_nested_too_deeply_is_damaged(tmp_path, capsys):
    (tmp_path / "a.json").write_text("[" * 100_000)
    assert store.Store(tmp_path).record("a") is None and "a.json is damaged" in capsys.readouterr().err
