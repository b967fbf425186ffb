"""The Python packages of the verifier's own image: no part of the lab's image, kept beside it once per content."""

import re
import shutil
import subprocess
import sys

from lab.homes import CHECKOUT
from lab.setup import python
from lab.setup.runner import Work

LOCKED = CHECKOUT / "deploy/image/requirements.txt"


def download(work: Work) -> None:
    """verifier/: the locked wheels for the image's Python, unpacked. Raises LabError or OSError."""
    folder = work.home.verifier
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    locked = folder.with_suffix(".txt")
    # What an early Python 3.11 needs, as Debian has it: pip goes by the Python that runs it.
    locked.write_text(re.sub(r" ; python_full_version < '3\.11\.\d+'", "", LOCKED.read_text()))
    python.download_for_image(work, locked, part)
    # Where this Python writes what the image's reads; elsewhere each start compiles anew.
    if f"{sys.version_info.major}.{sys.version_info.minor}" == python.IMAGE_PYTHON:
        command = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(part)]
        subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
