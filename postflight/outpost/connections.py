"""Connections from where it stands."""

import os
import socket
import threading
import time

LIMIT = 5.0
TRIES = 3
PAUSE = 0.7
#: For all together: within the limit of whoever asks from outside.
WHOLE = 10.0


def connect_all(asks):
    """What ``connect`` returns for each, side by side: one address that is dead takes no time of the others."""
    answers = [{"seen": [], "problem": "no answer within the time limit"} for _ in asks]

    def work(number, ask):
        answers[number] = connect(ask)

    threads = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(asks)]
    for each in threads:
        each.start()
    deadline = time.monotonic() + WHOLE
    for each in threads:
        each.join(max(0.0, deadline - time.monotonic()))
    return list(answers)


def connect(ask):
    """Connect ``times`` times to a host and port; with ``redis``, ask for the role each time. With ``once``, a number of
    seconds, a host may be the name of an environment variable (``$NAME``), and silence is believed at the first try.

    Returns what each connection met (``connected``, ``master``, ``slave``, ``?``; ``refused``: reached, and nobody listens)
    and the first problem.
    """
    seen, problem = [], ""
    try:
        for _ in range(ask["times"]):
            seen.append(once(ask, ask["once"]) if ask.get("once") else confirmed(ask))
    except OSError as error:
        problem = str(error) or type(error).__name__
    return {"seen": seen, "problem": problem}


def once(ask, limit):
    """One connection, or, where a ``name`` is given, one question to the name service."""
    if ask.get("name"):
        return answered(ask["name"], limit)
    host = os.environ.get(ask["host"][1:], "") if ask["host"].startswith("$") else ask["host"]
    if not host:
        raise OSError(f"no {ask['host'][1:]} in the environment")
    try:
        with socket.create_connection((host, ask["port"]), timeout=limit):
            return "connected"
    except ConnectionRefusedError:
        return "refused"


def answered(name, limit):
    """A word of the pod's own name servers on a name, whatever it says; a datagram may be lost, so each is asked twice."""
    with open("/etc/resolv.conf") as file:
        words = [line.split() for line in file]
    servers = [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.rstrip(".").split("."))
    question = b"\x70\x66\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"
    for server in servers * 2:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(limit)
            sock.connect((server, 53))
            try:
                sock.send(question)
                if sock.recv(512)[:2] == question[:2]:
                    return "connected"
            except ConnectionRefusedError:
                return "refused"
            except OSError:
                continue
    raise OSError(f"{' and '.join(servers) or 'no name server'} timed out")


def confirmed(ask):
    """One connection; a failure that comes at once (a busy resolver, a restart) is tried again."""
    for attempt in range(TRIES):
        began = time.monotonic()
        try:
            with socket.create_connection((ask["host"], ask["port"]), timeout=LIMIT) as sock:
                sock.settimeout(LIMIT)
                return role(sock, ask["password"].encode()) if ask["redis"] else "connected"
        except OSError:
            if attempt == TRIES - 1 or time.monotonic() - began > LIMIT / 2:
                raise
            time.sleep(PAUSE)
    return None


def role(sock, password):
    """The role that a Redis server states, after AUTH where there is a password."""
    if password:
        sock.sendall(b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n" % (len(password), password))
        answer = sock.recv(200)
        if not answer.startswith(b"+OK"):
            raise OSError(answer.decode("utf-8", "replace").strip() or "closed without an answer")
    sock.sendall(b"*1\r\n$4\r\nROLE\r\n")
    answer = sock.recv(400)
    if not answer:
        raise OSError("closed without an answer")
    return next((name for name in ("master", "slave") if name.encode() in answer[:30]), "?")
