"""`python3 -m lab.setup`: all steps that are not done yet."""

import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from lab.errors import LabError
from lab.homes import home
from lab.setup import plan, preflight, runner


def main() -> int:
    """Exit code 0 when all is there, 1 with one line that says what is not, 130 when interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    began = time.monotonic()
    try:
        where = home()
        where.root.mkdir(parents=True, exist_ok=True)
        steps = plan.steps(where)
        todo = runner.to_do(where, steps)
        if not todo:
            return 0
        preflight.machine()
        preflight.disk(where)
        print(f"set-up: {len(todo)} of {len(steps)} steps to do, in {where.root}", flush=True)
        (where.root / "logs").mkdir(exist_ok=True)
        log = where.root / "logs/preflight.log"
        preflight.registries(runner.Work(where, log, threading.Event(), 0), todo)
        runner.run(where, steps, lambda line: print(line, flush=True))
    except LabError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("set-up interrupted: run it again and it goes on where it stopped", file=sys.stderr)
        return 130
    print(f"set-up: all done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
