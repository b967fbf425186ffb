"""From a run that may be signed to the two files of its sign-off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from postflight.cluster.snapshot import Snapshot
from postflight.signoff import document, statement
from postflight.signoff.envelope import seal
from postflight.signoff.standing import standing
from postflight.signoff.statement import Signing
from postflight.verdict.record import RunRecord

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ENVELOPE, DOCUMENT = "signoff.json", "signoff.html"


@dataclass(frozen=True, slots=True)
class Request:
    """What ``--signoff`` asks for. ``given`` are the files that the run was given: name to SHA-256."""

    release: str
    by: str
    signer: CryptoSigner
    given: Mapping[str, str]

    @property
    def keyid(self) -> str:
        return str(self.signer.public_key.keyid)

    def clear(self, folder: Path) -> None:
        """Remove an earlier run's sign-off: it must not lie beside a verdict that is not its own."""
        for name in (ENVELOPE, DOCUMENT):
            (folder / name).unlink(missing_ok=True)


def files(record: RunRecord, snapshot: Snapshot, request: Request) -> Mapping[str, str]:
    """The envelope and the page, by file name. ``record`` is redacted, and may be signed."""
    stands = standing(snapshot)
    signing = Signing(request.release, request.by, datetime.now(UTC).isoformat(timespec="seconds"), request.given)
    return {
        ENVELOPE: seal(statement.build(record, signing, stands), request.signer),
        DOCUMENT: document.render(record, signing, stands, request.keyid),
    }
