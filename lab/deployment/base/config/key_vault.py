"""A stand-in for the key vault: records in PostgreSQL behind an API key."""

import hmac
import json
import logging
import os
import re
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

log = logging.getLogger("key_vault")


def connect():
    return psycopg2.connect(
        host=os.environ["DB_HOST"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASSWORD"],
        connect_timeout=3,
    )


def run(statement, *values):
    connection = connect()
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS records (id text PRIMARY KEY, body bytea NOT NULL)")
            cursor.execute(statement, values)
            return cursor.fetchone()
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            run("SELECT 1")
            return self.answer(200, {"status": "ok"})
        if (name := self.record()) is None:
            return None
        row = run("SELECT body FROM records WHERE id = %s", name)
        return self.answer(200, bytes(row[0])) if row else self.answer(404, {"error": "no such record"})

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if (name := self.record()) is None:
            return None
        run(
            "INSERT INTO records VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET body = excluded.body RETURNING id",
            name,
            psycopg2.Binary(body),
        )
        return self.answer(200, {"id": name})

    def do_DELETE(self):
        if (name := self.record()) is None:
            return None
        row = run("DELETE FROM records WHERE id = %s RETURNING id", name)
        return self.answer(200, {"id": name}) if row else self.answer(404, {"error": "no such record"})

    def record(self):
        """The record that the path names, or None once the request is refused."""
        given = self.headers.get("X-Api-Key", "")
        if not hmac.compare_digest(given.encode(), os.environ["API_KEY"].encode()):
            self.answer(401, {"error": "wrong API key"})
            return None
        found = re.fullmatch(r"/records/([\w.-]{1,128})", self.path)
        if found is None:
            self.answer(404, {"error": "no such path"})
            return None
        return found[1]

    def answer(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if body is data else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except psycopg2.Error as error:
            log.error("database: %s", str(error).strip())
            self.answer(503, {"error": "database unavailable"})

    def log_message(self, form, *values):
        log.debug(form, *values)


if __name__ == "__main__":
    logging.basicConfig(level=os.environ["LOG_LEVEL"].upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("", 8000), Handler).serve_forever()
