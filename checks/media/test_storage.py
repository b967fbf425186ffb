import re
from collections.abc import Mapping, Sequence

from postflight.check import check
from postflight.deployment.media import APP
from postflight.deployment.model import Deployment
from postflight.deployment.parts import Side, SynapseProcess, names_of
from postflight.deployment.storage import MODULE, PACKAGE, PROVIDERS
from postflight.deployment.store_parts import Keys, ObjectStore
from postflight.probes.canary_user import Hindered
from postflight.probes.object_stores import MODULES, NO_BUCKET, ProviderModules, StoreAnswer, sending
from postflight.probes.probe import BarredBy, NotTried
from postflight.probes.stored_media import Fetched, StoredMedia
from postflight.verdict.judge import Judge
from postflight.verdict.status import Severity

#: What Python says as its last word (Synapse imports the provider as it reads its configuration).
ABSENT = re.compile(r"No module named '([\w.]+)'")
UNPARSED = f"Failed to parse config for module '{MODULE}"
NOT_STORED = "the way of a file into its bucket and back was not seen"


@check(
    "media.storage",
    severity=Severity.CRITICAL,
    finding="1.4",
    remedy=f"give every process that holds media {PACKAGE}, the bucket's own key pair, and store_local: true",
    blind_spots="other servers' files (store_remote), thumbnails, files from before, LI's own files; storing through any"
    " other process than the one that took the upload (the others only fetch); where processes share a volume and the"
    " upload's own copy may not be taken away (no right to exec), whether the file came from the bucket",
)
def test_a_file_that_is_uploaded_is_in_its_bucket_and_comes_back_through_every_media_process(
    deployment: Deployment,
    last_words: Mapping[str, tuple[str, ...]],
    object_stores: tuple[StoreAnswer, ...],
    provider_modules: Mapping[str, ProviderModules] | NotTried,
    stored_media: StoredMedia | Hindered | NotTried,
    judge: Judge,
) -> None:
    """Where the bucket does not get a file, the one process that took it serves it alone, and its volume is the only
    copy: half of the users do not see the picture, and nobody will once the pod is gone."""
    unread = [each for each in deployment.unread if each.is_main or each.app == APP]
    for process in unread:
        why = process.config_problem
        judge.unknown(process.id, f"where {process.workload_name} keeps media is not known: {why}")
    users = {each.id: each for each in sending(deployment)}
    if not users:
        if not unread:
            judge.absent(f"no {PROVIDERS} of any process with media names an object store")
        return
    for process in users.values():
        judge.saw(process.id)
        _package(process, last_words, judge)
    _agree(deployment, users, judge)
    told = False
    for answer in object_stores:
        mine = [users[each] for each in answer.store.users if each in users]
        told = _store(answer, mine, stored_media, judge) or told
    if isinstance(stored_media, StoredMedia):
        if not told:
            _round_trip(stored_media, provider_modules, judge)
    elif isinstance(stored_media, Hindered):
        if not told:
            where = stored_media.where or next(iter(users))
            judge.unknown(where, f"{NOT_STORED}: {stored_media.problem}")
    else:
        say = judge.unknown if stored_media.barred_by is BarredBy.RIGHT else judge.unproven
        say(next(iter(users)), f"{NOT_STORED}: {stored_media.reason}")
    _next_start(provider_modules, judge)


def _package(process: SynapseProcess, last_words: Mapping[str, tuple[str, ...]], judge: Judge) -> None:
    """One that was not even up: Synapse ends where it cannot import what its configuration names."""
    if process.is_up:
        return
    said = last_words.get(process.id, ())
    if any(UNPARSED in line for line in said):
        judge.wrong(
            process.id,
            f"{process.name} cannot start: {MODULE} refuses its part of {PROVIDERS}: {said[-1].strip()}",
            expected="bucket, and what else the provider asks for",
            remedy=f"correct the config of {MODULE} in {PROVIDERS}",
            evidence=said,
            stops=(process.id,),
        )
        return
    missing = next((m[1] for line in said if (m := ABSENT.search(line)) and m[1].partition(".")[0] in MODULES), "")
    if not missing:
        line = f"{process.name} sends media to an object store, and is not up"
        judge.unavailable(process.id, line)
        return
    judge.wrong(
        process.id,
        f"{process.name} cannot start: {PROVIDERS} names {MODULE}, and its image has no Python module {missing}",
        observed=next(line for line in reversed(said) if missing in line),
        expected=f"{PACKAGE} in every process that holds media",
        cause=f"{PACKAGE} is missing there, or lies where its Python does not look",
        remedy=f"put {PACKAGE} into the image, or on the PYTHONPATH of {process.name}",
        evidence=said,
        stops=(process.id,),
    )


