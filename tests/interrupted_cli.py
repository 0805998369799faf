"""A Python that has loaded everything once and forks for each command: a sitting starts at once, and can be cut short.

A test talks to it through ``CliSession``; run as a program, this file is the other side.
"""

import dataclasses
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

if multiprocessing.parent_process() is not None:
    from repro import __main__  # noqa: F401  # as a process has it that the installed command starts


@dataclasses.dataclass(frozen=True)
class Sitting:
    """How a command ended: its exit code, or the signal as a negative number; how long it took; what was on stderr."""

    code: int
    seconds: float
    said: str


class CliSession:
    """The test's side. The command runs on one thread, and keeps a checkpoint after almost every step."""

    def __init__(self, log: Path):
        """``log`` is where output goes that no sitting writes, such as why the other side did not start."""
        command = [sys.executable, __file__]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True
        )

    def run(
        self, *words: str, cwd: Path, after: float | None = None, send: int = signal.SIGKILL, limit: int | None = None
    ) -> Sitting:
        """Run a command line in the folder ``cwd``.

        Args:
            after: seconds after which ``send`` goes to the command and its processes.
            limit: bytes that a file may have: a disk that is full for all but the smallest.
        """
        assert self._process.stdin and self._process.stdout
        wanted = {"words": words, "cwd": str(cwd), "after": after, "send": int(send), "limit": limit}
        self._process.stdin.write(json.dumps(wanted) + "\n")
        self._process.stdin.flush()
        return Sitting(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the other side."""
        self._process.communicate()


def _sit(wanted: dict, said: Path) -> Sitting:
    ended, held_open = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if not child:
        os.close(ended)
        _command(wanted, said)
    os.setpgid(child, child)  # here, for the child may not have come to it when it is killed
    os.close(held_open)  # the child has it; nothing is read from it before the child is gone
    if not select.select([ended], [], [], wanted["after"])[0]:
        os.killpg(child, wanted["send"])
    _, status = os.waitpid(child, 0)
    os.close(ended)
    return Sitting(os.waitstatus_to_exitcode(status), time.monotonic() - start, said.read_text())


def _command(wanted: dict, said: Path) -> None:
    import resource

    from repro import __main__

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with said.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(wanted["cwd"])
    if wanted["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (wanted["limit"], resource.RLIM_INFINITY))
    sys.argv = ["repro", *wanted["words"]]
    code = 1
    try:
        __main__.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    sys.stderr.flush()
    os._exit(code)


def _serve() -> None:
    """The other side: what every command loads and reads is loaded and read here, before the first fork."""
    import tempfile
    from functools import cache

    import torch
    from matplotlib.figure import Figure

    from repro import session
    from repro.data import icons, mnist
    from repro.data.download import data_folder
    from repro.mnist import runner
    from repro.report import build  # noqa: F401
    from repro.specialists import experiment as _specialists  # noqa: F401
    from repro.speech import experiment as _speech  # noqa: F401
    from repro.training import trainer
    from repro.variants import experiment as _variants  # noqa: F401

    torch.set_num_threads(1)
    trainer.CHECKPOINT_SECONDS = 0.02
    Figure.savefig = lambda figure, content, **_: content.write(b"figure")  # type: ignore[method-assign]
    session.commit()
    runner.load = mnist.load = cache(mnist.load)
    icons.load = cache(icons.load)
    icons.load()
    mnist.load(data_folder(None))
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            print(json.dumps(dataclasses.asdict(_sit(json.loads(line), Path(scratch) / "said"))), flush=True)


if __name__ == "__main__":
    _serve()
