"""Pacemaker's command-line tools on the remotes: whatever they ask and change, they say what they say beside the stock daemon."""

from . import pair, steps

TITLE = "command-line tools, beside the stock daemon"
MEMBERS = 1
FENCED = []
BESIDE_STOCK = True

READ = (
    "crm_mon -1", "crm_mon -1 -A -f -n -r", "crm_mon -1 --output-as=xml", "crm_mon -1 --output-as=html",
    "crm_node -n", "crm_node -i", "crm_node -l", "crm_node -p", "crm_node -q", "crm_node -N 1",
    "crm_resource -l", "crm_resource -L", "crm_resource -O", "crm_resource --locate -r {mine}", "crm_resource -W -r absent",
    "crm_resource --query-xml -r {mine}", "crm_resource --get-parameter state -r {mine}", "crm_resource --constraints -r {mine}",
    "crm_attribute -n dc-deadtime -G", "crm_attribute -n dc-deadtime -G -q", "crm_attribute -n absent -G", "crm_attribute -N {me} -n absent -G -l reboot",
    "attrd_updater -n absent -Q", "attrd_updater -n absent -Q -A",
    "crm_failcount -G -r {mine}", "crm_failcount -G -r {mine} -N {them}", "crm_standby -G", "crm_standby -G -N {them}",
    "cibadmin -Q", "cibadmin -Q -l", "cibadmin -Q --scope resources", "cibadmin -Q --xpath //nvpair[@name='state']",
    "cibadmin -Q --xpath //primitive -e", "cibadmin -Q --scope nothing",
    "stonith_admin -L", "stonith_admin -I", "stonith_admin -l {me}", "stonith_admin -H {me}", "stonith_admin -H *",
    "crmadmin -D", "crmadmin -S c1", "crmadmin -N", "crmadmin -P",
    "crm_verify -L", "crm_verify -L -V", "crm_simulate -L", "crm_simulate -s -L", "crm_ticket -l", "crm_ticket -L", "crm_shadow -w",
)
# What goes to each of the cluster's daemons: for whom is not to have answers.
EACH_DAEMON = (
    "crm_mon -1", "crm_node -n", "crm_node -l", "crm_resource -l", "crm_attribute -n dc-deadtime -G", "attrd_updater -n absent -Q",
    "attrd_updater -n refused -U 1", "cibadmin -Q", "cibadmin -B", "stonith_admin -L", "stonith_admin -H *", "crmadmin -D", "crmadmin -P",
    "crm_verify -L", "crm_simulate -L", "crm_ticket -l")
