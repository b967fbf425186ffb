"""Make buckets in an S3 store, once it takes requests: `minio_buckets.py HOST:PORT BUCKET...`, keys by ACCESS_KEY and SECRET_KEY.

Signed by hand (AWS signature version 4): what this runs in need not have a client library.
"""

import hashlib
import hmac
import os
import sys
import time
from http.client import HTTPConnection, HTTPException

REGION = "us-east-1"
EMPTY = hashlib.sha256(b"").hexdigest()
# The bucket is there, whoever made it.
THERE = (200, 409)


def main(host: str, buckets: list[str]) -> None:
    for bucket in buckets:
        while True:
            said = made(host, bucket, time.gmtime())
            print(f"bucket {bucket}: {said}", flush=True)
            if said in THERE:
                break
            time.sleep(1)


def made(host: str, bucket: str, now: time.struct_time) -> int | str:
    """The status of the answer, or why there was none."""
    path = f"/{bucket}"
    try:
        connection = HTTPConnection(host, timeout=10)
        connection.request("PUT", path, headers=signed("PUT", host, path, now))
        return connection.getresponse().status
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__


def signed(method: str, host: str, path: str, now: time.struct_time) -> dict[str, str]:
    """The headers that say who asks."""
    moment, day = time.strftime("%Y%m%dT%H%M%SZ", now), time.strftime("%Y%m%d", now)
    headers = {"host": host, "x-amz-content-sha256": EMPTY, "x-amz-date": moment}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{EMPTY}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{os.environ['SECRET_KEY']}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    who = f"Credential={os.environ['ACCESS_KEY']}/{scope}"
    return headers | {"Authorization": f"AWS4-HMAC-SHA256 {who}, SignedHeaders={names}, Signature={signature}"}


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
