"""A real cluster: one cluster node and its remotes, each a node of the lab."""

import os
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

from . import configuration
from .network import Network
from .node import Node
from .trouble import Trouble
from .waiting import Late, until

START_LIMIT_SECONDS = 60
DELETE_LIMIT_SECONDS = 30
AUTHKEY = "/etc/pacemaker/authkey"
AUTHKEY_BYTES = 4096
FENCING_RECORD = "/var/lib/lab-fencing"
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
class Status:
    """What `crm_mon` said: per node its attributes, per resource its role, failure and where it runs."""

    nodes: dict
    resources: dict

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
    """One cluster node `c1` and remotes `r1`, `r2`, …; the addresses alternate between IPv4 and IPv6."""

    def __init__(self, root, layer, directory, remotes, talkative=False):
        """`layer`: directory with the remote daemon's files, laid over the remotes' root; `talkative`: whether
        these daemons log to standard error as well."""
        self.directory = directory
        self.remotes = {}
        self._nodes = []
        self._network = Network()
        try:
            self._build(root, layer, remotes, talkative)
        except BaseException:
            self.end()
            raise

    def _build(self, root, layer, remotes, talkative):
        key = os.urandom(AUTHKEY_BYTES)
        self.node = self._machine(configuration.CLUSTER_NODE, [root.path])
        address4, address6 = self._network.attach(self.node, 1)
        addresses = [(configuration.CLUSTER_NODE, address4, address6)]
        for number in range(1, remotes + 1):
            name = f"r{number}"
            node = self._machine(name, [layer, root.path])
            four, six = self._network.attach(node, 100 + number)
            addresses.append((name, four, six))
            self.remotes[name] = Remote(name, node, four if number % 2 else six)
        hosts = "127.0.0.1 localhost\n::1 localhost\n" + "".join(f"{four} {name}\n{six} {name}\n" for name, four, six in addresses)
        for node in self._nodes:
            node.write("/etc/hosts", hosts)
            loud = configuration.TALKATIVE if talkative and node is not self.node else ""
            node.write("/etc/default/pacemaker", configuration.ENVIRONMENT + loud)
            node.write(AUTHKEY, key, 0o640, "root:haclient")
        self.node.write("/etc/corosync/corosync.conf", configuration.corosync(address4))
        self.node.write("/usr/sbin/" + configuration.FENCE_AGENT, (HERE / "fence_record").read_text(), 0o755)
        pairs = [(remote.name, remote.address) for remote in self.remotes.values()]
        self.node.write("/var/lib/pacemaker/cib/cib.xml", configuration.cib(pairs), 0o600, "hacluster:haclient")

    def _machine(self, name, layers):
        node = Node(name, layers, self.directory / name)
        self._nodes.append(node)
        return node

    def start(self):
        """Starts the remotes' daemons and the cluster; returns when there is a cluster with a DC."""
        for remote in self.remotes.values():
            remote.start()
        corosync = self.node.spawn(["corosync", "-f"], "corosync.out")
        until("corosync answers", lambda: self._alive(corosync) and self.node.run(["corosync-quorumtool", "-s"], check=False).returncode == 0,
              START_LIMIT_SECONDS, 0.2)
        pacemaker = self.node.spawn(["sh", "-c", "set -a; . /etc/default/pacemaker; exec pacemakerd"], "pacemakerd.out")
        until("the cluster node is online", lambda: self._alive(pacemaker) and self.online(configuration.CLUSTER_NODE),
              START_LIMIT_SECONDS, 0.2)

    def _alive(self, process):
        if not process.running():
            raise Trouble(f"a cluster daemon ended at once; logs of {self.node.name} in {self.node.directory / 'log'}")
        return True

    # What the cluster is asked and told.

    def status(self):
        """What `crm_mon` says now; empty while the cluster does not answer."""
        done = self.node.run(["crm_mon", "--one-shot", "--output-as=xml", "--inactive"], check=False)
        if done.returncode != 0:
            return Status({}, {})
        tree = ElementTree.fromstring(done.stdout)
        nodes = {node.get("name"): node.attrib for node in tree.findall("nodes/node")}
        resources = {}
        for entry in tree.findall("resources//resource"):
            seen = dict(entry.attrib, on=[node.get("name") for node in entry.findall("node")])
            seen.setdefault("pending", "")
            resources[entry.get("id")] = seen
        return Status(nodes, resources)

    def online(self, node):
        """Whether a node is online and clean now."""
        return self.status().online(node)

    def await_status(self, what, predicate, limit):
        """Polls until the predicate holds for the cluster's status; a `Late` says what was seen last."""
        last = [Status({}, {})]

        def holds():
            last[0] = self.status()
            return predicate(last[0]) and last[0]

        try:
            return until(what, holds, limit, 0.15)
        except Late as late:
            nodes = {name: {key: seen.get(key) for key in ("online", "unclean", "pending")} for name, seen in last[0].nodes.items()}
            resources = {name: (seen["role"], seen["on"], "failed" if seen["failed"] == "true" else "") for name, seen in last[0].resources.items()}
            raise Late(f"{late}; seen last: nodes {nodes}, resources {resources}") from None

    def configure(self, resources=(), constraints=()):
        """Adds or changes resources and constraints, both in one step."""
        xml = f"<configuration><resources>{''.join(resources)}</resources><constraints>{''.join(constraints)}</constraints></configuration>"
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

    def _resource(self, resource, *words):
        return self.node.run(["crm_resource", "--resource", resource, *words])

    def fenced(self):
        """Who was fenced so far: a list of (action, node)."""
        return [tuple(line.split()[1:]) for line in self.node.read(FENCING_RECORD).splitlines()]

    def end(self):
        """Ends all nodes and the network."""
        for node in self._nodes:
            node.end()
        self._network.end()