TEMPLATE = '<template id="lab-{me}" class="ocf" provider="pacemaker" type="Dummy"{more}/>'
CHANGES = {
    "attributes of nodes": (
        "crm_attribute -N {me} -n colour -v blue", "crm_attribute -N {me} -n colour -G", "crm_attribute -N {me} -n colour -v red -l forever",
        "crm_attribute -N {me} -n colour -G -q", "crm_attribute -N {me} -n colour -D", "crm_attribute -N {me} -n colour -G",
        "crm_attribute -n shade -v dark -l reboot", ("crm_attribute -n shade -G -l reboot", "value=dark"),
        ("attrd_updater -n shade -Q -N {me}", 'value="dark"'), "crm_attribute -n shade -D -l reboot", "crm_attribute -N nowhere -n colour -v blue",
    ),
    "properties of the cluster": (
        "crm_attribute -n lab-{me} -v 17", "crm_attribute -n lab-{me} -G", "crm_attribute -n lab-{me} -v 18 --quiet", "crm_attribute -n lab-{me} -G -q",
        "crm_attribute -n lab-{me} -D", "crm_attribute -n lab-{me} -G", "crm_attribute -n lab-{me} -D",
    ),
    # Without a name, a question is about the cluster node that the connection is on.
    "attributes by their daemon": (
        "attrd_updater -n load-{me} -U 5", ("attrd_updater -n load-{me} -Q -N {me}", 'value="5"'), "attrd_updater -n load-{me} -Q", "attrd_updater -n load-{me} -U value+=2",
        ("attrd_updater -n load-{me} -Q -N {me}", 'value="7"'), ("attrd_updater -n load-{me} -Q -A", '{me}'), "attrd_updater -n load-{me} -B 8 -d 1",
        ("attrd_updater -n load-{me} -Q -N {me}", 'value="8"'), "attrd_updater -n load-{me} -Y -d 0", "attrd_updater -n load-{me} -U 9 -N {them}",
        ("attrd_updater -n load-{me} -Q -N {them}", 'value="9"'), "attrd_updater -n load-{me} -D -N {them}", "attrd_updater -n load-{me} -D",
        "attrd_updater -n secret-{me} -U 1 -p", ("attrd_updater -n secret-{me} -Q -N {me}", 'value="1"'), "attrd_updater -n secret-{me} -D", "attrd_updater -R",
    ),
    "objects of the CIB": (
        f"cibadmin -C -o resources -X '{TEMPLATE}'", f"cibadmin -C -o resources -X '{TEMPLATE}'", "cibadmin -Q --xpath //template[@id='lab-{me}']",
        "cibadmin -M -o resources -X '" + TEMPLATE.replace("{more}", ' description="one"') + "'",
        "cibadmin -Q --xpath //template[@id='lab-{me}']",
        "cibadmin -R -o resources -X '" + TEMPLATE.replace("{more}", ' description="two &lt;"') + "'", "cibadmin -Q --xpath //template[@id='lab-{me}']",
        f"cibadmin -D -o resources -X '{TEMPLATE}'", f"cibadmin -D -o resources -X '{TEMPLATE}'", "cibadmin -Q --xpath //template[@id='lab-{me}']",
        "cibadmin -M --xpath //nothing -X '<nvpair id=\"x\"/>'",
        "cibadmin -B", "cibadmin -C -s -o tags -X '<tag id=\"lab-{me}\"><obj_ref id=\"{mine}\"/></tag>'",
        "cibadmin -D -s --xpath //tag[@id='lab-{me}']", "cibadmin --md5-sum-versioned -Q",
    ),
    "a shadow of the CIB": (
        "crm_shadow --create lab-{me} --batch --force", "crm_shadow --which", "crm_shadow --create lab-{me} --batch",
        "env CIB_shadow=lab-{me} crm_shadow --which", "env CIB_shadow=lab-{me} crm_shadow --diff",
        "env CIB_shadow=lab-{me} crm_attribute -n lab-shadow -v 1", "env CIB_shadow=lab-{me} cibadmin -Q --xpath //nvpair[@name='lab-shadow']",
        "cibadmin -Q --xpath //nvpair[@name='lab-shadow']", "env CIB_shadow=lab-{me} crm_attribute -n lab-shadow -D",
        "crm_shadow --commit lab-{me} --force", "crm_shadow --delete lab-{me} --force", "crm_shadow --delete lab-{me} --force",
    ),
    "tickets": (
        "crm_ticket -t lab-{me} -g --force", "crm_ticket -t lab-{me} -q", "crm_ticket -t lab-{me} -G granted", "crm_ticket -t lab-{me} -S owner -v {me}",
        "crm_ticket -t lab-{me} -r --force", "crm_ticket -t lab-{me} --cleanup --force", "crm_ticket -t lab-{me} -q",
    ),
    "what is known of resources": (
        "crm_resource -r {mine} --meta -p description -v one", "crm_resource -r {mine} --meta -g description",
        "crm_resource -r {mine} --meta -d description", "crm_resource -r {mine} -p fake -v 3", "crm_resource -r {mine} -g fake",
        "crm_resource -r {mine} -d fake", "crm_resource -r {mine} -g fake", "crm_resource --cleanup -r {mine} -N {me}",
        "crm_resource --refresh -r {mine} -N {me}", "crm_resource --cleanup -r absent",
        "crm_failcount -D -r {mine}", "crm_failcount -D -r {mine} -N {me}",
    ),
    "where resources run": (
        "crm_resource -M -r {mine} -N {them}", ("crm_resource -W -r {mine}", "running on: {them}"), "crm_resource -r {mine} --clear",
        ("crm_resource -W -r {mine}", "running on: {me}"), "crm_resource --ban -r {mine} -N {me}",
        ("crm_resource -W -r {mine}", "running on: {them}"), "crm_resource -r {mine} --clear -N {me}",
        ("crm_resource -W -r {mine}", "running on: {me}"), "crm_resource -M -r absent -N {them}",
        "crm_standby -v on", ("crm_standby -G", "value=on"), ("crm_resource -W -r {mine}", "running on: {them}"), "crm_standby -v off",
        ("crm_resource -W -r {mine}", "running on: {me}"), "crm_standby -D", ("crm_standby -G", "value=off"),
    ),
}
AS_AGENT = "OCF_RESOURCE_INSTANCE={mine}"
AS_AGENT_CHANGES = (
    "crm_master -v 5 -l reboot", ("crm_master -G -l reboot", "value=5"), "crm_master -D -l reboot", "crm_master -G -l reboot",
    "crm_master -v 7 -l forever", "crm_master -G -q -l forever", "crm_master -D -l forever",
)
PROMOTION = (
    "crm_attribute --promotion -v 5 -l reboot", ("crm_attribute --promotion -G -l reboot", "value=5"), "crm_attribute --promotion -D -l reboot",
    "crm_attribute --promotion={mine} -v 6 -l reboot", "crm_attribute --promotion={mine} -D -l reboot",
)
FENCER = ("stonith_admin --reboot nowhere --timeout 2", "stonith_admin -H nowhere", "stonith_admin -H nowhere -C", "stonith_admin -H nowhere",
          "stonith_admin -Q absent", "stonith_admin --metadata -a fence_record")
