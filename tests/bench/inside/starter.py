"""Runs in a node: how long a daemon takes from exec until its port takes a connection.

Arguments: address, port, number of runs, command. Prints a JSON list of seconds.
"""

import json
import os
import signal
import socket
import struct
import sys
import time

LIMIT_SECONDS = 10
PAUSE_SECONDS = 0.00005


def open_now(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((address, port)) == 0


def once(address, port, command):
    read, write = os.pipe()
    silent = os.open("/dev/null", os.O_RDWR)
    child = os.fork()
    if child == 0:
        for descriptor in (0, 1, 2):
            os.dup2(silent, descriptor)
        os.write(write, struct.pack("d", time.monotonic()))
        os.execv(command[0], command)
    os.close(silent)
    os.close(write)
    begun = struct.unpack("d", os.read(read, 8))[0]
    os.close(read)
    try:
        while not open_now(address, port):
            if time.monotonic() - begun > LIMIT_SECONDS:
                raise SystemExit(f"port {port} is not open {LIMIT_SECONDS} s after the start of {command[0]}")
            time.sleep(PAUSE_SECONDS)
        return time.monotonic() - begun
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main():
    address, port, runs, *command = sys.argv[1:]
    took = []
    for _ in range(int(runs)):
        while open_now(address, int(port)):
            time.sleep(0.01)
        took.append(once(address, int(port), command))
    print(json.dumps(took))


main()
