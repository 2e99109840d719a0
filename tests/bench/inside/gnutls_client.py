"""Comes before the programs of this directory: a client as a cluster's controller of these days is one.

GnuTLS with a pre-shared key, header and payload in two writes, and Nagle's algorithm on, as stock controllers do,
unless a program turns it off to measure something else. It registers without being a provider of IPC: a provider
would be asked for schemas in between. Arguments of all programs begin with address, port, key file.
"""

import ctypes
import json
import select
import socket
import struct
import sys
import time
from statistics import median

CLIENT, CRD_PSK, KEY_RAW, SHUT_WR = 2, 4, 0, 1
PRIORITIES = b"NORMAL:+DHE-PSK:+PSK"
WAIT_SECONDS = 10
HEADER = struct.Struct("=IIQQIIII")
MAGIC = 0xBADADBBD

gnutls = ctypes.CDLL("libgnutls.so.30")
gnutls.gnutls_check_version.restype = ctypes.c_char_p
gnutls.gnutls_strerror.restype = ctypes.c_char_p
for name in ("gnutls_record_send", "gnutls_record_recv"):
    function = getattr(gnutls, name)
    function.restype = ctypes.c_ssize_t
    function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]


gnutls.gnutls_record_check_pending.restype = ctypes.c_size_t


class Datum(ctypes.Structure):
    _fields_ = [("data", ctypes.c_char_p), ("size", ctypes.c_uint)]


def checked(what, code):
    if code < 0:
        raise SystemExit(f"{what}: {gnutls.gnutls_strerror(code).decode()}")
    return code


class Client:
    """One registered connection."""

    REGISTER_MORE = ""

    def __init__(self, nodelay=False):
        self.sent = 0
        self.socket = socket.create_connection((ADDRESS, PORT), WAIT_SECONDS)
        self.nodelay = nodelay
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
        # Blocking for GnuTLS, but not for ever.
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_SECONDS, 0))
        self.session = ctypes.c_void_p()
        checked("init", gnutls.gnutls_init(ctypes.byref(self.session), CLIENT))
        checked("priorities", gnutls.gnutls_priority_set_direct(self.session, PRIORITIES, None))
        checked("credentials", gnutls.gnutls_credentials_set(self.session, CRD_PSK, CREDENTIALS))
        gnutls.gnutls_transport_set_int2(self.session, self.socket.fileno(), self.socket.fileno())
        checked("handshake", gnutls.gnutls_handshake(self.session))
        self.request('lrmd_op="register" lrmd_clientname="bench" lrmd_protocol_version="1.2"' + self.REGISTER_MORE, "/>")
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
            if self.nodelay:
                # Whoever does not want to be held back does not hold the other end back; it does not stick.
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
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

    def register_resource(self, name, agent, standard="ocf", provider="bench"):
        provider = f'lrmd_provider="{provider}" ' if standard == "ocf" else ""
        self.request('lrmd_op="lrmd_rsc_register" lrmd_timeout="0" lrmd_callopt="1"',
                     f'><lrmd_calldata><lrmd_rsc lrmd_origin="bench" lrmd_rsc_id="{name}" lrmd_class="{standard}" {provider}'
                     f'lrmd_type="{agent}"/></lrmd_calldata></lrmd_command>')
        # The reply, then the notification.
        self.await_operation("lrmd_rsc_register")

    def begin_monitor(self, name, interval=0):
        self.begin(name, "monitor", interval)

    def begin(self, name, action, interval=0):
        self.request('lrmd_op="lrmd_rsc_exec" lrmd_timeout="20000" lrmd_callopt="4"',
                     f'><lrmd_calldata><lrmd_rsc lrmd_origin="bench" lrmd_rsc_id="{name}" lrmd_rsc_action="{action}" '
                     f'lrmd_rsc_userdata_str="bench" lrmd_rsc_interval="{interval}" lrmd_timeout="20000" lrmd_rsc_start_delay="0">'
                     '<attributes CRM_meta_timeout="20000" crm_feature_set="3.20.0"/></lrmd_rsc></lrmd_calldata></lrmd_command>')

    def await_operation(self, operation):
        """The next notification of an operation."""
        while True:
            message = self.message()
            if f'lrmd_op="{operation}"'.encode() in message and b'"notify"' in message:
                return message

    def readable(self):
        """Whether something has come."""
        return gnutls.gnutls_record_check_pending(self.session) > 0 or bool(select.select([self.socket], [], [], 0)[0])

    def await_result(self):
        """The name of the resource whose operation has ended next."""
        message = self.await_operation("lrmd_rsc_exec")
        if b'lrmd_exec_rc="0"' not in message:
            raise SystemExit(f"an operation failed: {message.decode()}")
        return message.split(b'lrmd_rsc_id="')[1].split(b'"')[0].decode()

    def close(self):
        gnutls.gnutls_bye(self.session, SHUT_WR)
        gnutls.gnutls_deinit(self.session)
        self.socket.close()


def timed(action):
    begun = time.monotonic()
    result = action()
    return time.monotonic() - begun, result


def cpu_seconds(pid):
    """CPU time of a process with one thread, to the nanosecond."""
    with open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def load_credentials(key_file):
    with open(key_file, "rb") as file:
        key = file.read()
    gnutls.gnutls_global_init()
    credentials = ctypes.c_void_p()
    checked("credentials", gnutls.gnutls_psk_allocate_client_credentials(ctypes.byref(credentials)))
    checked("key", gnutls.gnutls_psk_set_client_credentials(credentials, b"lrmd", ctypes.byref(Datum(key, len(key))), KEY_RAW))
    return credentials


ADDRESS, PORT, CREDENTIALS = sys.argv[1], int(sys.argv[2]), load_credentials(sys.argv[3])
