"""How a process ended, in words."""

import signal


def end_of(code: int) -> str:
    """Of what `Popen.returncode` says.

    >>> end_of(3), end_of(-9)
    ('ended with exit code 3', 'was killed by SIGKILL')
    """
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