# The first release of crm_attribute that knows of promotion.
KNOWS_PROMOTION = (2, 1, 0)
BY_HACLUSTER = ("attributes of nodes", "attributes by their daemon", "objects of the CIB", "tickets")
STOPPED_LIMIT_SECONDS = 30


def run(cluster, report):
    sides = pair.sides(cluster)
    for user, commands in (("root", READ), ("hacluster", EACH_DAEMON), ("nobody", EACH_DAEMON)):
        with report.check(f"{len(commands)} commands as {user}: the same {'answers' if user != 'nobody' else 'refusals'}"):
            pair.hold([wrong for command in commands if (wrong := pair.both(sides, command, user))])
    for subject, commands in CHANGES.items():
        with report.check(f"{len(commands)} commands on {subject}: the same answers"):
            pair.hold(pair.talk(sides, filled(commands)))
            cluster.settle()
    for subject in BY_HACLUSTER:
        with report.check(f"{subject}, as hacluster: the same answers"):
            pair.hold(pair.talk(sides, filled(CHANGES[subject]), "hacluster"))
    with report.check("promotion scores, as an agent sets them: the same answers"):
        more = PROMOTION if cluster.release >= KNOWS_PROMOTION else ()
        pair.hold(pair.talk(sides, AS_AGENT_CHANGES + more, also=AS_AGENT))
    with report.check("what is asked of the fencer: the same answers"):
        pair.hold(pair.talk(sides, FENCER))
    with report.check("after all that the CIB is the same for both"):
        cluster.settle()
        pair.hold(pair.both(sides, "cibadmin -Q"))
    for name in cluster.remotes:
        cluster.set_meta(name, "target-role", "Stopped")
    cluster.await_status("both connections stopped", lambda status: all(status.stopped(name) for name in cluster.remotes), STOPPED_LIMIT_SECONDS)
    for user in ("root", "hacluster", "nobody"):
        with report.check(f"without a cluster, {len(EACH_DAEMON)} commands as {user}: the same refusals"):
            pair.hold([wrong for command in EACH_DAEMON if (wrong := pair.both(sides, command, user))])
    for name in cluster.remotes:
        cluster.set_meta(name, "target-role", "Started")
    steps.await_online(cluster, *cluster.remotes)
    steps.await_placed(cluster, {"t1": "r1", "t2": "r2"})
    with report.check("and with the cluster back, answers again"):
        pair.hold(pair.talk(sides, (("crm_node -n", "{me}"), "cibadmin -Q -o resources", "crm_mon -1")))
    for resource in ("t1", "t2"):
        cluster.delete_resource(resource)


def filled(commands):
    return [command.replace("{more}", "") if isinstance(command, str) else command for command in commands]
