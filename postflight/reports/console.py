"""The verdict as a person reads it last: what is wrong, why, what to do, and what it blocks."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

from postflight.verdict.exitcode import unexplained
from postflight.verdict.record import CheckResult, Judged, RunRecord
from postflight.verdict.status import Severity, Status

WIDTH = 100
MARGIN = " " * 12
#: What a log line of the deployment could do to a terminal.
NOT_SHOWN = re.compile(r"[^\n\r\t\x20-\x7e\xa0-\U0010ffff]")
TALLY = (
    Status.FAILED,
    Status.UNKNOWN,
    Status.BLOCKED,
    Status.WAIVED,
    Status.WARNED,
    Status.PASSED,
    Status.ABSENT,
)


def render(record: RunRecord, width: int = WIDTH) -> str:
    """Plain text of at most ``width`` columns, as far as words allow; ends with a newline.

    A line in a failure's text that starts with ``$ `` is a command and stays on one line.
    """
    blocks = [_line("", header(record), width), *_blocks(record.results, width)]
    blocks.append("\n".join(_short(record, width)))
    blocks.append(_tally(record, width))
    return "\n\n".join(filter(None, blocks)) + "\n"


def check(result: CheckResult, width: int = WIDTH) -> str:
    """What is failed or unknown of one check, the way the verdict shows it; empty if nothing is."""
    return "\n\n".join(_blocks([result], width))


def header(record: RunRecord) -> str:
    """Where the run looked, how much of it, and how long it took, in one line."""
    scene = record.scene
    return " · ".join(
        filter(
            None,
            (
                "postflight",
                f"cluster {scene.cluster}",
                f"namespace{'s' if len(scene.namespaces) > 1 else ''} {', '.join(scene.namespaces)}"
                if scene.namespaces
                else "",
                scene.summary,
                f"{len(record.results)} check{'s' if len(record.results) != 1 else ''}",
                f"{record.seconds:.1f} s",
                f"partial: {record.partial}" if record.partial else "",
            ),
        )
    )


def _blocks(results: Sequence[CheckResult], width: int) -> list[str]:
    blocks = [_block(result, group, width) for result, group in groups(results, Status.FAILED)]
    unknown = groups(results, Status.UNKNOWN)
    ids: dict[str, dict[str, None]] = {}
    for result, group in unknown:
        ids.setdefault(group[0].failure.headline, {})[result.check.id] = None
    for headline, checks in ids.items():
        if len(checks) > 1:
            first = _line("UNKNOWN", f"{len(checks)} checks  {headline}", width)
            blocks.append(f"{first}\n{_line('  checks', ', '.join(checks), width)}")
    return blocks + [
        _block(result, group, width) for result, group in unknown if len(ids[group[0].failure.headline]) == 1
    ]


def groups(results: Sequence[CheckResult], status: Status) -> list[tuple[CheckResult, list[Judged]]]:
    """The failures of that status, the worst first. Failures of one check that share their cause are
    one group: a person acts on causes, not on subjects."""
    groups: dict[tuple[object, ...], tuple[CheckResult, list[Judged]]] = {}
    for result in results:
        for place, judged in enumerate(result.judged):
            if judged.status is status:
                failure = judged.failure
                same = (failure.expected, failure.cause, failure.remedy) if failure.cause else (place,)
                groups.setdefault((result.check.id, *same), (result, []))[1].append(judged)
    severities = list(Severity)
    return sorted(
        groups.values(),
        key=lambda group: (severities.index(group[0].check.severity), -max(len(j.blocks) for j in group[1])),
    )


def _block(result: CheckResult, group: Sequence[Judged], width: int) -> str:
    first, *others = group
    failure = first.failure
    lines = [_line(first.status.upper(), f"{result.check.id}  {failure.headline}", width)]
    lines += [
        _line(f"  {label}", text, width)
        for label, text in (
            ("observed", failure.observed),
            ("expected", failure.expected),
            ("cause", failure.cause),
            ("remedy", failure.remedy or result.check.remedy),
        )
        if text
    ]
    lines += _also(others, width)
    blocks = list(dict.fromkeys(id for judged in group for id in judged.blocks))
    if blocks:
        lines.append(_line("  blocks", _counted(blocks, width), width))
    return "\n".join(lines)


def _also(others: Sequence[Judged], width: int) -> list[str]:
    subjects = [judged.failure.subject for judged in others]
    return [_line("  also", _counted(subjects, width), width)] if subjects else []


def _short(record: RunRecord, width: int) -> Iterable[str]:
    """What is worth a line or two: limits, waivers, blocked parts of failed checks, own trouble."""
    for result, (first, *others) in groups(record.results, Status.WARNED):
        yield _line("WARNED", f"{result.check.id}  {first.failure.headline}", width)
        if first.failure.remedy:
            yield _line("  remedy", first.failure.remedy, width)
        yield from _also(others, width)
    for result in record.results:
        covered = sum(judged.status is Status.WAIVED for judged in result.judged)
        for waiver in result.waivers:
            until = f"until {waiver.expires} by {waiver.owner} ({waiver.ticket}): {waiver.reason}"
            part = "" if result.status is Status.WAIVED else f" ({covered} of {len(result.judged)} failures)"
            yield _line("WAIVED", f"{result.check.id}  {waiver.subject}{part} {until}", width)
        if result.status is not Status.BLOCKED and any(judged.blocked_by for judged in result.judged):
            causes = list(dict.fromkeys(id for judged in result.judged for id in judged.blocked_by))
            subjects = [judged.failure.subject for judged in result.judged if judged.blocked_by]
            text = f"{result.check.id}  {', '.join(subjects)} blocked by {', '.join(causes)}"
            yield _line("BLOCKED", text, width)
    told = {judged.failure.headline for result in record.results for judged in result.judged}
    for line in record.trouble:
        if line not in told:
            yield _line("TROUBLE", line, width)
    if why := unexplained(record.results, record.trouble, record.exit_code):
        yield _line("RED", why, width)
    for line in record.notes:
        yield _line("note", line, width)


def _tally(record: RunRecord, width: int) -> str:
    counts = {status: sum(result.status is status for result in record.results) for status in TALLY}
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no check ran"
    reasons: dict[str, list[str]] = {}
    for result in record.results:
        if result.status is Status.ABSENT:
            reasons.setdefault(result.reason, []).append(result.check.id)
    if reasons:
        words += " (" + "; ".join(f"{', '.join(ids)}: {reason}" for reason, ids in reasons.items()) + ")"
    tally = textwrap.fill(words, width, break_long_words=False, break_on_hyphens=False)
    end = f"exit {record.exit_code}"
    fits = len(tally.rpartition("\n")[2]) + 3 + len(end) <= width
    return f"{tally}{'   ' if fits else chr(10)}{end}"


def _counted(names: Sequence[str], width: int) -> str:
    """``14: a, b, c, ...``: how many, and as many of the names as one line takes."""
    text = f"{len(names)}: {', '.join(names)}"
    room = width - len(MARGIN)
    if len(text) <= room or len(names) == 1:
        return text
    kept = text[: room - len(", ...")].rpartition(", ")[0] or f"{len(names)}: {names[0]}"
    return f"{kept}, ..."


def _line(label: str, text: str, width: int) -> str:
    """``label`` (indented ones in their own column), then ``text`` wrapped with a hanging indent; the
    text's own line breaks stay."""
    first = f"{label:10}  " if label.startswith(" ") else f"{label:7} " if label else ""
    lines: list[str] = []
    for part in NOT_SHOWN.sub("\ufffd", text).splitlines() or [""]:
        indent = MARGIN if lines else first
        if part.startswith("$ "):
            lines.append(indent + part)
            continue
        lines.append(
            textwrap.fill(
                part,
                width,
                initial_indent=indent,
                subsequent_indent=MARGIN if label else "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
    return "\n".join(lines)
