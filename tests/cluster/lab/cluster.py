"""A real cluster: one cluster node or two and its remotes, each a node of the lab."""

import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from . import configuration
from .booted import Booted
from .network import Network
from .node import Node
from .trouble import Trouble
from .waiting import Late, until

START_LIMIT_SECONDS = 60
DELETE_LIMIT_SECONDS = 30
SETTLE_LIMIT_SECONDS = 60
AUTHKEY = "/etc/pacemaker/authkey"
AUTHKEY_BYTES = 4096
JOURNAL_AGENT = "/usr/lib/ocf/resource.d/lab/journal"
FENCING_RECORD = "/var/lib/lab-fencing"
UNFENCING_RECORD = "/var/lib/lab-unfencing"
# Longer than any run: a node with systemd does not outlive it.
LIFE_SECONDS = 3600
DAEMON = "/usr/sbin/pacemaker-remoted"
HERE = Path(__file__).parent


@dataclass
class Remote:
    """A remote node: its machine, the address the cluster knows, and the daemon's process."""

    name: str
    node: Node
    address: str
    daemon: object = None

    def start(self):
        """Starts the daemon as its unit would: with the environment of /etc/default/pacemaker."""
        script = "set -a; . /etc/default/pacemaker; exec " + DAEMON
        self.daemon = self.node.spawn(["sh", "-c", script], "daemon.log")


@dataclass
class Member:
    """A cluster node: its machine and, while it lives, corosync and Pacemaker."""

    name: str
    node: Node
    daemons: list = field(default_factory=list)

    def alive(self):
        """Whether its daemons run."""
        return bool(self.daemons) and all(daemon.running() for daemon in self.daemons)

    def crash(self):
        """Ends all its processes at once, and forgets what a power cycle would."""
        self.node.kill_all()
        until(f"{self.name} is dead", lambda: not any(daemon.running() for daemon in self.daemons), 10)
        self.node.run(["sh", "-c", "rm -rf /dev/shm/* /run/* /var/lib/corosync/ringid_*"])


@dataclass
class Status:
    """What `crm_mon` said: per node its attributes, per resource its role, failure and where it runs; failures."""

    nodes: dict
    resources: dict
    failures: list

    def online(self, node):
        """Whether a node is online and clean."""
        seen = self.nodes.get(node, {})
        return seen.get("online") == "true" and seen.get("unclean") == "false"

    def where(self, resource):
        """Where a resource is started and healthy: a list of node names."""
        seen = self.resources.get(resource)
        if seen is None or seen["role"] != "Started" or seen["failed"] == "true" or seen["pending"]:
            return []
        return seen["on"]

    def stopped(self, resource):
        """Whether a resource is known and runs nowhere."""
        seen = self.resources.get(resource)
        return seen is not None and seen["role"] == "Stopped" and not seen["on"]