def _agree(deployment: Deployment, users: Mapping[str, SynapseProcess], judge: Judge) -> None:
    """All processes of one homeserver use one bucket: each looks for what the others stored."""
    for side in Side:
        places: dict[tuple[str, str, str], list[SynapseProcess]] = {}
        for store in (each for each in deployment.stores if each.side is side):
            mine = [users[each] for each in store.users if each in users]
            places.setdefault((store.where, store.bucket, store.prefix), []).extend(mine)
        if len(places) > 1:
            words = [f"{names_of(found)} to {_place(*place)}" for place, found in places.items() if found]
            first = min(places.values(), key=len)[0]
            judge.wrong(
                first.id,
                f"media processes do not agree where media go: {', '.join(words)}",
                expected=f"one {PROVIDERS} for all processes that hold media",
                remedy=f"set {PROVIDERS} in the configuration that all processes share, then restart them",
            )


def _place(where: str, bucket: str, prefix: str) -> str:
    return f"bucket {bucket} at {where}" + (f" below {prefix}" if prefix else "")


def _store(
    answer: StoreAnswer,
    users: Sequence[SynapseProcess],
    trip: StoredMedia | Hindered | NotTried,
    judge: Judge,
) -> bool:
    """What the object store itself said. Returns whether that says why no file can be stored."""
    store, said = answer.store, answer.said
    where = f"bucket {store.bucket} at {store.where}"
    if said.unasked:
        judge.unknown(store.id, f"{where} could not be asked: {said.problem}", remedy=_reach(store))
        return True
    if not said.status or said.status >= 500:
        judge.unavailable(
            store.id,
            f"the object store {store.where} does not answer: {said}",
            expected=f"it answers for bucket {store.bucket}, where {names_of(users)} {_s(users, 'keeps', 'keep')} media",
        )
        return True
    if not said.refuses:
        judge.saw(store.id)
        return False
    tried = _tried(trip, store)
    cannot = f"{names_of(users)} cannot store media"
    if said.code == NO_BUCKET:
        judge.wrong(
            store.id,
            f"{cannot}: {store.where} has no bucket {store.bucket}",
            observed=f"{store.where} answers {said}{tried}",
            expected=f"a bucket {store.bucket}",
            cause=f"nobody made the bucket that {PROVIDERS} names, or it was removed",
            remedy=f"make bucket {store.bucket}, or name the one there is in {PROVIDERS}",
            stops=(store.id,),
        )
    else:
        judge.wrong(
            store.id,
            f"{cannot}: {store.where} does not take their key pair ({said.code})",
            observed=f"{store.where} answers {said}{tried}",
            expected=f"the key pair in effect opens bucket {store.bucket}",
            cause=_differs(store.keys, store.root),
            remedy=f"give Synapse the key pair that {store.where} has, then restart {names_of(users)}",
            stops=(store.id,),
        )
    return True


def _tried(trip: StoredMedia | Hindered | NotTried, store: ObjectStore) -> str:
    """What became of an upload that was to go there."""
    if isinstance(trip, StoredMedia) and trip.store.id == store.id and trip.refused:
        return f"; {trip.refused}"
    return ""


def _reach(store: ObjectStore) -> str:
    if store.keys.secret is None:
        return "let Synapse have its key pair from its configuration or its environment, by a Secret"
    if store.endpoint.namespace:
        return f"name that namespace too: --namespace ...,{store.endpoint.namespace}"
    return f"name it in the settings, storage.hosts: [{store.endpoint.host}]"


def _differs(keys: Keys, root: Keys | None) -> str:
    if root is None:
        return f"the key pair from {keys.origin} is not, or no longer, one of the object store's"
    if root.access != keys.access:
        return f"the key pair from {keys.origin} is another than the one of {root.origin}"
    if root.secret != keys.secret:
        return f"{keys.origin} differs from {root.origin}"
    return f"it was started before {root.origin} was changed"


