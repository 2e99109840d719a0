"""A tap on the remotes' ports: how their daemons cut messages into TLS records, which lengths alone tell.

A record that follows the handshake carries 17 bytes besides its contents: a message's header of 40 bytes has one
of its own, and so have the pieces of each payload (remote-protocol.md section 3, rules R1 and R2); a KeyUpdate
and an alert, which are shorter than both, come only where a header might (rule R5).
"""

import json
import select
import socket
import struct
import subprocess
import sys

# What the names of the nodes' ports begin with, in lab/network.py. Only daemons of remotes send from port 3121.
PORTS = "port"
PORT = 3121
APPLICATION_DATA, OVERHEAD = 23, 17
HEADER, KEY_UPDATE, ALERT, WHOLE_PIECE = (length + OVERHEAD for length in (40, 5, 2, 16384))
TOLD_AT_MOST = 10
# From linux/if_packet.h and linux/if_ether.h.
ETH_P_ALL, PACKET_OUTGOING, SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 3, 4, 263, 6, 33
BUFFER_BYTES = 64 << 20
SYN = 2


class Tap:
    """A process that listens in the bridge's namespace, which the process `holder` holds."""

    def __init__(self, holder):
        self._process = subprocess.Popen(["nsenter", f"--target={holder}", "--net", sys.executable, __file__],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self._process.stdout.readline()

    def seen(self):
        """Since the beginning: `messages`, `key_updates`, and `breaches`, each told in words."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self):
        """Stops listening."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Flow:
    """What a daemon sends on one connection."""

    def __init__(self, name, first, seen):
        self._name, self._due, self._seen = name, first, seen
        self._early, self._bytes = {}, b""
        self._expected = self._in_handshake

    def take(self, sequence, payload):
        """Takes a segment, in whatever order they come."""
        if len(payload) <= (self._due - sequence) % (1 << 32) < 1 << 31:
            return  # All of it has come before.
        self._early[sequence] = max(payload, self._early.get(sequence, b""), key=len)
        while usable := [at for at in self._early if (self._due - at) % (1 << 32) <= len(self._early[at])]:
            at = usable[0]
            new = self._early.pop(at)[(self._due - at) % (1 << 32):]
            self._due = (self._due + len(new)) % (1 << 32)
            self._bytes += new
        while len(self._bytes) >= 5 and len(self._bytes) >= 5 + int.from_bytes(self._bytes[3:5], "big"):
            kind, length = self._bytes[0], int.from_bytes(self._bytes[3:5], "big")
            self._bytes = self._bytes[5 + length:]
            if kind == APPLICATION_DATA:
                self._expected = self._expected(length)

    # What a record must be, and what must be the next one.

    def _in_handshake(self, length):
        return self._header(length) if length == HEADER else self._in_handshake

    def _header(self, length):
        if length == HEADER:
            self._seen["messages"] += 1
            return self._payload
        if length == KEY_UPDATE:
            self._seen["key_updates"] += 1
            return self._after_key_update
        return self._header if length == ALERT else self._breach(length, "a header")

    def _after_key_update(self, length):
        return self._header(length) if length == HEADER else self._breach(length, "the header that follows a KeyUpdate")

    def _payload(self, length):
        if length == WHOLE_PIECE:
            return self._more_payload
        return self._header if length > HEADER else self._breach(length, "a payload")

    def _more_payload(self, length):
        return self._header(length) if length == HEADER else self._payload(max(length, HEADER + 1))

    def _breach(self, length, due):
        self._seen["breaches"].append(f"{self._name}: a record with {length - OVERHEAD} bytes where {due} is due")
        return self._header


def segment(frame):
    """Of a TCP segment that a daemon sent: the connection, sequence number, flags and payload."""
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP:
        start, end, family, places = 14 + (frame[14] & 15) * 4, 14 + int.from_bytes(frame[16:18], "big"), socket.AF_INET, (26, 30, 34)
    elif kind == b"\x86\xdd" and frame[20] == socket.IPPROTO_TCP:
        start, end, family, places = 54, 54 + int.from_bytes(frame[18:20], "big"), socket.AF_INET6, (22, 38, 54)
    else:
        return None
    source, destination, sequence = struct.unpack_from("!HHI", frame, start)
    if source != PORT:
        return None
    own, peer = (socket.inet_ntop(family, frame[at:to]) for at, to in zip(places, places[1:]))
    return f"{own} to {peer} port {destination}", sequence, frame[start + 13], frame[start + (frame[start + 12] >> 4) * 4:end]


def main():
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    tap.setblocking(False)
    print("ready", flush=True)
    seen, flows = {"messages": 0, "key_updates": 0, "breaches": []}, {}
    while True:
        ready, _, _ = select.select([tap, sys.stdin], [], [])
        listen(tap, flows, seen)
        if sys.stdin in ready:
            if not sys.stdin.readline():
                return
            lost = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
            if lost:
                seen["breaches"].append(f"{lost} frames were not seen")
            print(json.dumps(dict(seen, breaches=seen["breaches"][:TOLD_AT_MOST])), flush=True)


def listen(tap, flows, seen):
    """Takes all that has come."""
    while True:
        try:
            frame, (interface, _, direction, *_) = tap.recvfrom(1 << 17)
        except BlockingIOError:
            return
        if direction == PACKET_OUTGOING or not interface.startswith(PORTS):
            continue
        if (found := segment(frame)) is None:
            continue
        name, sequence, flags, payload = found
        if flags & SYN:
            flows[name] = Flow(name, (sequence + 1) % (1 << 32), seen)
        elif name in flows and payload:
            flows[name].take(sequence, payload)


if __name__ == "__main__":
    main()
