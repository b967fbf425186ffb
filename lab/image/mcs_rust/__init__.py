"""A STAND-IN for the part of matrix-content-scanner 1.4.1 that is written in Rust: its build takes a library by git.

The same names as upstream's rust/src/lib.rs gives to Python.
"""

from . import crypto

__all__ = ["crypto", "get_rust_file_digest", "reset_logging_config"]


def get_rust_file_digest() -> str:
    """Upstream's is asked for where the scanner is installed to be edited, which it is not here."""
    return ""


def reset_logging_config() -> None:
    """Upstream's Rust keeps Python's levels of logging; nothing is kept here."""
