"""An error that the user can fix."""


class UserError(Exception):
    """A setting, file or data set is wrong. The message is one line that names it and what it may be.

    The command line prints the message without a traceback and exits with code 2.
    """
