# Local tools, served by a cluster that always has the answer. Prints a JSON object.
# Arguments: …, the daemon's process id, and one of:
#   runs BYTES COUNT COMMAND...  the command so many times, with a CIB of so many bytes: `each` (seconds from start to
#                                end of a command), `cpu` (the daemon's CPU seconds per command)
#   pokes BYTES COUNT            so many times `cibadmin -Q`, while another connection pokes: `pokes` (seconds of each)
#   sessions FIRST LAST          sessions that come and go: `rss` and `shared` (bytes) after so many, by number
import os
import re
import subprocess

RECORD = 16384
LONGEST_SECONDS = 60
# From ipc.md section A: the name in full length, and a request for messages of 128 KiB.
ATTRIBUTES = b"\0attrd".ljust(108, b"\0")
CONNECT = struct.pack("=iiiiII", -1, 0, 24, 0, 131072, 0)
ANSWER_BYTES = 12328
FIELD = re.compile(rb'(lrmd_ipc_\w+|cib_op|cib_callid|cib_callopt|cib_section)="([^"]*)"')
WANTS_RESPONSE = 0x200
NVPAIR = b'<nvpair id="bench-property" name="property" value="17"/>'


class Cluster(Client):
    """A connection that serves the node's tools."""

    REGISTER_MORE = ' lrmd_is_ipc_provider="true"'

    def __init__(self, size):
        resource = '<primitive id="r%07d" class="ocf" provider="pacemaker" type="Dummy"><meta_attributes id="m%07d"/></primitive>'
        count = max(1, size // len(resource % (0, 0)))
        resources = "".join(resource % (number, number) for number in range(count)).encode()
        self.cib = (b'<cib crm_feature_set="3.19.6" validate-with="pacemaker-3.10" epoch="1" num_updates="1" admin_epoch="0">'
                    b'<configuration><crm_config/><nodes/><resources>' + resources + b'</resources><constraints/></configuration><status/></cib>')
        super().__init__(nodelay=True)

    def serve(self, ended):
        """Answers until the descriptor `ended` can be read."""
        while True:
            if gnutls.gnutls_record_check_pending(self.session) == 0:
                ready, _, _ = select.select([self.socket, ended], [], [], LONGEST_SECONDS)
                if not ready:
                    raise SystemExit(f"nothing happens for {LONGEST_SECONDS} s")
                if self.socket not in ready:
                    return
            self.answer(self.message())

    def settle(self):
        """Answers until nothing comes any more."""
        while gnutls.gnutls_record_check_pending(self.session) > 0 or select.select([self.socket], [], [], 0.3)[0]:
            self.answer(self.message())

    def answer(self, message):
        head, begins, inner = message.partition(b"<lrmd_ipc_msg>")
        about = dict(FIELD.findall(head))
        if about.get(b"lrmd_ipc_op") != b"request" or not begins:
            return
        asked = dict(FIELD.findall(inner))
        operation = asked.get(b"cib_op")
        if operation == b"register":
            text = b'<cib_common_callback_worker cib_op="register" cib_clientid="bench"/>'
        elif operation:
            # A question about a property, or about everything.
            data = NVPAIR if b"cib_section" in asked else self.cib if operation == b"cib_query" else b""
            text = (b'<cib-reply t="cib" cib_op="%b" cib_callid="%b" cib_clientid="bench" cib_callopt="%b" cib_rc="0"><cib_calldata>%b</cib_calldata></cib-reply>'
                    % (operation, asked.get(b"cib_callid", b""), asked.get(b"cib_callopt", b"0"), data))
        else:
            text = b'<ack function="bench" line="1" status="0"/>'
        how = b'response" lrmd_ipc_msg_id="' + about[b"lrmd_ipc_msg_id"] if int(about[b"lrmd_ipc_msg_flags"]) & WANTS_RESPONSE else b"event"
        self.sent += 1
        self.send(b'<lrmd_ipc_proxy lrmd_ipc_op="%b" lrmd_ipc_session="%b" lrmd_op="ipc_fwd" lrmd_remote_msg_id="%d" lrmd_remote_msg_type="request">'
                  b'<lrmd_ipc_msg>%b</lrmd_ipc_msg></lrmd_ipc_proxy>\0' % (how, about[b"lrmd_ipc_session"], self.sent, text))

    def send(self, text):
        for part in (HEADER.pack(MAGIC, 1, self.sent, 0, HEADER.size + len(text), HEADER.size, 0, len(text)), text):
            view = memoryview(part)
            for begin in range(0, len(part), RECORD):
                piece = bytes(view[begin:begin + RECORD])
                checked("send", gnutls.gnutls_record_send(self.session, piece, len(piece)))

    def during(self, command, wanted):
        """Runs a command to its end, which must be a good one."""
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        ended = os.pidfd_open(process.pid)
        self.serve(ended)
        os.close(ended)
        _, errors = process.communicate()
        if process.returncode != wanted:
            raise SystemExit(f"{command} ended with {process.returncode}: {errors.decode(errors='replace').strip()[-500:]}")


def runs(pid, size, count, *command):
    cluster = Cluster(int(size))
    cluster.settle()
    cluster.during(command, 0)
    before, begun = cpu_seconds(pid), time.monotonic()
    for _ in range(int(count)):
        cluster.during(command, 0)
    each = (time.monotonic() - begun) / int(count)
    return {"each": each, "cpu": (cpu_seconds(pid) - before) / int(count)}


def pokes(pid, size, count):
    cluster = Cluster(int(size))
    cluster.settle()
    reader, writer = os.pipe()
    poker = os.fork()
    if poker == 0:
        poking(writer)
    os.close(writer)
    for _ in range(int(count)):
        cluster.during(["cibadmin", "-Q"], 0)
    os.kill(poker, 15)
    with os.fdopen(reader) as file:
        seen = [float(line) for line in file]
    os.waitpid(poker, 0)
    return {"pokes": seen}


def poking(writer):
    client = Client(nodelay=True)
    while True:
        os.write(writer, b"%.6f\n" % timed(client.poke)[0])
        time.sleep(0.002)


def sessions(pid, first, last):
    cluster = Cluster(1000)
    result = {}
    for done in range(1, int(last) + 1):
        tool = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        tool.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        tool.connect(ATTRIBUTES)
        tool.sendall(CONNECT)
        got = tool.recv(ANSWER_BYTES, socket.MSG_WAITALL)
        if struct.unpack_from("=i", got, 16)[0] != 0:
            raise SystemExit(f"session {done} was refused: {struct.unpack_from('=i', got, 16)[0]}")
        tool.close()
        while cluster.readable():
            cluster.answer(cluster.message())
        if done in (int(first), int(last)):
            cluster.settle()
            shared = os.statvfs("/dev/shm")
            result[done] = {"rss": memory(pid), "shared": (shared.f_blocks - shared.f_bfree) * shared.f_frsize}
    return result


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Rss:"))


def main():
    pid, what, *words = sys.argv[4:]
    print(json.dumps({"runs": runs, "pokes": pokes, "sessions": sessions}[what](pid, *words)))


main()
