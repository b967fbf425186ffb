"""One run at a time per namespace, by a Lease that a killed run lets expire."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from postflight.cluster.api import Api, ApiError
from postflight.cluster.kinds import LEASE
from postflight.polling import NotYet, TimedOut, wait_for

NAME = "postflight"
SECONDS = 15
RENEW_EVERY = 5.0
FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class Held(Exception):
    """Another run holds the Lease; the message says who."""


class Lease:
    """Held from :meth:`acquire` to :meth:`release`, renewed in the background. Its times are the API server's.

    ``predecessor`` is the expired Lease that was taken over, empty when there was none."""

    def __init__(self, api: Api, namespace: str, holder: str, labels: Mapping[str, str]) -> None:
        self.path = LEASE.path(namespace, NAME)
        self._api, self._namespace, self._holder, self._labels = api, namespace, holder, dict(labels)
        self._over = threading.Event()
        self.predecessor: Mapping[str, Any] = {}

    def acquire(self, limit: float) -> None:
        """Wait until it is ours. Raises :class:`Held` after ``limit`` seconds, ApiError when refused."""
        try:
            wait_for(self._try, limit=limit, every=0.5)
        except TimedOut as error:
            raise Held(str(error)) from error
        threading.Thread(target=self._renew, daemon=True).start()

    def release(self) -> None:
        """Delete it, if it is still ours."""
        self._over.set()
        try:
            held = self._api.get(self.path)
            if held["spec"].get("holderIdentity") == self._holder:
                same = {"uid": held["metadata"]["uid"]}
                self._api.request("DELETE", self.path, {"preconditions": same})
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    def _try(self) -> None:
        try:
            held = self._api.get(self.path)
        except ApiError as error:
            if error.status != 404:
                raise
            self._write("POST", LEASE.path(self._namespace), self._body({}))
            return
        spec = held["spec"]
        if not expired(held, self._api.now()) and spec.get("holderIdentity") != self._holder:
            raise NotYet(f"held by {spec.get('holderIdentity')}, renewed {spec['renewTime']}")
        self.predecessor = held
        self._write("PUT", self.path, self._body({"resourceVersion": held["metadata"]["resourceVersion"]}))

    def _write(self, method: str, path: str, body: Mapping[str, Any]) -> None:
        try:
            self._api.request(method, path, body)
        except ApiError as error:
            if error.status == 409:
                raise NotYet("another run took it at the same moment") from error
            raise

    def _body(self, meta: Mapping[str, str]) -> dict[str, Any]:
        now = self._api.now().strftime(FORMAT)
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self._namespace, "labels": self._labels, **meta},
            "spec": {
                "holderIdentity": self._holder,
                "leaseDurationSeconds": SECONDS,
                "acquireTime": now,
                "renewTime": now,
            },
        }

    def _renew(self) -> None:
        patch = self._api.request
        while not self._over.wait(RENEW_EVERY):
            body = {"spec": {"renewTime": self._api.now().strftime(FORMAT)}}
            try:
                patch("PATCH", self.path, body, content_type="application/merge-patch+json")
            except ApiError:
                continue


def expired(raw: Mapping[str, Any], now: datetime) -> bool:
    """Whether the run that held a Lease had ended, in whatever way, by then (by the API server's clock)."""
    spec = raw.get("spec") or {}
    try:
        renewed = datetime.strptime(spec["renewTime"], FORMAT).replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        return True
    return renewed + timedelta(seconds=spec.get("leaseDurationSeconds") or SECONDS) < now
