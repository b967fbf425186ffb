"""The verdict as JUnit XML, valid against the schema that Jenkins holds it to (junit-10.xsd).

That schema has no properties in a testcase: what has no attribute stands as ``key=value`` lines in
``system-out``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from postflight.verdict.exitcode import unexplained
from postflight.verdict.record import CheckResult, Judged, RunRecord
from postflight.verdict.status import WORST_FIRST, Status

SUITE = "postflight"

#: Everything that XML 1.0 cannot hold, escaped or not.
NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

OUTCOME = {
    Status.FAILED: "failure",
    Status.UNKNOWN: "error",
    Status.BLOCKED: "skipped",
    Status.WAIVED: "skipped",
    Status.ABSENT: "skipped",
}


def render(record: RunRecord) -> str:
    """One testcase per check. A red that belongs to no check is a testcase of its own."""
    cases = [_case(result) for result in record.results]
    cases += [_own(*each) for each in of_the_run(record)]

    def count(outcome: str) -> str:
        return str(sum(case.find(outcome) is not None for case in cases))

    totals = {
        "name": SUITE,
        "tests": str(len(cases)),
        "failures": count("failure"),
        "errors": count("error"),
        "time": f"{record.seconds:.3f}",
    }
    root = Element("testsuites", totals)
    suite = SubElement(root, "testsuite", totals, skipped=count("skipped"), timestamp=_xml(record.started))
    properties = SubElement(suite, "properties")
    for name, value in _about(record):
        SubElement(properties, "property", {"name": name, "value": _xml(value)})
    suite.extend(cases)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def of_the_run(record: RunRecord) -> Iterable[tuple[str, str, str]]:
    """Name, ``error`` or ``failure``, and line of each red that belongs to no check."""
    yield from ((f"trouble.{number}", "error", line) for number, line in enumerate(record.trouble, 1))
    if why := unexplained(record.results, record.trouble, record.exit_code):
        yield "verdict.1", "failure", why


def _about(record: RunRecord) -> Iterable[tuple[str, str]]:
    yield "run_id", record.run_id
    yield "version", record.version
    yield "cluster", record.scene.cluster
    yield "namespaces", " ".join(record.scene.namespaces)
    yield "deployment", record.scene.summary
    yield "safety", record.scene.safety
    yield "access", record.scene.access
    yield "partial", record.partial
    yield "exit", str(record.exit_code)
    for number, note in enumerate(record.notes, 1):
        yield f"note.{number}", note


def _case(result: CheckResult) -> Element:
    area = result.check.id.partition(".")[0]
    case = _testcase(f"{SUITE}.{area}", result.check.id, result.seconds)
    outcome = OUTCOME.get(result.status)
    if outcome == "skipped":
        reason = f"absent: {result.reason}" if result.status is Status.ABSENT else result.reason
        _outcome(case, outcome, result.status, reason, "")
    elif outcome:
        worst = [judged for judged in result.judged if judged.status is result.status]
        more = f" (and {len(worst) - 1} more)" if len(worst) > 1 else ""
        text = "\n\n".join(map(_text, result.judged))
        _outcome(case, outcome, worst[0].failure.nature, worst[0].failure.headline + more, text)
    SubElement(case, "system-out").text = _xml("\n".join(f"{key}={value}" for key, value in _said(result)))
    return case


def _own(name: str, outcome: str, line: str) -> Element:
    area = name.partition(".")[0]
    case = _testcase(f"{SUITE}.{area}", name, 0.0)
    _outcome(case, outcome, area, line, line)
    return case


def _testcase(classname: str, name: str, seconds: float) -> Element:
    return Element("testcase", {"classname": _xml(classname), "name": _xml(name), "time": f"{seconds:.3f}"})


def _outcome(case: Element, outcome: str, type: str, message: str, text: str) -> None:
    element = SubElement(case, outcome, {"type": type, "message": _xml(message)})
    element.text = _xml(text) or None


def _text(judged: Judged) -> str:
    failure = judged.failure
    fields = (
        ("observed", failure.observed),
        ("expected", failure.expected),
        ("cause", failure.cause),
        ("remedy", failure.remedy),
        ("evidence", "\n".join(failure.evidence)),
    )
    lines = [f"{judged.status.upper()}  {failure.subject}: {failure.headline}"]
    return "\n".join(lines + [f"{label}: {value}" for label, value in fields if value])


def _said(result: CheckResult) -> Iterable[tuple[str, str]]:
    """The properties of one check; a line break within a value would start a new one."""
    yield "status", result.status
    yield "severity", result.check.severity
    if result.check.finding:
        yield "finding", result.check.finding
    yield "sentence", _one_line(result.check.sentence)
    if result.reason:
        yield "reason", _one_line(result.reason)
    for id in result.blocked_by:
        yield "blocked_by", id
    for judged in _worst_first(result.judged):
        yield judged.status, _one_line(f"{judged.failure.subject}: {judged.failure.headline}")
    for subject in result.seen:
        yield "seen", _one_line(subject)


def _worst_first(judged: Sequence[Judged]) -> list[Judged]:
    order = (*WORST_FIRST, Status.WAIVED)
    return sorted(judged, key=lambda one: order.index(one.status))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _xml(text: str) -> str:
    return NOT_XML.sub("\ufffd", text)
