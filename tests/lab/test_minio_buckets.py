"""The Job that makes MinIO's buckets signs its requests as S3 wants it."""

import importlib.util
import re
import time
from types import ModuleType

import httpx
import pytest
from requests_aws4auth.aws4auth import AWS4Auth

from lab.manifests import DEPLOYMENT
from tests.unit.loopback import Reply, Request, answering, closed_port

NOW = time.gmtime(1767323045)


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("ACCESS_KEY", "an-access-key")
    monkeypatch.setenv("SECRET_KEY", "a-secret-key")
    spec = importlib.util.spec_from_file_location("minio_buckets", DEPLOYMENT / "base/config/minio_buckets.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_request_is_signed_as_the_library_signs_it(job: ModuleType) -> None:
    mine = job.signed("PUT", "minio.test:9000", "/media", NOW)
    theirs = httpx.Request("PUT", "http://minio.test:9000/media", headers={"x-amz-date": mine["x-amz-date"]})
    AWS4Auth("an-access-key", "a-secret-key", "us-east-1", "s3")(theirs)
    assert _parts(mine["Authorization"]) == _parts(theirs.headers["Authorization"])


def _parts(header: str) -> set[str]:
    return set(re.split(r"[ ,]+", header))


def test_it_asks_until_each_bucket_is_there(job: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    statuses = iter((503, 200, 409))

    def answer(asked: Request) -> Reply:
        assert re.match(
            r"AWS4-HMAC-SHA256 Credential=an-access-key/\d{8}/us-east-1/s3/aws4_request, ", asked.authorization
        )
        return next(statuses), {}

    with answering(answer) as (port, seen):
        job.main(f"127.0.0.1:{port}", ["one", "two"])
    assert [(each.method, each.path) for each in seen] == [("PUT", "/one"), ("PUT", "/one"), ("PUT", "/two")]


def test_a_server_that_is_not_there_is_asked_again(job: ModuleType) -> None:
    assert isinstance(job.made(f"127.0.0.1:{closed_port()}", "one", NOW), str)
