"""Runs in a node: measures a remote daemon as a cluster's controller of these days meets it.

GnuTLS with a pre-shared key, header and payload in two writes, Nagle's algorithm on, as stock controllers do.
It registers without being a provider of IPC: a provider would be asked for schemas in between.

Arguments: address, port, key file, number of connections, number of pokes. Prints one JSON object: the library's
version, and lists of seconds `register` (TCP connect to the reply) and `poke` (request to its notification).
"""

import ctypes
import json
import socket
import struct
import sys
import time

CLIENT, CRD_PSK, KEY_RAW, SHUT_WR = 2, 4, 0, 1
PRIORITIES = b"NORMAL:+DHE-PSK:+PSK"
WAIT_SECONDS = 10
# Early on, Linux acknowledges at once; the delay that these clients live with comes later.
WARM_UP = 20
HEADER = struct.Struct("=IIQQIIII")
MAGIC = 0xBADADBBD

gnutls = ctypes.CDLL("libgnutls.so.30")
gnutls.gnutls_check_version.restype = ctypes.c_char_p
gnutls.gnutls_strerror.restype = ctypes.c_char_p
for name in ("gnutls_record_send", "gnutls_record_recv"):
    function = getattr(gnutls, name)
    function.restype = ctypes.c_ssize_t
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]


def checked(what, code):
    if code < 0:
        raise SystemExit(f"{what}: {gnutls.gnutls_strerror(code).decode()}")
    return code


class Client:
    """One registered connection."""

    def __init__(self, address, port, credentials):
        self.sent = 0
        self.socket = socket.create_connection((address, port), WAIT_SECONDS)
        # Blocking for GnuTLS, but not for ever.
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_SECONDS, 0))
        self.session = ctypes.c_void_p()
        checked("init", gnutls.gnutls_init(ctypes.byref(self.session), CLIENT))
        checked("priorities", gnutls.gnutls_priority_set_direct(self.session, PRIORITIES, None))
        checked("credentials", gnutls.gnutls_credentials_set(self.session, CRD_PSK, credentials))
        gnutls.gnutls_transport_set_int2(self.session, self.socket.fileno(), self.socket.fileno())
        checked("handshake", gnutls.gnutls_handshake(self.session))
        self.request('lrmd_op="register" lrmd_clientname="bench" lrmd_protocol_version="1.2"', "/>")
        while b'lrmd_op="register"' not in self.message():
            pass

    def request(self, attributes, rest):
        self.sent += 1
        text = f'<lrmd_command t="lrmd" {attributes} lrmd_remote_msg_id="{self.sent}" lrmd_remote_msg_type="request"{rest}\0'.encode()
        size = len(text)
        for part in (HEADER.pack(MAGIC, 1, self.sent, 0, HEADER.size + size, HEADER.size, 0, size), text):
            checked("send", gnutls.gnutls_record_send(self.session, part, len(part)))

    def message(self):
        data = self._read(HEADER.size)
        fields = HEADER.unpack(data[:HEADER.size])
        if fields[0] != MAGIC:
            raise SystemExit(f"a header that begins with {data[:4].hex()}")
        return data[HEADER.size:] + self._read(fields[4] - len(data))

    def _read(self, wanted):
        data = b""
        while len(data) < wanted:
            buffer = ctypes.create_string_buffer(wanted - len(data))
            got = checked("receive", gnutls.gnutls_record_recv(self.session, buffer, len(buffer)))
            if got == 0:
                raise SystemExit("the daemon closed the connection")
            data += buffer.raw[:got]
        return data

    def poke(self):
        self.request('lrmd_op="lrmd_rsc_poke" lrmd_timeout="0" lrmd_callopt="0"',
                     '><lrmd_calldata><lrmd_rsc lrmd_origin="bench"/></lrmd_calldata></lrmd_command>')
        while True:
            message = self.message()
            if b'lrmd_op="lrmd_rsc_poke"' in message and b'"notify"' in message:
                return

    def close(self):
        gnutls.gnutls_bye(self.session, SHUT_WR)
        gnutls.gnutls_deinit(self.session)
        self.socket.close()


def timed(action):
    begun = time.monotonic()
    result = action()
    return time.monotonic() - begun, result


def main():
    address, port, key_file, connections, pokes = sys.argv[1:]
    with open(key_file, "rb") as file:
        key = file.read()
    gnutls.gnutls_global_init()
    credentials = ctypes.c_void_p()
    checked("credentials", gnutls.gnutls_psk_allocate_client_credentials(ctypes.byref(credentials)))
    checked("key", gnutls.gnutls_psk_set_client_credentials(credentials, b"lrmd", ctypes.byref(Datum(key, len(key))), KEY_RAW))
    register = []
    for _ in range(int(connections)):
        took, client = timed(lambda: Client(address, int(port), credentials))
        register.append(took)
        client.close()
    client = Client(address, int(port), credentials)
    for _ in range(WARM_UP):
        client.poke()
    poke = [timed(client.poke)[0] for _ in range(int(pokes))]
    client.close()
    print(json.dumps({"gnutls": gnutls.gnutls_check_version(None).decode(), "register": register, "poke": poke}))


main()
