"""The run record as JSON: what other tools read, and what two runs are compared by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from postflight.verdict.failure import Failure
from postflight.verdict.record import CheckMeta, CheckResult, Judged, ProbeTime, RunRecord, Scene, Waiver
from postflight.verdict.status import Nature, Severity, Status

#: Raised whenever a reader of the last number would read something wrong. New keys do not raise it.
SCHEMA = 1


class SchemaError(ValueError):
    """The text is no run record, or one of another schema."""


def render(record: RunRecord) -> str:
    return json.dumps(to_dict(record), indent=2, ensure_ascii=False) + "\n"


def to_dict(record: RunRecord) -> dict[str, Any]:
    """Seconds are floats, times ISO 8601, statuses the words of the verdict."""
    return {
        "schema": SCHEMA,
        "exit": record.exit_code,
        "partial": record.partial,
        "run_id": record.run_id,
        "version": record.version,
        "started": record.started,
        "seconds": record.seconds,
        "scene": asdict(record.scene),
        "checks": [_check(result) for result in record.results],
        "probes": [asdict(probe) for probe in record.probes],
        "trouble": list(record.trouble),
        "notes": list(record.notes),
    }


def load(text: str) -> RunRecord:
    """The record that :func:`render` wrote. Raises SchemaError."""
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise SchemaError(f"run record of schema {data['schema']}, this version reads schema {SCHEMA}")
        return _record(data)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise SchemaError(f"no run record: {type(error).__name__}: {error}") from error


def _check(result: CheckResult) -> dict[str, Any]:
    return {
        "id": result.check.id,
        "status": result.status,
        "severity": result.check.severity,
        "finding": result.check.finding,
        "sentence": result.check.sentence,
        "why": result.check.why,
        "remedy": result.check.remedy,
        "blind_spots": result.check.blind_spots,
        "reason": result.reason,
        "blocked_by": list(result.blocked_by),
        "seconds": result.seconds,
        "seen": list(result.seen),
        "failures": [_failure(judged) for judged in result.judged],
    }


def _failure(judged: Judged) -> dict[str, Any]:
    """``status`` is the verdict, ``stated`` what the check said before blame and waivers."""
    return {
        **asdict(judged.failure),
        "status": judged.status,
        "stated": judged.failure.status,
        "blocked_by": list(judged.blocked_by),
        "blocks": list(judged.blocks),
        "waiver": asdict(judged.waiver) if judged.waiver else None,
    }


def _record(data: Mapping[str, Any]) -> RunRecord:
    scene = data["scene"]
    return RunRecord(
        run_id=data["run_id"],
        version=data["version"],
        started=data["started"],
        seconds=data["seconds"],
        scene=Scene(**{**scene, "namespaces": tuple(scene["namespaces"])}),
        results=tuple(map(_read_check, data["checks"])),
        probes=tuple(ProbeTime(**{**probe, "inputs": tuple(probe["inputs"])}) for probe in data["probes"]),
        trouble=tuple(data["trouble"]),
        notes=tuple(data["notes"]),
        partial=data["partial"],
        exit_code=data["exit"],
    )


def _read_check(data: Mapping[str, Any]) -> CheckResult:
    return CheckResult(
        check=CheckMeta(
            id=data["id"],
            sentence=data["sentence"],
            why=data["why"],
            severity=Severity(data["severity"]),
            finding=data["finding"],
            remedy=data["remedy"],
            blind_spots=data["blind_spots"],
        ),
        status=Status(data["status"]),
        judged=tuple(map(_read_failure, data["failures"])),
        seen=tuple(data["seen"]),
        blocked_by=tuple(data["blocked_by"]),
        reason=data["reason"],
        seconds=data["seconds"],
    )


def _read_failure(data: Mapping[str, Any]) -> Judged:
    failure = Failure(
        status=Status(data["stated"]),
        nature=Nature(data["nature"]),
        subject=data["subject"],
        headline=data["headline"],
        observed=data["observed"],
        expected=data["expected"],
        cause=data["cause"],
        remedy=data["remedy"],
        evidence=tuple(data["evidence"]),
        needs=tuple(data["needs"]),
        stops=tuple(data["stops"]),
    )
    return Judged(
        failure,
        Status(data["status"]),
        tuple(data["blocked_by"]),
        tuple(data["blocks"]),
        Waiver(**data["waiver"]) if data["waiver"] else None,
    )
