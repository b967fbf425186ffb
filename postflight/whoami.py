"""Who runs this, as far as the machine tells."""

from __future__ import annotations

import getpass
import os
import socket


def who() -> str:
    """``user@host``; a user without a name, as in many containers, by number."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
