"""``make soak``: runs in a row on one healthy lab, and docs/soak.md, which keeps what came of them.

Each run is noted as it ends, so a soak that was interrupted goes on where it stopped, as long as the content is the same.
"""

import argparse
import hashlib
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from lab.errors import LabError
from lab.homes import CHECKOUT, home
from postflight.verdict.status import Status
from tests.lab.live import table
from tests.lab.live.bench import Bench, alone
from tests.lab.live.verify import Run, Verified

FILE = CHECKOUT / "docs/soak.md"
TITLES = ("date", "hash", "runs", "green", "not green", "seconds: least, median, most", "MiB at most")
HEAD = """\
# Runs in a row

`make soak` (RUNS=200) runs the verifier on a healthy lab as often, one run after the other, and keeps what came of it
here; nobody edits it. What is not green stands with how often, and the first line of the first time. The hash is over the
verifier, the checks and the lab.

"""
#: What a run rests on.
CONTENT = ("postflight", "checks", "lab")
GREEN = (Status.PASSED.value, Status.ABSENT.value)
GOOD, BAD, INTERRUPTED = 0, 1, 130


@dataclass(frozen=True, slots=True)
class Lap:
    """One run. ``reds`` are the checks that were not green, each with the first line that it said; what was said of no
    check stands under "run". ``peak`` is in MiB."""

    date: str
    seconds: float
    peak: float
    reds: Mapping[str, str]


def lap(seen: Verified) -> Lap:
    """What is kept of a run."""
    reds: dict[str, str] = {}
    for check, result in seen.results.items():
        if result.status.value not in GREEN:
            first = result.judged[0].failure.headline if result.judged else result.reason
            reds[check] = f"{result.status}: {first}"
    if seen.record is None:
        reds["run"] = f"exit {seen.code}, no report"
    elif seen.record.trouble or (seen.code and not reds):
        reds["run"] = next(iter(seen.record.trouble), f"exit {seen.code}")
    return Lap(_now(), round(seen.seconds, 1), round(seen.peak, 1), reds)


def soak(wanted: int, notes: Path, run: Callable[[int], Lap], tell: Callable[[str], None]) -> list[Lap]:
    """Runs until there are as many, with those that are noted; each is noted as it ends."""
    laps = noted(notes)
    notes.parent.mkdir(parents=True, exist_ok=True)
    # Without what a kill cut off in the middle of a line.
    notes.write_text("".join(map(_line, laps)), encoding="utf-8")
    if laps:
        tell(f"{len(laps)} runs are done, by the notes in {notes}")
    while len(laps) < wanted:
        number = len(laps) + 1
        laps.append(run(number))
        with notes.open("a", encoding="utf-8") as file:
            file.write(_line(laps[-1]))
        said = "; ".join(f"{check} {line}" for check, line in laps[-1].reds.items()) or "green"
        tell(f"{number} of {wanted}: {laps[-1].seconds:.1f} s, {laps[-1].peak:.0f} MiB, {said}")
    return laps


def noted(notes: Path) -> list[Lap]:
    """The runs that are done; a line that was cut off in the middle is no run."""
    if not notes.exists():
        return []
    found = []
    for line in notes.read_text(encoding="utf-8").splitlines():
        try:
            found.append(Lap(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def row(laps: Sequence[Lap], digest: str) -> tuple[str, ...]:
    """The line of the table that these runs come to."""
    often = Counter(check for each in laps for check in each.reds)
    first = {check: line for each in reversed(laps) for check, line in each.reds.items()}
    reds = "; ".join(f"{check} {count} times ({first[check]})" for check, count in sorted(often.items()))
    seconds = [each.seconds for each in laps]
    green = sum(not each.reds for each in laps)
    times = f"{min(seconds):.1f}, {median(seconds):.1f}, {max(seconds):.1f}"
    most = max(each.peak for each in laps)
    return (laps[-1].date[:10], digest, str(len(laps)), str(green), reds or "-", times, f"{most:.0f}")


def write(laps: Sequence[Lap], digest: str, file: Path = FILE) -> None:
    """Puts these runs' line into the table, in the place of one of the same content."""
    rows = [each for each in table.body(file, len(TITLES), TITLES[0]) if each[1] != digest]
    if laps:
        rows.append(list(row(laps, digest)))
    table.put(file, HEAD, [TITLES, *sorted(rows)])


def content() -> str:
    """Changes whenever a file does that a run rests on."""
    found = hashlib.sha256()
    for file in sorted(each for top in CONTENT for each in (CHECKOUT / top).rglob("*") if each.is_file()):
        if "__pycache__" not in file.parts:
            found.update(f"{file.relative_to(CHECKOUT)}\0".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:12]


def main(arguments: Sequence[str]) -> int:
    """0 when all runs were green."""
    parser = argparse.ArgumentParser(prog="make soak", description="runs in a row on a healthy lab")
    parser.add_argument("--runs", type=int, default=200)
    wanted, digest = parser.parse_args(arguments).runs, content()
    folder = home().root / "soak" / digest
    notes = folder / "runs.jsonl"
    # However it is ended, what was seen is written down.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    try:
        with alone(home()):
            bench = Bench(home(), _tell)
            try:
                soak(wanted, notes, lambda number: _run(bench, folder / f"run{number}"), _tell)
            finally:
                bench.close()
    except KeyboardInterrupt:
        _tell("interrupted; `make soak` goes on from here")
        return INTERRUPTED
    except LabError as error:
        _tell(f"no lab to run on: {error}")
        return BAD
    finally:
        if laps := noted(notes):
            write(laps, digest)
            _tell(" | ".join(row(laps, digest)))
    return BAD if any(each.reds for each in laps) else GOOD


def _run(bench: Bench, folder: Path) -> Lap:
    """One run; what it said is kept where it was not green."""
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(folder, "checks/", "--kubeconfig", bench.healthy().kubeconfig)
    try:
        found = lap(run.end())
    except AssertionError as error:
        return Lap(_now(), 0.0, 0.0, {"run": str(error).partition(":\n")[0]})
    except KeyboardInterrupt:
        # It is in a group of its own, and cleans up what it made.
        run.signal(signal.SIGINT)
        with suppress(AssertionError):
            run.end()
        raise
    if not found.reds:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _line(of: Lap) -> str:
    return json.dumps(asdict(of)) + "\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
