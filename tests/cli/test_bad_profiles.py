"""Malformed profiles: one line that names the file or the setting, exit code 2."""

from pathlib import Path

import pytest

from repro import config, training_command
from repro.errors import UserError
from repro.session import Options

PROFILES = {
    "empty": (b"", "setting seeds: is missing"),
    "cut": (b"seeds = ", "profile mine.toml: not valid TOML"),
    "twice": (b"seeds = 1\nseeds = 2", "not valid TOML (Cannot overwrite a value"),
    "section twice": (b"[teacher]\n[teacher]\n", "not valid TOML (Cannot declare"),
    "deep list": (b"seeds = " + b"[" * 5000, "not valid TOML"),
    "deep table": (b"seeds = " + b"{a=" * 5000, "not valid TOML"),
    "long number": (b"seeds = " + b"9" * 5000, "not valid TOML"),
    "null byte": (b"seeds = 1\x00", "not valid TOML"),
    "UTF-16": ("seeds = 1".encode("utf-16"), "profile mine.toml: cannot be read as UTF-8 text"),
    "binary": (bytes(range(256)), "profile mine.toml: cannot be read as UTF-8 text"),
    "BOM, then a wrong value": (b'\xef\xbb\xbfextends = "smoke"\nseeds = 0', "setting seeds: must be greater"),
    "Windows lines, then a wrong value": (b'extends = "smoke"\r\nseeds = 0\r\n', "setting seeds: must be greater"),
    "array of tables for a table": (
        b'extends = "smoke"\n[[teacher]]\nhidden = [1]\n',
        "setting teacher: must be a sect",
    ),
    "unknown key": ('extends = "smoke"\n"schlüssel" = 1\n'.encode(), "setting schlüssel: there is no such setting"),
    "extends itself": (b'extends = "mine"', "profile mine.toml: extends itself"),
    "extends nothing": (b'extends = "nowhere"', "profile mine.toml: extends 'nowhere', but it must be one of"),
    "extends a folder": (b'extends = "folder.toml"', "profile mine.toml: extends 'folder.toml', but it must be one of"),
    "extends a number": (b"extends = 3", "profile mine.toml: extends must be the name of a profile in quotes, not 3"),
    "of another command": (b'extends = "choice"', "setting candidates: there is no such setting"),
}


@pytest.mark.parametrize("kind", PROFILES)
def test_a_malformed_profile_is_named(error_of, tmp_path, kind):
    content, message = PROFILES[kind]
    (tmp_path / "mine.toml").write_bytes(content)
    (tmp_path / "folder.toml").mkdir()
    assert message in error_of("mnist", "--profile", "mine.toml")


@pytest.mark.parametrize("name", ["folder.toml", "dangling.toml", "loop.toml", "missing.toml", "a" * 300 + ".toml"])
def test_a_profile_that_is_no_file_is_named(error_of, tmp_path, name):
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "dangling.toml").symlink_to("nothing")
    (tmp_path / "loop.toml").symlink_to("loop.toml")
    assert f"profile: there is no file {name[:90]}" in error_of("mnist", "--profile", name)


@pytest.mark.parametrize("name", ["", ".", "..", "/", "../mnist/smoke", "smoke.TOML", "a" * 5000, "ключ"])
def test_a_name_of_no_profile_lists_the_known_ones(error_of, name):
    line = error_of("mnist", "--profile", name)
    assert (
        "profile: must be one of choice, evening, gpu, gpu_choice, long, paper, quick, smoke, or a path" in line
        and len(line) < 300
    )


def test_all_profiles_of_a_group_are_checked_before_the_first_is_trained(monkeypatch):
    monkeypatch.setitem(config.GROUPS["variants"], "paper", ("smoke_mnist", "smoke_nothing"))
    trained = []
    monkeypatch.setattr(training_command, "_run_profile", lambda *arguments: trained.append(arguments))
    with pytest.raises(UserError, match="profile: must be one of"):
        training_command.run_experiment("variants", Options("paper", [], None, Path(), None, "cpu", "fp32", False))
    assert not trained
