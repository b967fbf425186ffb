"""The in-toto Statement of a sign-off: what was tested, by what, and what it came to.

https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md, as plain JSON: the
protobuf packages turn integers into floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postflight.signoff.standing import Image, Standing
from postflight.verdict.record import CheckResult, RunRecord
from postflight.verdict.status import Status
from postflight.verdict.waivers import describe

TYPE = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
#: What a subject is, in its annotations.
CONFIGURATION, OBJECT, IMAGE = "configuration", "object", "image"


class NoSignOff(ValueError):
    """A Statement that is not one of ours; the message is one line."""


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs what, when (ISO 8601, UTC), and the files that the run was given: name to SHA-256."""

    release: str
    by: str
    at: str
    given: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Signed:
    """What a Statement says."""

    release: str
    cluster: str
    by: str
    at: str
    standing: Standing


def build(record: RunRecord, signing: Signing, stands: Standing) -> dict[str, Any]:
    """The Statement. ``record`` is redacted; names of images and objects stay as the API server has them."""
    ids = {status: [each.check.id for each in record.results if each.status is status] for status in Status}
    return {
        "_type": TYPE,
        "subject": [*_subjects(stands)],
        "predicateType": PREDICATE,
        "predicate": {
            "result": "WARNED" if ids[Status.WARNED] else "PASSED",
            "configuration": [
                {"name": "postflight", "uri": f"pkg:pypi/matrix-postflight@{record.version}"},
                *({"name": name, "digest": {"sha256": sha256}} for name, sha256 in signing.given.items()),
            ],
            "passedTests": ids[Status.PASSED],
            "warnedTests": ids[Status.WARNED],
            "failedTests": ids[Status.FAILED],
            "postflight": {
                "release": signing.release,
                "cluster": record.scene.cluster,
                "namespaces": list(stands.namespaces),
                "signedBy": signing.by,
                "signedOn": signing.at,
                "run": record.run_id,
                "startedOn": record.started,
                "safety": record.scene.safety,
                "limits": [*_said(record.results, Status.WARNED)],
                "waived": [*_said(record.results, Status.WAIVED)],
                "absent": [_test(each, each.reason) for each in record.results if each.status is Status.ABSENT],
            },
        },
    }


def read(statement: Any) -> Signed:
    """What a Statement says. Raises NoSignOff where it is none of ours."""
    try:
        if (statement["_type"], statement["predicateType"]) != (TYPE, PREDICATE):
            raise NoSignOff(f"it is a {statement['predicateType']}, no test result of in-toto")
        ours = statement["predicate"]["postflight"]
        objects: dict[str, str] = {}
        images: dict[str, set[Image]] = {}
        whole = ""
        for subject in statement["subject"]:
            notes = subject["annotations"]
            if notes["what"] == CONFIGURATION:
                whole = subject["digest"]["sha256"]
            elif notes["what"] == OBJECT:
                objects[subject["name"]] = subject["digest"]["sha256"]
            else:
                for container in notes["containers"]:
                    images.setdefault(container, set()).add(Image(subject["name"], notes["imageID"]))
        stands = Standing(tuple(ours["namespaces"]), objects, {name: frozenset(each) for name, each in images.items()})
        if stands.configuration != whole:
            raise NoSignOff("the hashes of its objects do not make the hash of its configuration")
        return Signed(ours["release"], ours["cluster"], ours["signedBy"], ours["signedOn"], stands)
    except (KeyError, TypeError, AttributeError) as error:
        raise NoSignOff(f"it is no sign-off of postflight ({type(error).__name__}: {error})") from error


def _subjects(stands: Standing) -> Iterator[dict[str, Any]]:
    yield _subject("configuration", {"sha256": stands.configuration}, {"what": CONFIGURATION})
    for name, sha256 in stands.objects.items():
        yield _subject(name, {"sha256": sha256}, {"what": OBJECT})
    containers: dict[Image, list[str]] = {}
    for container, images in stands.images.items():
        for image in images:
            containers.setdefault(image, []).append(container)
    for image in sorted(containers):
        notes = {"what": IMAGE, "imageID": image.id, "containers": containers[image]}
        yield _subject(image.name, image.digest, notes)


def _subject(name: str, digest: Mapping[str, str], notes: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "digest": dict(digest), "annotations": dict(notes)}


def _said(results: Sequence[CheckResult], status: Status) -> Iterator[dict[str, str]]:
    for result in results:
        for judged in result.judged:
            if judged.status is status:
                by = f"; {describe(judged.waiver)}" if judged.waiver else ""
                yield _test(result, f"{judged.failure.headline}{by}")


def _test(result: CheckResult, why: str) -> dict[str, str]:
    return {"test": result.check.id, "why": why}