def _round_trip(trip: StoredMedia, modules: Mapping[str, ProviderModules] | NotTried, judge: Judge) -> None:
    store, name = trip.store, trip.uploader.name
    where = f"bucket {store.bucket} at {store.where}"
    if trip.refused and 400 <= trip.status < 500:
        judge.unknown(trip.uploader.id, f"{NOT_STORED}: {trip.refused}")
        return
    if trip.refused:
        judge.unavailable(
            trip.uploader.id,
            f"{name} does not take an upload: {trip.refused}",
            expected=f"an upload is taken and stored in {where}",
            cause="what it does with its object store fails: its log says how" if trip.status else "",
            remedy=f"read the log of {name} for s3_storage_provider and botocore",
            needs=(trip.uploader.id, store.id),
        )
        return
    if trip.found.status == 200 and not trip.same:
        line = f"{where} does not hold what {name} took: object {trip.key} differs from the upload"
        judge.wrong(store.id, line, expected="the object is the upload, byte for byte")
    elif trip.found.status != 200 and not trip.found.code:
        judge.unknown(store.id, f"whether an upload through {name} is in {where} was not seen: {trip.found}")
    elif trip.found.status != 200:
        _only_here(trip, where, judge)
    else:
        judge.saw(store.id, trip.uploader.id)
        _back(trip, where, modules, judge)
    if trip.left:
        line = f"object {trip.key} stays in bucket {store.bucket}: Synapse's key pair may not remove it ({trip.left})"
        judge.warn(store.id, line, remedy="let that key pair remove objects (s3:DeleteObject), and remove this one")


def _only_here(trip: StoredMedia, where: str, judge: Judge) -> None:
    name, store = trip.uploader.name, trip.store
    if store.local:
        cause = (
            "" if store.synchronous else "the provider fails after the upload is answered (store_synchronous is off)"
        )
        remedy = (
            f"read the log of {name} for s3_storage_provider; with store_synchronous: true the upload fails instead"
        )
    else:
        cause = f"store_local of {MODULE} is false, or not set, in the configuration of {name}"
        remedy = "set store_local: true, restart all media processes, and bring over what they hold (s3_media_upload)"
    judge.wrong(
        trip.uploader.id,
        f"what is uploaded through {name} stays on its own volume"
        + ("" if store.local else ": store_local is false")
        + f", {where} does not get it",
        observed=f"{where} answers {trip.found} for {trip.key}",
        expected="the object under its key",
        cause=cause,
        remedy=remedy,
    )


def _back(trip: StoredMedia, where: str, modules: Mapping[str, ProviderModules] | NotTried, judge: Judge) -> None:
    """That every media process gives back what one took."""
    wrong = [each for each in trip.fetched if not each.same]
    for answer in {_said(each): each for each in wrong}:
        them = [each for each in wrong if _said(each) == answer]
        first, processes = them[0], [each.process for each in them]
        say = judge.wrong if 0 < first.status < 500 else judge.unavailable
        say(
            first.process.id,
            f"{names_of(processes)} {_s(processes, 'does', 'do')} not give back what {trip.uploader.name} took: {answer}",
            observed="; ".join(each.problem or f"{each.process.name} gives other bytes" for each in them),
            expected=f"the file from {where}, byte for byte",
            cause=_why(first, modules),
            remedy=f"let all media processes have the same {PROVIDERS}, and restart them",
        )
    judge.saw(*(each.process.id for each in trip.fetched if each.same))
    if not any(each.proves for each in trip.fetched if each.same) and not wrong:
        why = trip.kept or "nobody else was there to ask"
        line = f"{where} gets what is uploaded; that it comes back from there was not seen: every media process that"
        judge.unproven(trip.uploader.id, f"{line} was asked may have it on its own volume ({why})")


def _said(fetched: Fetched) -> str:
    if not fetched.problem:
        return "other bytes"
    return f"{fetched.status}" if fetched.status else fetched.problem


def _why(fetched: Fetched, modules: Mapping[str, ProviderModules] | NotTried) -> str:
    seen = None if isinstance(modules, NotTried) else modules.get(fetched.process.id)
    if seen and seen.missing:
        return f"{fetched.process.name} has no Python module {', '.join(seen.missing)}: it runs without the provider"
    if (fetched.process.config or {}).get(PROVIDERS):
        return f"{fetched.process.name} reads another bucket, or none: its log says which"
    return f"no {PROVIDERS} in the configuration of {fetched.process.name}"


def _next_start(modules: Mapping[str, ProviderModules] | NotTried, judge: Judge) -> None:
    """One that runs with a provider that is no longer there ends with its next start."""
    if isinstance(modules, NotTried):
        return
    for seen in modules.values():
        if seen.missing:
            judge.warn(
                seen.process.id,
                f"{seen.process.name} would not start again: its Python does not find {', '.join(seen.missing)}",
                remedy=f"put {PACKAGE} into the image",
            )


def _s(processes: Sequence[SynapseProcess], one: str, more: str) -> str:
    return one if len(processes) == 1 else more