class Cluster:
    """Cluster nodes `c1`, … and remotes `r1`, `r2`, …; the remotes' addresses alternate between IPv4 and IPv6."""

    def __init__(self, root, layers, directory, remotes, talkative=False, members=1, tapped=False, environment=None, booted=None):
        """`layers`: directories with a remote daemon's files, laid over the remotes' root: the remotes take them in
        turn; `talkative`: whether these daemons log to standard error as well; `tapped`: whether what they send is
        looked at; `environment`: more variables of Pacemaker's daemons and tools on `members` and on `remotes`;
        `booted`: a root with systemd, which is then the first process of the remotes."""
        self.directory = directory
        self.release = root.release
        self.members = {}
        self.remotes = {}
        self._nodes = []
        self._network = Network()
        self.tap = self._network.tap() if tapped else None
        try:
            self._build(root, layers, members, remotes, talkative, environment or {}, booted)
        except BaseException:
            self.end()
            raise

    def _build(self, root, layers, members, remotes, talkative, environment, booted):
        key = os.urandom(AUTHKEY_BYTES)
        addresses, rings = [], []
        for number in range(1, members + 1):
            name = f"c{number}"
            node = self._machine(name, [root.path])
            four, six = self._network.attach(node, number)
            addresses.append((name, four, six))
            rings.append((name, four))
            self.members[name] = Member(name, node)
        for number in range(1, remotes + 1):
            name = f"r{number}"
            layer = layers[(number - 1) % len(layers)]
            node = self._machine(name, [layer, booted.path], booted=True) if booted else self._machine(name, [layer, root.path])
            four, six = self._network.attach(node, 100 + number)
            addresses.append((name, four, six))
            self.remotes[name] = Remote(name, node, four if number % 2 else six)
        hosts = "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{four} {name}\n{six} {name}\n" for name, four, six in addresses)
        for node in self._nodes:
            node.write("/etc/hosts", hosts)
            loud = configuration.TALKATIVE if talkative and node.name in self.remotes else ""
            node.environment = environment.get("remotes" if node.name in self.remotes else "members", {})
            more = "".join(f"{name}={value}\n" for name, value in node.environment.items())
            node.write("/etc/default/pacemaker", configuration.ENVIRONMENT + more + loud)
            node.write(AUTHKEY, key, 0o640, "root:haclient")
            # On cluster nodes as well: they ask it for its metadata.
            node.write(JOURNAL_AGENT, (HERE / "journal").read_text(), 0o755)
        pairs = [(remote.name, remote.address) for remote in self.remotes.values()]
        for member in self.members.values():
            member.node.write("/etc/corosync/corosync.conf", configuration.corosync(rings))
            for agent in (configuration.FENCE_AGENT, configuration.UNFENCE_AGENT):
                member.node.write("/usr/sbin/" + agent, (HERE / "fence_record").read_text(), 0o755)
            member.node.write("/var/lib/pacemaker/cib/cib.xml", configuration.cib(list(self.members), pairs), 0o600, "hacluster:haclient")

    def _machine(self, name, layers, booted=False):
        node = Booted(name, layers, self.directory / name, LIFE_SECONDS) if booted else Node(name, layers, self.directory / name)
        self._nodes.append(node)
        node.run(["hostname", name])
        return node

    def start(self):
        """Starts the remotes' daemons and the cluster; returns when all its nodes are online."""
        for remote in self.remotes.values():
            remote.start()
        self.start_members(*reversed(self.members.values()))

    def start_members(self, *members):
        """Starts cluster nodes; returns when they are online. The first becomes the DC, if there is none."""
        for member in members:
            member.daemons = [member.node.spawn(["corosync", "-f"], "corosync.out")]
        # One that cannot see the others yet would take them for lost.
        whole = f"Nodes:{len(self.members):>13}"
        for member in members:
            until(f"corosync of {member.name} sees all nodes",
                  lambda: self._alive(member) and whole in member.node.run(["corosync-quorumtool", "-s"], check=False).stdout,
                  START_LIMIT_SECONDS, 0.2)
        for member in members:
            member.daemons.append(member.node.spawn(["sh", "-c", "set -a; . /etc/default/pacemaker; exec pacemakerd"], "pacemakerd.out"))
            until(f"{member.name} online", lambda: self._alive(member) and self.status().online(member.name), START_LIMIT_SECONDS, 0.2)

    def _alive(self, member):
        if not member.alive():
            raise Trouble(f"a cluster daemon ended at once; logs of {member.name} in {member.node.directory / 'log'}")
        return True

    @property
    def node(self):
        """A cluster node that can be asked: the last one, which outlives the others."""
        return list(self.members.values())[-1].node

    # What the cluster is asked and told.

    def status(self):
        """What `crm_mon` says now; empty while the cluster does not answer."""
        done = self.node.run(["crm_mon", "--one-shot", "--output-as=xml", "--inactive"], check=False)
        if done.returncode != 0:
            return Status({}, {}, [])
        tree = ElementTree.fromstring(done.stdout)
        nodes = {node.get("name"): node.attrib for node in tree.findall("nodes/node")}
        resources = {}
        for entry in tree.findall("resources//resource"):
            seen = dict(entry.attrib, on=[node.get("name") for node in entry.findall("node")])
            seen.setdefault("pending", "")
            resources[entry.get("id")] = seen
        return Status(nodes, resources, [failure.attrib for failure in tree.findall("failures/failure")])

    def instances(self, resource):
        """Where instances of a clone run: pairs of node and role."""
        done = self.node.run(["crm_mon", "--one-shot", "--output-as=xml", "--inactive"], check=False)
        if done.returncode != 0:
            return []
        entries = ElementTree.fromstring(done.stdout).findall(f"resources//resource[@id='{resource}']")
        return [(node.get("name"), entry.get("role")) for entry in entries for node in entry.findall("node")]

    def await_status(self, what, predicate, limit):
        """Polls until the predicate holds for the cluster's status; a `Late` says what was seen last."""
        last = [Status({}, {}, [])]

        def holds():
            last[0] = self.status()
            return predicate(last[0]) and last[0]

        try:
            return until(what, holds, limit, 0.15)
        except Late as late:
            nodes = {name: {key: seen.get(key) for key in ("online", "unclean", "pending")} for name, seen in last[0].nodes.items()}
            resources = {name: (seen["role"], seen["on"], "failed" if seen["failed"] == "true" else "") for name, seen in last[0].resources.items()}
            raise Late(f"{late}; seen last: nodes {nodes}, resources {resources}") from None

    def settle(self):
        """Waits until the cluster has nothing left to do for now."""
        until("the controllers are idle", self._idle, SETTLE_LIMIT_SECONDS, 0.2)

    def _idle(self):
        coordinator = self.node.run(["crmadmin", "--dc_lookup"], check=False).stdout.split()
        return bool(coordinator) and "S_IDLE" in self.node.run(["crmadmin", "--status", coordinator[-1]], check=False).stdout

    def configure(self, resources=(), constraints=(), alerts=()):
        """Adds or changes resources, constraints and alerts, all in one step."""
        xml = (f"<configuration><resources>{''.join(resources)}</resources><constraints>{''.join(constraints)}</constraints>"
               + (f"<alerts>{''.join(alerts)}</alerts>" if alerts else "") + "</configuration>")
        self.node.run(["cibadmin", "--modify", "--allow-create", "--scope=configuration", "--xml-pipe"], input=xml)

    def set_property(self, name, value):
        """Sets a cluster-wide property."""
        self.node.run(["crm_attribute", "--name", name, "--update", value])

    def set_meta(self, resource, name, value):
        """Sets a resource's meta attribute, for instance `target-role`."""
        self._resource(resource, "--meta", "--set-parameter", name, "--parameter-value", value)

    def set_parameter(self, resource, name, value):
        """Sets a resource's instance parameter."""
        self._resource(resource, "--set-parameter", name, "--parameter-value", value)

    def take_parameter(self, resource, name):
        """Removes a resource's instance parameter and returns its value."""
        value = self._resource(resource, "--get-parameter", name).stdout.strip()
        self._resource(resource, "--delete-parameter", name)
        return value

    def set_node_attribute(self, node, name, value, lifetime="forever"):
        """Sets a node's attribute; with the lifetime `reboot` it goes with the node's state."""
        self.node.run(["crm_attribute", "--node", node, "--name", name, "--lifetime", lifetime, "--update", value])

    def node_attribute(self, node, name, lifetime="forever"):
        """A node's attribute, or an empty string."""
        words = ["crm_attribute", "--node", node, "--name", name, "--lifetime", lifetime, "--query", "--quiet"]
        return self.node.run(words, check=False).stdout.strip()

    def move(self, resource, node):
        """Moves a resource as an administrator would; `unmove` takes the constraint away."""
        self._resource(resource, "--move", "--node", node)

    def unmove(self, resource):
        """Takes away what `move` left."""
        self._resource(resource, "--clear")

    def refresh(self, resource):
        """Forgets a resource's history, so that it is probed everywhere."""
        self._resource(resource, "--refresh")

    def unconstrain(self, constraint):
        """Removes a constraint by its id."""
        self.node.run(["cibadmin", "--delete-all", "--force", f"--xpath=//rsc_location[@id='{constraint}']"])

    def cut(self, name):
        """Cuts a node off the network."""
        self._network.cut(self.machine(name))

    def mend(self, name):
        """Ends a cut."""
        self._network.mend(self.machine(name))

    def machine(self, name):
        """A node by its name."""
        return next(node for node in self._nodes if node.name == name)

    def failures(self, resource, node):
        """How often a resource failed on a node since the last cleanup."""
        done = self.node.run(["crm_failcount", "--query", "--quiet", "--resource", resource, "--node", node])
        return int(done.stdout)

    def cleanup(self, resource):
        """Forgets a resource's failures."""
        self._resource(resource, "--cleanup")

    def delete_resource(self, resource):
        """Stops a resource and removes it with its location preferences."""
        self.set_meta(resource, "target-role", "Stopped")
        self.await_status(f"{resource} stopped", lambda status: status.stopped(resource), DELETE_LIMIT_SECONDS)
        self.node.run(["cibadmin", "--delete-all", "--force", f"--xpath=//rsc_location[@rsc='{resource}']"])
        self.node.run(["cibadmin", "--delete-all", "--force", f"--xpath=//primitive[@id='{resource}']"])

    def forget(self, prefix):
        """Removes all resources, clones and alerts whose names begin so, with their location preferences."""
        # In one step: without its preferences, a resource would be looked for on all nodes.
        kinds = (("resources/*", "id"), ("constraints/rsc_location", "rsc"), ("alerts/alert", "id"))
        paths = "|".join(f"/cib/configuration/{kind}[starts-with(@{name},'{prefix}')]" for kind, name in kinds)
        self.node.run(["cibadmin", "--delete-all", "--force", f"--xpath={paths}"])

    def histories(self):
        """What the cluster has written down of operations: by node and resource, a list of their attributes."""
        status = ElementTree.fromstring(self.node.run(["cibadmin", "--query", "--scope=status"]).stdout)
        return {(node.get("uname"), resource.get("id")): [operation.attrib for operation in resource.findall("lrm_rsc_op")]
                for node in status.findall("node_state") for resource in node.findall("lrm/lrm_resources/lrm_resource")}

    def _resource(self, resource, *words):
        return self.node.run(["crm_resource", "--resource", resource, *words])

    def fenced(self):
        """Who was fenced so far: a list of (action, node)."""
        lines = [line.split() for member in self.members.values() for line in member.node.read(FENCING_RECORD).splitlines()]
        return [(action, node) for _, action, node in sorted(lines)]

    def unfenced(self):
        """Who was unfenced so far, in order: pairs of the node and the seconds of /proc/uptime then."""
        lines = [line.split() for member in self.members.values() for line in member.node.read(UNFENCING_RECORD).splitlines()]
        return [(node, float(moment)) for moment, node in lines]

    def end(self):
        """Ends all nodes and the network."""
        for node in self._nodes:
            node.end()
        if self.tap:
            self.tap.end()
        self._network.end()
