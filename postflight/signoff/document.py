"""The sign-off for people: one page of HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from postflight.reports.console import TALLY
from postflight.signoff.standing import Standing
from postflight.signoff.statement import Signing
from postflight.verdict.record import CheckResult, RunRecord
from postflight.verdict.status import Status
from postflight.verdict.waivers import describe

STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.05rem; margin-top: 1.6rem }
table { border-collapse: collapse; width: 100% } td, th { padding: .2rem .8rem .2rem 0; vertical-align: top }
th { text-align: left; font-weight: 600; width: 30% } td, th, code { overflow-wrap: anywhere }
"""


def render(record: RunRecord, signing: Signing, stands: Standing, keyid: str) -> str:
    """``record`` is redacted."""
    scene = record.scene
    counts = {status: sum(each.status is status for each in record.results) for status in TALLY}
    facts = (
        ("release", signing.release),
        ("cluster", f"{scene.cluster}, {', '.join(stands.namespaces)}"),
        ("deployment", scene.summary),
        ("signed", f"{signing.at} by {signing.by}"),
        ("verified", f"{record.started}, run {record.run_id}, {record.seconds:.1f} s, postflight {record.version}"),
        ("verdict", ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)),
        ("configuration", f"sha256:{stands.configuration} over {len(stands.objects)} objects"),
        ("key", keyid),
        *((name, f"sha256:{sha256}") for name, sha256 in signing.given.items()),
    )
    body = [
        f"<h1>Sign-off of {escape(signing.release)}</h1>",
        _table(facts),
        _section("Limits", _said(record.results, Status.WARNED), "none"),
        _section("Waived", _said(record.results, Status.WAIVED), "nothing"),
        _section("Not part of this deployment, or out of reach", _absent(record.results), "nothing"),
        _section("Proved", ((each.check.id, each.check.sentence) for each in _passed(record.results)), "nothing"),
        _section("Images", _images(stands), "none"),
        "<h2>Does it still hold?</h2>",
        "<p><code>postflight verify-signoff signoff.json --key PUBLIC-KEY --kubeconfig FILE</code></p>",
    ]
    title = f"<title>Sign-off of {escape(signing.release)}</title>"
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8">{title}<style>{STYLE}</style>'
    return "\n".join((head, *body, "</html>", ""))


def _said(results: Sequence[CheckResult], status: Status) -> Iterable[tuple[str, str]]:
    for result in results:
        for judged in result.judged:
            if judged.status is status:
                by = f"; {describe(judged.waiver)}" if judged.waiver else ""
                yield result.check.id, f"{judged.failure.headline}{by}"


def _absent(results: Sequence[CheckResult]) -> Iterable[tuple[str, str]]:
    return ((each.check.id, each.reason) for each in results if each.status is Status.ABSENT)


def _passed(results: Sequence[CheckResult]) -> Iterable[CheckResult]:
    return (each for each in results if each.status is Status.PASSED)


def _images(stands: Standing) -> Iterable[tuple[str, str]]:
    containers: dict[str, list[str]] = {}
    for container, images in stands.images.items():
        for image in images:
            containers.setdefault(f"{image.name} {image.id}", []).append(container)
    return ((image, ", ".join(users)) for image, users in sorted(containers.items()))


def _section(title: str, rows: Iterable[tuple[str, str]], none: str) -> str:
    table = _table(tuple(rows))
    return f"<h2>{title}</h2>\n{table or f'<p>{none}</p>'}"


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = [f"<tr><th>{escape(name)}<td>{escape(text)}" for name, text in rows]
    return "\n".join(("<table>", *lines, "</table>")) if lines else ""
