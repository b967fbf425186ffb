"""Asks the operator for the subscription, when both sides have what it needs, and waits until every table is copied.

An object that stood among the manifests would be tried before there is a publication, which PostgreSQL takes without an
error and never looks at again, and the operator tries what failed only every 30 s.
"""

import json
import os
import ssl
import time
import urllib.error
import urllib.request

import psycopg2

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
STATES = "SELECT count(*), count(*) FILTER (WHERE srsubstate <> 'r') FROM pg_subscription_rel"


def main():
    namespace = read("namespace")
    wanted = {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Subscription",
        "metadata": {"name": os.environ["SUBSCRIPTION_OBJECT"], "namespace": namespace},
        "spec": {
            "name": os.environ["SUBSCRIPTION"],
            "cluster": {"name": os.environ["SUBSCRIBER"]},
            "dbname": os.environ["LI_DB_NAME"],
            "externalClusterName": os.environ["PUBLISHER"],
            "publicationName": os.environ["PUBLICATION"],
            "publicationDBName": os.environ["MAIN_DB_NAME"],
        },
    }
    make(f"/apis/postgresql.cnpg.io/v1/namespaces/{namespace}/subscriptions", wanted)
    wait()


def make(path, wanted):
    request = urllib.request.Request(
        f"https://kubernetes.default.svc{path}",
        json.dumps(wanted).encode(),
        {"Authorization": f"Bearer {read('token')}", "Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(request, context=ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt"), timeout=10)
        print("asked for", wanted["spec"]["name"], flush=True)
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise SystemExit(f"{error.code}: {error.read().decode(errors='replace')}") from error
        print(wanted["spec"]["name"], "was asked for before", flush=True)


def wait():
    login = {word: os.environ[f"LI_DB_{word.upper()}"] for word in ("host", "user", "password")}
    connection = psycopg2.connect(dbname=os.environ["LI_DB_NAME"], **login)
    connection.autocommit = True
    cursor = connection.cursor()
    while True:
        cursor.execute(STATES)
        tables, waiting = cursor.fetchone()
        if tables and not waiting:
            print(tables, "tables are copied and followed", flush=True)
            return
        time.sleep(0.5)


def read(name):
    with open(f"{ACCOUNT}/{name}") as file:
        return file.read()


if __name__ == "__main__":
    main()
