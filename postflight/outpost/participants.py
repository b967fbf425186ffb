"""The participants of a call, as far as media go: each finds its way to the SFU, and hears what the others publish.

Their signalling is done elsewhere: they are given their offers' and the SFU's answers' words. Sources: protocol of
LiveKit (livekit_models.proto: DataPacket, UserPacket), livekit-server 1.13, pkg/rtc/transport.go (two channels by
label); tried with livekit-server 1.13.5.
"""

import base64
import threading
import time

import ice
import sctp

RELIABLE, LOSSY = "_reliable", "_lossy"
#: For a channel's first word; then the message is said again: the SFU forwards to whoever has fully arrived.
ANEW = 0.5
QUIET = 0.05
#: Fields of DataPacket and UserPacket.
USER, PAYLOAD = 2, 2


def meet(given):
    """Let them all in, have each publish its message, and say what came of it.

    ``participants`` have ``local`` and ``remote`` (``[ufrag, password]``), ``fingerprint``, ``client`` (of DTLS),
    ``certificate``, ``key``, ``candidates`` (``[transport, address, port]``, the best first) and ``message``
    (base64); ``beside`` are addresses of the SFU that it did not tell of, taken where none that it told of answers;
    ``looking`` and ``whole`` are seconds. Of each: why a candidate, or an address beside, does not answer ("": it
    does), ``over`` which it came in ([]: none), the ``problem`` that it ended with (``lacks``: its Python has not what it
    takes), and the messages that it ``heard``.
    """
    people = [Participant(each, given) for each in given["participants"]]
    threads = [threading.Thread(target=each.run, args=(people,), daemon=True) for each in people]
    for each in threads:
        each.start()
    deadline = time.monotonic() + given["whole"]
    for each in threads:
        each.join(max(0.0, deadline - time.monotonic()))
    return [each.told() for each in people]


def look(local, remote, candidate, limit):
    """The path to a candidate that takes us for this participant, None, and why there is none."""
    try:
        path = ice.Path(*candidate, limit)
    except OSError as error:
        return None, reason(error)
    agent = ice.Agent(path, local, remote)
    try:
        agent.check(limit)
    except OSError as error:
        path.close()
        return None, reason(error)
    return agent, ""


def reason(error):
    return error.strerror or str(error) or type(error).__name__


class Participant:
    def __init__(self, given, world):
        self.given, self.world = given, world
        self.message = base64.b64decode(given["message"])
        self.candidates, self.beside = [], []
        self.over, self.problem, self.lacks = [], "not in time", False
        self.heard = set()

    def told(self):
        heard = sorted(base64.b64encode(each).decode() for each in self.heard)
        looked = {"candidates": self.candidates, "beside": self.beside}
        return {**looked, "over": self.over, "problem": self.problem, "lacks": self.lacks, "heard": heard}

    def run(self, people):
        try:
            self.talk(self.entered(), people)
            self.problem = ""
        except OSError as error:
            self.problem = reason(error)
        except (ImportError, AttributeError) as error:
            self.problem, self.lacks = str(error), True

    def looked(self, addresses):
        """All of them asked side by side: of each its agent, or None, and why there is none."""
        found = [(None, "no answer")] * len(addresses)

        def work(number, address):
            given = self.given
            found[number] = look(given["local"], given["remote"], address, self.world["looking"])

        threads = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(addresses)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(self.world["looking"] * 2)
        return list(found)

    def entered(self):
        """The line that is up, over the first address that answers."""
        addresses = self.given["candidates"] + self.world["beside"]
        found = self.looked(addresses)
        told = len(self.given["candidates"])
        self.candidates, self.beside = [why for _, why in found[:told]], [why for _, why in found[told:]]
        answering = [(agent, addresses[number]) for number, (agent, _) in enumerate(found) if agent]
        if not answering:
            raise OSError("no address of the SFU answers")
        for agent, _ in answering[1:]:
            agent.path.close()
        agent, self.over = answering[0]
        agent.check(self.world["looking"], nominate=True)
        import dtls  # the one that an image may not have what it needs for

        line = dtls.Dtls(agent, self.given["certificate"], self.given["key"], self.given["client"])
        line.shake(self.given["fingerprint"], self.world["looking"])
        return line

    def talk(self, line, people):
        association = sctp.Association(line.send)
        # The side that was DTLS's client has the even numbers.
        streams = {label: 2 * n + (not self.given["client"]) for n, label in enumerate((RELIABLE, LOSSY))}
        asked, said = False, 0.0
        deadline = time.monotonic() + self.world["whole"]
        while time.monotonic() < deadline and not all(each.content(people) for each in people):
            for each in line.receive(QUIET):
                association.took(each)
            if association.up and not asked:
                asked = True
                for label, stream in streams.items():
                    association.open(stream, label)
            association.again()
            for _, data in association.messages:
                self.hear(data)
            association.messages.clear()
            if streams[RELIABLE] in association.opened and time.monotonic() - said > ANEW:
                said = time.monotonic()
                association.say(streams[RELIABLE], sctp.BINARY, packed(self.message))
        if not self.content(people):
            raise OSError("connected, and nothing of what the others published came" if asked else "no data channel")

    def content(self, people):
        """Whether it has heard everybody; nobody leaves before all have."""
        return {each.message for each in people if each is not self} <= self.heard

    def hear(self, data):
        payload = unpacked(data)
        if payload is not None:
            self.heard.add(payload)


def packed(payload):
    """A message for everybody in the room."""
    return field(USER, field(PAYLOAD, payload))


def field(number, held):
    return bytes([number << 3 | 2]) + varint(len(held)) + held


def varint(number):
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def unpacked(data):
    """The payload of a user's message, None for anything else."""
    user = fields(data).get(USER)
    return None if user is None else fields(user).get(PAYLOAD)


def fields(data):
    """The first of each field that has a length, by number (protobuf's wire format)."""
    found: dict[int, bytes] = {}
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while at < len(data):
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        return value

    while at < len(data):
        tag = number()
        if tag & 7 == 2:
            size = number()
            found.setdefault(tag >> 3, data[at : at + size])
            at += size
        elif tag & 7 == 0:
            number()
        else:
            at += {1: 8, 5: 4}.get(tag & 7, len(data))
    return found
