"""What is wrong with a content scanner's answers, and who of several is to blame for it.

Source: matrix-content-scanner, docs/api.md (reasons of its refusals).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from postflight.deployment.scan_parts import Scanner
from postflight.probes.clamds import ClamdSaid
from postflight.probes.scanned_media import Ways
from postflight.probes.scanner_asks import Meaning, Reply

NOT_SEEN = "whether a virus is refused, and nothing else, was not seen"
MIME, UNDECRYPTED = "MCS_MIME_TYPE_FORBIDDEN", "MCS_MEDIA_FAILED_TO_DECRYPT"
UNFETCHED, UNFOUND = "MCS_MEDIA_REQUEST_FAILED", "M_NOT_FOUND"


class Pattern(Enum):
    """What a scanner does with every file that it was asked for."""

    REFUSES = "refuses every file as if it was a virus"
    PASSES = "takes every file for clean, EICAR too"
    NEITHER = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a scanner's answers. ``silent``: something beneath may be why; ``weak``: it was not seen."""

    headline: str
    cause: str = ""
    remedy: str = ""
    silent: bool = False
    weak: bool = False


@dataclass(slots=True)
class Seen:
    """What was seen of the scanners: of each the ``patterns`` of its pods; ``told`` are those of which something was
    said; ``served``: a clean file came by the front door."""

    patterns: Mapping[str, tuple[Pattern, ...]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    served: bool = False

    def does(self, scanner: Scanner, pattern: Pattern) -> bool:
        return pattern in self.patterns.get(scanner.id, ())


def patterns_of(ways: Sequence[Ways]) -> Mapping[str, tuple[Pattern, ...]]:
    """By scanner, what each of its pods does."""
    found: dict[str, tuple[Pattern, ...]] = {}
    for each in ways:
        if each.pod:
            found[each.scanner.id] = (*found.get(each.scanner.id, ()), pattern_of(each.replies))
    return found


def pattern_of(replies: Sequence[Reply]) -> Pattern:
    """What one pod does with every file."""
    clean = {each.meaning for each in replies if each.question.clean}
    viruses = {each.meaning for each in replies if not each.question.clean}
    if clean == {Meaning.REFUSED} and viruses <= {Meaning.REFUSED}:
        return Pattern.REFUSES
    return Pattern.PASSES if clean == viruses == {Meaning.PASSED} else Pattern.NEITHER


def trouble_of(ways: Ways, answers: Sequence[ClamdSaid], blamed: set[Pattern]) -> Trouble | None:
    """What is wrong with one pod's answers, None where nothing is or a daemon is ``blamed`` for it. The name of who
    answered takes the place of ``{}``."""
    scanner, replies, pattern = ways.scanner, ways.replies, pattern_of(ways.replies)
    command = f"its scan command {scanner.program}" if scanner.program else "its scan command"
    if not ways.shown.status or any(each.meaning is Meaning.SILENT for each in replies):
        heard = next((each.heard for each in replies if each.meaning is Meaning.SILENT), ways.shown)
        return Trouble(f"{{}} does not answer: {heard.short}", silent=True)
    if pattern is not Pattern.NEITHER:
        if pattern in blamed:
            return None
        ends = "with 0 for a virus too" if pattern is Pattern.PASSES else "with another code than 0 for every file"
        own = next((each for each in answers if not each.problem), None)
        cause = f"{command} ends {ends}"
        if own:
            cause += f", while {own.clamd.name} says of the clean file {own.harmless!r}, of EICAR {own.eicar!r}"
        remedy = "correct the command: 0 for what is clean, 1 for a find, 2 where it could not scan"
        return Trouble(f"{{}} {pattern.value}: {command} ends {ends}", cause, remedy)
    wrong = [each for each in replies if not each.right]
    other = next((each for each in wrong if each.meaning is Meaning.OTHER), None)
    if other:
        return _other(other, scanner, command)
    if not wrong:
        if ways.shown.json.get("public_key"):
            return None
        return Trouble(f"{{}} shows no public key ({ways.shown.short}), so nobody can encrypt for it")
    passed = [each.question.name for each in wrong if not each.question.clean]
    if passed:
        return Trouble(f"{{}} passes {' and '.join(passed)}", f"{command}, or its decryption, misses it")
    refused = [each.question.name for each in wrong if each.meaning is Meaning.REFUSED]
    if refused:
        return Trouble(f"{{}} refuses {' and '.join(refused)} as if it was a virus", f"{command} does not pass it")
    return Trouble(f"{{}} changes {wrong[0].question.name} on its way")


def _other(reply: Reply, scanner: Scanner, command: str) -> Trouble:
    """An answer that is neither a file nor a find."""
    said, what, where = reply.heard.short, reply.question.name, scanner.homeserver or "the homeserver"
    match reply.heard.status, reply.heard.reason:
        case 403, reason if reason == MIME:
            line = f"{{}} takes no files of such types ({said}): {NOT_SEEN}"
            return Trouble(line, "scan.allowed_mimetypes, or blocked_mimetypes, of its configuration", weak=True)
        case 400, reason if reason == UNDECRYPTED:
            return Trouble(f"{{}} cannot decrypt {what}: {said}", "its key, or how it decrypts, is not what it says")
        case 502, reason if reason == UNFETCHED:
            cause = f"{where} (download.base_homeserver_url) does not answer it, or refuses it"
            return Trouble(f"{{}} cannot fetch files from {where}: {said}", cause, silent=True)
        case 401, _:
            cause = "the client's token does not get there, or twice: headers_to_forward must not name authorization"
            return Trouble(f"{{}} fetches files from {where} without the client's token: {said}", cause)
        case 404, reason if reason == UNFOUND:
            return Trouble(f"{{}} does not find {what} at {where}: {said}", f"{where} has other files, or not all")
        case status, _ if status >= 500:
            return Trouble(f"{{}} fails at {what}: {said}", f"{command} cannot be run, or its folder not be written to")
    return Trouble(f"{{}} answers {said} for {what}")
