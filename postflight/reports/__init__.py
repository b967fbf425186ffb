"""Reports: each a pure function of the run record. This module writes them, behind the redactor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from postflight.reports import console, durations, junit, run_json
from postflight.secrets import Redactor
from postflight.verdict.record import RunRecord


def verdict_text(record: RunRecord) -> str:
    """The verdict, then where the time went."""
    return f"{console.render(record)}\n{durations.render(record)}"


#: File name: what renders it.
REPORTS: Mapping[str, Callable[[RunRecord], str]] = {
    "verdict.txt": verdict_text,
    "run.json": run_json.render,
    "junit.xml": junit.render,
}


def write_all(
    record: RunRecord, folder: Path, redactor: Redactor, beside: Mapping[str, str] | None = None
) -> tuple[Path, ...]:
    """Write every report into ``folder`` (made if needed), and what belongs ``beside`` them, and return their paths.

    Each file is replaced in one step, and none before all are rendered: a reader never sees half a
    report. Raises OSError.
    """
    # The record is redacted, not the files: a wrapped line would cut a secret in two, and a token
    # must be escaped as the format wants it.
    clean = redactor.scrub(record)
    texts = {**{name: render(clean) for name, render in REPORTS.items()}, **(beside or {})}
    folder.mkdir(parents=True, exist_ok=True)
    drafts = {name: folder / f".{name}.{os.getpid()}.part" for name in texts}
    try:
        for name, text in texts.items():
            # A pod may log what is no Unicode; that must not cost the report.
            drafts[name].write_text(text, encoding="utf-8", errors="backslashreplace")
        for name, draft in drafts.items():
            draft.replace(folder / name)
    finally:
        for draft in drafts.values():
            draft.unlink(missing_ok=True)
    return tuple(folder / name for name in texts)
