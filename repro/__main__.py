"""The process of the command line: exit codes and signals. Commands are in ``repro.cli``."""

import io
import multiprocessing
import os
import signal
import sys

from repro import interrupts

if multiprocessing.parent_process() is not None:
    # A process that a command started: the command receives Ctrl-C and ends its processes itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Run the command line and exit: 0 done, 2 wrong input or environment, 130 interrupted."""
    if os.environ.get("COLUMNS", "").strip("0") == "":
        os.environ.pop("COLUMNS", None)  # Rich would print lines of no width
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal of another encoding shows \xe9 for é
    interrupts.end_process()
    try:
        code = _exit_code()
    except KeyboardInterrupt:  # a signal while the outcome of the command was printed
        code = interrupts.INTERRUPTED
    interrupts.ignore()
    sys.exit(code)


def _exit_code() -> int:
    from repro.errors import UserError, environment_problem, warn

    # Imported while a signal ends the process.
    try:
        import typer

        from repro.cli import app
    except ImportError as error:
        if message := environment_problem(error):
            return _print_error(message)
        raise
    if sys.stdout is None:  # before any work: files opened later would get its file descriptor
        return _print_error("standard output is closed; redirect it to a file or to /dev/null")
    try:
        code = app(standalone_mode=False) or 0  # typer returns 130 after Ctrl-C
        sys.stdout.flush()  # a full disk there raises here rather than at exit
    except (KeyboardInterrupt, typer.Abort):
        code = interrupts.INTERRUPTED
    except SystemExit:  # which click raises then alone
        code = _print_error("standard output: the program that reads it has ended")
    except UserError as error:
        code = _print_error(str(error))
    except OSError as error:
        code = _print_error(f"{error.filename or 'standard output or a temporary file'}: {error.strerror or error}")
    except Exception as error:
        if hasattr(error, "format_message"):
            code = _print_error(error.format_message())  # typer's message on an unknown option or command
        elif interrupts.acknowledge():
            code = interrupts.INTERRUPTED  # an import or a callback turned KeyboardInterrupt into something else
        elif message := environment_problem(error):
            code = _print_error(message)
        else:
            raise
    interrupts.acknowledge()
    if code == interrupts.INTERRUPTED:
        warn(interrupts.MESSAGE)
    return code


def _print_error(message: str) -> int:
    from repro.errors import warn
    from repro.names import text_of

    warn(f"error: {text_of(' '.join(message.split()))}")  # the exit code says it, too, where nothing can be written
    return 2


if __name__ == "__main__":
    main()
