"""A server process that imports everything once and forks for each command, which starts at once and can be killed.

Tests use the client, ``CliSession``; run as a program, this file is the server.
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
from typing import NoReturn

if multiprocessing.parent_process() is not None:
    from repro import __main__  # noqa: F401  # as in worker processes of the installed command


@dataclasses.dataclass(frozen=True)
class CommandResult:
    """Exit code of a command, or the negative number of the signal that ended it; wall time; standard error."""

    code: int
    seconds: float
    stderr: str


class CliSession:
    """Client of the server. Commands run on one thread and write a checkpoint after almost every step."""

    def __init__(self, log: Path):
        """``log`` gets the standard error of the server itself, such as why it did not start."""
        command = [sys.executable, __file__]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log.open("w"), text=True
        )

    def run(
        self, *words: str, cwd: Path, after: float | None = None, send: int = signal.SIGKILL, limit: int | None = None
    ) -> CommandResult:
        """Run a command line in the folder ``cwd``.

        Args:
            after: seconds until the signal ``send`` goes to the command and its processes. Default: never.
            limit: maximum size of a file in bytes, which simulates a full disk. Default: no limit.
        """
        assert self._process.stdin and self._process.stdout
        request = {"words": words, "cwd": str(cwd), "after": after, "send": int(send), "limit": limit}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return CommandResult(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        """End the server."""
        self._process.communicate()


def _run_command(request: dict, stderr: Path) -> CommandResult:
    """Fork a process for the command and wait for it, or signal it."""
    ended, held_open = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if not child:
        os.close(ended)
        _exec_command(request, stderr)
    os.setpgid(child, child)  # here: the child may be killed before it gets to it
    os.close(held_open)  # only the child holds it: ``ended`` becomes readable when the child is gone
    if not select.select([ended], [], [], request["after"])[0]:
        os.killpg(child, request["send"])
    _, status = os.waitpid(child, 0)
    os.close(ended)
    return CommandResult(os.waitstatus_to_exitcode(status), time.monotonic() - start, stderr.read_text())


def _exec_command(request: dict, stderr: Path) -> NoReturn:
    """Run the command in this forked process and end the process."""
    import resource

    from repro import __main__

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with stderr.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["cwd"])
    if request["limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["limit"], resource.RLIM_INFINITY))
    sys.argv = ["repro", *request["words"]]
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
    """Serve requests from standard input; modules and data of all commands are loaded before the first fork."""
    import tempfile
    from functools import cache

    import torch

    from repro import session
    from repro.data import icons, mnist
    from repro.data.download import data_folder
    from repro.data.speech import lexicon
    from repro.data.types import ImageSet
    from repro.engine.files import write
    from repro.engine.store import code_version
    from repro.mnist import runner
    from repro.registry import EXPERIMENTS, load_components
    from repro.report import plotting
    from repro.specialists import runner as specialists
    from repro.speech import runner as speech
    from repro.training import trainer
    from repro.variants import runner as variants

    def save(draw: object, path: Path, dataset: str) -> None:
        for ending in plotting.ENDINGS:
            write(path.with_suffix(f".{ending}"), b"figure")

    @cache
    def load(folder: Path) -> mnist.Mnist:
        whole = mnist.load(folder)  # of which networks would be evaluated for longer than they are trained
        parts = (ImageSet(part.images[:1200], part.labels[:1200]) for part in (whole.train, whole.test))
        return mnist.Mnist(*parts, "small")

    torch.set_num_threads(1)
    trainer.CHECKPOINT_SECONDS = 0.02
    plotting.save = save
    runner.load = load
    icons.load = cache(icons.load)
    session.commit()
    for experiment in EXPERIMENTS:
        load_components(experiment)
    icons.load()
    load(data_folder(None))
    lexicon.cmudict()
    for module in (runner, specialists, speech, variants):
        code_version(module.CODE_DEPENDENCIES)
    with tempfile.TemporaryDirectory() as scratch:
        for line in sys.stdin:
            print(json.dumps(dataclasses.asdict(_run_command(json.loads(line), Path(scratch) / "stderr"))), flush=True)


if __name__ == "__main__":
    _serve()
