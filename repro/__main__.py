"""The process of the command line: exit codes and signals. Commands are in ``repro.cli``."""

import io
import multiprocessing
import os
import signal
import sys

import typer

from repro.cli import app
from repro.errors import UserError

if multiprocessing.parent_process() is not None:
    # A process that a command started: the command receives Ctrl-C and ends its processes itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Run the command line and exit: 0 done, 2 wrong input or environment, 130 interrupted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # schedulers send it; it ends a command as Ctrl-C does
    if os.environ.get("COLUMNS", "").strip("0") == "":
        os.environ.pop("COLUMNS", None)  # Rich would print lines of no width
    sys.exit(_exit_code())


def _exit_code() -> int:
    if sys.stdout is None:  # before any work: files opened later would get its file descriptor
        return _print_error("standard output is closed; redirect it to a file or to /dev/null")
    if isinstance(sys.stdout, io.TextIOWrapper):  # tables have characters that some encodings lack
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(standalone_mode=False) or 0  # typer returns 130 after Ctrl-C
        sys.stdout.flush()  # a full disk there raises here rather than at exit
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except UserError as error:
        code = _print_error(str(error))
    except OSError as error:
        code = _print_error(f"{error.filename or 'standard output or a temporary file'}: {error.strerror or error}")
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        code = _print_error(error.format_message())  # typer's message on an unknown option or command
    if code == 130:
        print("interrupted; rerun the same command to resume from the last checkpoint", file=sys.stderr)
    return code


def _print_error(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
