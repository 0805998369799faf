"""Paths that are no text and terminals of other encodings: messages are escaped, no command breaks."""

import io
import os
import subprocess
import sys

import pytest

from repro import __main__, cli


def run(encoding: str, *words: str | bytes) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    return subprocess.run([sys.executable, "-m", "repro", *words], env=environment, capture_output=True, timeout=60)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_path_that_is_no_text_is_named_in_one_line(tmp_path, encoding):
    path = os.fsencode(tmp_path) + b"/caf\xe9 [bold]|\nx \xe6\x97\xa5"
    done = run(encoding, "report", "--out", path)
    message = r"/caf\xe9 [bold]| x \u65e5/results: there are no records to report on"
    assert done.returncode == 2 and done.stdout == b""
    assert message in done.stderr.decode(encoding) and done.stderr.count(b"\n") == 1


def test_output_of_a_command_is_printed_in_any_encoding(monkeypatch):
    streams = [io.TextIOWrapper(io.BytesIO(), "ascii") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])

    def command(standalone_mode: bool) -> None:
        print("é 日 \udce9")
        print("é", file=sys.stderr)

    monkeypatch.setattr(cli, "app", command)
    with pytest.raises(SystemExit) as end:
        __main__.main()
    streams[1].flush()
    assert end.value.code == 0
    assert [stream.buffer.getvalue() for stream in streams] == [rb"\xe9 \u65e5 \udce9" + b"\n", rb"\xe9" + b"\n"]
