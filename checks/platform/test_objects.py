from postflight.check import check
from postflight.cluster.custom_references import NamedKey, custom_references
from postflight.cluster.kinds import (
    CONFIG_MAP,
    LISTED,
    SCHEDULED_BACKUP,
    SECRET,
    SERVICE_MONITOR,
    TENANT,
)
from postflight.cluster.lacking import lacking
from postflight.cluster.secrets import SecretStore
from postflight.cluster.snapshot import Snapshot
from postflight.deployment.backup_schedule import misread, unreadable
from postflight.deployment.schemas import applied, unknown_fields
from postflight.probes.custom_schemas import CustomSchemas
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity


@check(
    "platform.objects",
    severity=Severity.MAJOR,
    kinds=(CONFIG_MAP, SCHEDULED_BACKUP, SERVICE_MONITOR, TENANT),
    remedy="correct the object's manifest, and apply it by a way that refuses unknown fields (kubectl with validation)",
    blind_spots="a field that was thrown away where no annotation keeps the manifest (Helm, a client of one's own);"
    " an operator's webhook may have refused the object as a whole, then it is not there to be looked at",
)
def test_what_operators_are_told_is_what_they_understand(
    snapshot: Snapshot, secrets: SecretStore, custom_schemas: CustomSchemas, judge: Judge
) -> None:
    """The API server throws away silently what a CRD does not know, and takes any text for a schedule or for the name of
    a key: the operator then does something else than the manifest says, or nothing."""
    for kind in (kind for kind in LISTED if kind.custom):
        for each in snapshot.all(kind):
            judge.saw(_id(kind.name, each["metadata"]["namespace"], each["metadata"]["name"]))
    if not judge.seen:
        judge.absent("no object of an operator's kind stands here")
    _schedules(snapshot, judge)
    _keys(snapshot, secrets, judge)
    _fields(snapshot, custom_schemas, judge)


def _id(kind: str, namespace: str, name: str) -> str:
    return f"{kind.lower()}/{namespace}/{name}"


def _schedules(snapshot: Snapshot, judge: Judge) -> None:
    for each in snapshot.all(SCHEDULED_BACKUP):
        name, namespace = each["metadata"]["name"], each["metadata"]["namespace"]
        schedule = str((each.get("spec") or {}).get("schedule") or "").strip()
        part = _id(SCHEDULED_BACKUP.name, namespace, name)
        if why := unreadable(schedule):
            judge.wrong(
                part,
                f"ScheduledBackup {name} never runs: CloudNativePG cannot read its schedule {schedule!r}",
                observed=why,
                expected="six fields: second, minute, hour, day, month, weekday",
                remedy=f"correct spec.schedule of ScheduledBackup {name} in namespace {namespace}",
            )
        elif means := misread(schedule):
            judge.wrong(
                part,
                f"ScheduledBackup {name} has a crontab's five fields, {schedule!r}, and so runs at other times:"
                f" CloudNativePG reads {means}",
                observed=means,
                expected="six fields: second, minute, hour, day, month, weekday",
                cause="CloudNativePG's schedules have seconds first; of five fields it takes the first for them",
                remedy=f"write schedule: {f'0 {schedule}'!r} in ScheduledBackup {name} in namespace {namespace}",
            )


def _keys(snapshot: Snapshot, secrets: SecretStore, judge: Judge) -> None:
    missing: dict[tuple[str, str, str, str], list[NamedKey]] = {}
    unread: dict[str, str] = {}
    for ref in custom_references(snapshot):
        part = _id(ref.owner_kind, ref.namespace, ref.owner)
        if ref.kind is SECRET and (why := secrets.unseen.get((ref.namespace, ref.name))):
            unread[f"Secret {ref.name}, named by {ref.owner_kind} {ref.owner}, could not be read: {why}"] = part
        elif what := lacking(ref, snapshot, secrets):
            missing.setdefault((ref.owner_kind, ref.namespace, ref.owner, f"{ref.kind.name} {what}"), []).append(ref)
    for line, part in unread.items():
        judge.unknown(part, line)
    for (kind, namespace, owner, what), refs in missing.items():
        keys = ", ".join(dict.fromkeys(ref.key for ref in refs))
        judge.wrong(
            _id(kind, namespace, owner),
            f"{what} does not exist; {kind} {owner} names it ({refs[0].where})",
            observed=f"named by {', '.join(dict.fromkeys(ref.where for ref in refs))}, with {keys}",
            expected=f"{refs[0].kind.name} {refs[0].name} in namespace {namespace} has {keys}",
            remedy=f"make {what} in namespace {namespace}, or name the one that is meant",
        )


def _fields(snapshot: Snapshot, schemas: CustomSchemas, judge: Judge) -> None:
    for each in applied(snapshot):
        part = _id(each.kind, each.namespace, each.name)
        document = schemas.documents.get(each.version)
        found = unknown_fields(document, each) if document is not None else None
        if found is None:
            why = schemas.unseen.get(each.version) or f"the API server has no schema of {each.kind} in {each.version}"
            judge.unknown(part, f"whether {each.kind} {each.name} has fields that its CRD does not know: {why}")
        elif found:
            them = "it" if len(found) == 1 else "them"
            judge.wrong(
                part,
                f"{each.kind} {each.name} was applied with {', '.join(found)}, which its CRD does not know:"
                f" the API server threw {them} away",
                observed=f"the manifest that was applied has {', '.join(found)}",
                expected=f"fields of {each.version} as it is installed",
                cause="the field is spelled differently or stands elsewhere, or the operator's CRDs are of another release",
                remedy=f"kubectl explain {each.kind.lower()}.spec --api-version={each.version}, then correct the manifest",
            )
