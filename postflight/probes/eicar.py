"""The file that every scanner takes for a virus by agreement, and that does nothing.

Source: EICAR, "Anti-Malware Testfile". It is put together as it is needed: whole, it would be found in this file, and the
file taken away.
"""

from __future__ import annotations

NAME = "postflight-eicar"
_PIECES = (b"X5O!P%@AP[4\\PZX54(", b"P^)7CC)7}$EICAR", b"-STANDARD-ANTIV", b"IRUS-TEST-FILE", b"!$H+H*")


def eicar() -> bytes:
    return b"".join(_PIECES)
