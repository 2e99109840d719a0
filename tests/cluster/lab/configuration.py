"""What the nodes of a cluster are configured with: corosync, Pacemaker's environment, the first CIB."""

from xml.sax.saxutils import quoteattr

FENCE_AGENT = "fence_record"
UNFENCE_AGENT = "fence_unfence"

# Quick to elect, quick to look again.
PROPERTIES = {"dc-deadtime": "3s", "cluster-recheck-interval": "10s", "stonith-enabled": "true", "have-watchdog": "false"}

# Pacemaker's own environment, on cluster nodes and remotes alike.
ENVIRONMENT = "PCMK_logfile=/var/log/pacemaker/pacemaker.log\nPCMK_logfacility=none\n"
# For remotes whose log is to be kept: what the daemon says on standard error becomes its `daemon.log`.
TALKATIVE = "PCMK_stderr=yes\n"
# In an attribute these would become spaces.
CONTROLS = {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}


def corosync(members):
    """corosync.conf of a cluster. `members`: pairs of a node's name and its address."""
    nodes = "\n".join(f"    node {{\n        name: {name}\n        nodeid: {number}\n        ring0_addr: {address}\n    }}"
                      for number, (name, address) in enumerate(members, 1))
    # Of two, one is enough: the other has been fenced.
    two = "    two_node: 1\n" if len(members) == 2 else ""
    return f"""totem {{
    version: 2
    cluster_name: lab
    transport: knet
    crypto_cipher: none
    crypto_hash: none
}}
quorum {{
    provider: corosync_votequorum
    expected_votes: {len(members)}
{two}}}
nodelist {{
{nodes}
}}
logging {{
    to_stderr: no
    to_syslog: no
    to_logfile: yes
    logfile: /var/log/corosync/corosync.log
}}
system {{
    sched_rr: no
    move_to_root_cgroup: no
}}
"""


def cib(members, remotes):
    """The first CIB. `members`: names of the cluster nodes; `remotes`: pairs of a remote's name and the address
    the cluster is to reach it at."""
    names = " ".join([*members, *(name for name, _ in remotes)])
    properties = "".join(nvpair("lab", name, value) for name, value in PROPERTIES.items())
    resources = fence_device(names) + "".join(remote(name, address) for name, address in remotes)
    # num_updates 1: an empty CIB with epoch 0 would be replaced by a node's default one.
    return f"""<cib validate-with="pacemaker-3.0" admin_epoch="0" epoch="1" num_updates="1">
<configuration>
<crm_config><cluster_property_set id="lab">{properties}</cluster_property_set></crm_config>
<nodes/>
<resources>{resources}</resources>
<constraints/>
</configuration>
<status/>
</cib>
"""


def fence_device(nodes, name="fencing", agent=FENCE_AGENT, meta=()):
    """The recording fence device for all nodes; it runs on a cluster node."""
    parameters = {"pcmk_host_check": "static-list", "pcmk_host_list": nodes}
    return (f'<primitive id="{name}" class="stonith" type="{agent}">{attributes("meta", f"{name}-m", meta)}'
            f'{attributes("instance", f"{name}-p", parameters)}</primitive>')


def remote(name, address):
    """A remote node's connection resource."""
    return (f'<primitive id="{name}" class="ocf" provider="pacemaker" type="remote"><instance_attributes id="{name}-p">'
            + nvpair(name, "server", address) + nvpair(name, "reconnect_interval", "5s")
            + f'</instance_attributes><operations><op id="{name}-monitor" name="monitor" interval="5s" timeout="15s"/>'
            f'<op id="{name}-start" name="start" interval="0s" timeout="20s"/></operations></primitive>')


def primitive(name, provider, kind, parameters, interval, timeout="20s"):
    """An OCF resource with a recurring monitor."""
    return resource(name, f"ocf:{provider}", kind, interval, timeout, parameters)


def resource(name, standard, kind, interval, timeout="20s", parameters=(), meta=(), on_fail=()):
    """A resource with a recurring monitor. `standard`: with an OCF resource's provider after a colon; `parameters`,
    `meta` and `on_fail` are dictionaries, the last one by action."""
    standard, _, provider = standard.partition(":")
    provider = f' provider="{provider}"' if provider else ""
    intervals = {"monitor": interval, "start": "0s", "stop": "0s"}
    operations = "".join(
        f'<op id="{name}-{action}" name="{action}" interval="{every}" timeout="{timeout}"'
        + (f' on-fail="{dict(on_fail)[action]}"/>' if action in on_fail else "/>") for action, every in intervals.items())
    return (f'<primitive id="{name}" class="{standard}"{provider} type="{kind}">{attributes("meta", f"{name}-m", meta)}'
            f'{attributes("instance", f"{name}-p", parameters)}<operations>{operations}</operations></primitive>')


def attributes(kind, name, values):
    """A block of attributes, if there are any; its name is unique."""
    return not values and "" or f'<{kind}_attributes id="{name}">{"".join(nvpair(name, key, value) for key, value in dict(values).items())}</{kind}_attributes>'


def dummy(name, provider, parameters, interval):
    """A Dummy resource with a recurring monitor."""
    return primitive(name, provider, "Dummy", parameters, interval)


def location(resource, node, score):
    """A location preference."""
    return f'<rsc_location id="loc-{resource}-{node}" rsc="{resource}" node="{node}" score="{score}"/>'


def only_on(resource, node):
    """Has a resource run and be looked for on one node only."""
    return f'<rsc_location id="loc-{resource}-{node}" rsc="{resource}" node="{node}" score="100" resource-discovery="exclusive"/>'


def ruled(resource, name, score, attribute, value):
    """A location constraint by a rule: where a node attribute has that value."""
    return (f'<rsc_location id="loc-{resource}-{name}" rsc="{resource}"><rule id="loc-{resource}-{name}-rule" score="{score}">'
            f'<expression id="loc-{resource}-{name}-expression" attribute="{attribute}" operation="eq" value="{value}"/></rule></rsc_location>')


def on_remotes(resource):
    """Keeps a resource away from the cluster nodes."""
    return ruled(resource, "remotes", "-INFINITY", "#kind", "cluster")


def prefers(resource, node):
    """Location constraints of a resource that has its home on a remote."""
    return [location(resource, node, 100), on_remotes(resource)]


def nvpair(owner, name, value):
    """One name and value, with an id made of its owner's."""
    return f'<nvpair id="{owner}-{name}" name="{name}" value={quoteattr(str(value), CONTROLS)}/>'
