"""How fast this machine is just now, against the one that the bars in seconds were set on: machines of the same size
differ by a third, and one that is shared differs from hour to hour."""

import subprocess
import sys
import time

#: What a run and the cluster under it do most: programs that start and end, and Python, on both processors.
_WORK = """
import os
for _ in range(120):
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
sum(number * number % 7 for number in range(2_500_000))
"""
#: Seconds of that where the bars were set: 2 cores, nothing else running, the best of many.
_REFERENCE = 0.23


def pace() -> float:
    """1 on a machine as fast as that one or faster, 1.3 where the same takes 1.3 times as long."""
    began = time.monotonic()
    both = [subprocess.Popen([sys.executable, "-I", "-S", "-c", _WORK]) for _ in range(2)]
    for each in both:
        assert each.wait() == 0
    return max(1.0, (time.monotonic() - began) / _REFERENCE)
