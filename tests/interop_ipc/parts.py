"""A client of libqb's own library with the header of Pacemaker since 3.0.1: sends what is in a file to
cib_rw, in parts, and prints of so many answers in how many parts they came, and the answers. Reads a hundred of them
at most in each pause of so many milliseconds."""

import ctypes
import os
import struct
import sys
import time
from pathlib import Path

LIMIT = 128 * 1024
HEADER = struct.Struct("@i4xi4xi4xIIBxH4x")
ID = 7
WANTS_RESPONSE, PART, LAST = 0x200, 0x80000, 0x100000

qb = ctypes.CDLL("libqb.so.100", use_errno=True)
qb.qb_ipcc_connect.restype = ctypes.c_void_p
qb.qb_ipcc_connect.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
qb.qb_ipcc_send.restype = ctypes.c_ssize_t
qb.qb_ipcc_send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
for receive in (qb.qb_ipcc_recv, qb.qb_ipcc_event_recv):
    receive.restype = ctypes.c_ssize_t
    receive.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int32]
qb.qb_ipcc_disconnect.argtypes = [ctypes.c_void_p]


def send(connection, text, flags):
    room = LIMIT - HEADER.size - 1
    pieces = [text[at : at + room] for at in range(0, len(text), room)]
    for number, piece in enumerate(pieces):
        told = flags
        if len(pieces) > 1:
            told |= PART | (LAST if piece is pieces[-1] else 0)
        size = HEADER.size + len(piece) + 1
        message = HEADER.pack(ID, size, 0, len(piece) + 1, told, 1, number) + piece + b"\0"
        while (sent := qb.qb_ipcc_send(connection, message, size)) == -11:  # EAGAIN: the ring is full
            pass
        assert sent == size, os.strerror(-sent)


def receive(connection, function):
    """The answer, and how many parts it had."""
    answer, buffer, count, ids = [], ctypes.create_string_buffer(LIMIT), 0, set()
    while True:
        size = function(connection, buffer, LIMIT, 30_000)
        assert size > HEADER.size, os.strerror(-size)
        message = buffer.raw[:size]
        number, told, error, length, flags, version, part = HEADER.unpack_from(message)
        assert (told, error, length, version) == (size, 0, size - HEADER.size, 1), (size, told, error, length, version)
        assert message[-1] == 0 and (part == count or not flags & PART), (part, count)
        ids.add(number)
        answer.append(message[HEADER.size : -1])
        count += 1
        if not flags & PART or flags & LAST:
            assert len(ids) == 1, ids
            return b"".join(answer), count


def main():
    wants_response = sys.argv[1] == "response"
    connection = qb.qb_ipcc_connect(b"cib_rw", LIMIT)
    assert connection, os.strerror(ctypes.get_errno())
    send(connection, Path(sys.argv[2]).read_bytes(), WANTS_RESPONSE if wants_response else 0)
    for number in range(int(sys.argv[3])):
        answer, count = receive(connection, qb.qb_ipcc_recv if wants_response else qb.qb_ipcc_event_recv)
        sys.stdout.buffer.write(b"%d\n%s\n" % (count, answer))
        if number % 100 == 99:
            time.sleep(int(sys.argv[4]) / 1000)
    qb.qb_ipcc_disconnect(connection)


main()
