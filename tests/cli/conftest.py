"""The real command line on malformed input, in this process."""

import sys

import pytest

from repro import __main__


@pytest.fixture
def error_of(tmp_path, monkeypatch, capfd):
    """Return a function that runs a command in an empty folder, where it must fail, and returns its error line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REPRO_DATA", raising=False)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["repro", *words])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        lines = [line for line in capfd.readouterr().err.strip().splitlines() if not line.startswith("warning: ")]
        assert end.value.code == 2, lines
        assert [line for line in lines if line.startswith("error: ")] == lines[-1:], lines  # before it: progress
        assert not any("Traceback" in line for line in lines), lines
        return lines[-1]

    return run
