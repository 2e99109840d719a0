"""The same commands on both remotes, as the same user: what they say and how they end must not differ."""

import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lab import configuration
from lab.report import expect
from lab.waiting import Late, until

from . import steps

# A tool that waits for ever must not hold up the test.
TOOL_LIMIT_SECONDS = 45
AGREE_LIMIT_SECONDS = 15
# Two runs of the same tool beside the same daemon differ in these: the time and who asked; what each change counts;
# random identifiers, process numbers; paths of temporary files; whether an answer comes before the tool says that it
# waits for it.
ALWAYS_DIFFERS = (
    (r"[Ll]ast updated:? .*", "Last updated"),
    (r"(Last change: ).*", r"\1"),
    (r"<(last_update|last_change) [^>]*>", r"<\1>"),
    (r'\b(epoch|num_updates|cib-last-written|update-(?:origin|client|user)|crm-debug-origin|last-rc-change|queue-time|exec-time|call-id|call|'
     r'last-run|last-refresh|transition-(?:key|magic)|reference|in_ccm|crmd|join|expected)="[^"]*"', r'\1=""'),
    (r'\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b', "UUID"),
    (r"\b(last-rc-change|last-run|exec|queue|exec-time|queue-time)='?[^',]*'?(?=,|$)", r"\1="),
    (r"\bshadow\.\w+", "shadow.FILE"),
    (r"^(Waiting for \d+ repl.*|\.\.\. got reply.*)\n", ""),
    (r"/dev/shm/qb-[^/\s]+", "/dev/shm/qb"),
    (r"(_\d{10,}|\b1[0-9]{9}\b)", "TIME"),
    (r"\b(pid|PID)[ =]?\d+", "PID"),
)


@dataclass(frozen=True)
class Side:
    """A remote, its resource, and the other remote."""

    node: object
    words: dict

    def ask(self, command, user="root", also=""):
        """Runs a command with `{me}`, `{them}` and `{mine}` filled in, as a user: its exit status and all it said.

        `also`: variables of its environment."""
        identity = ["setpriv", f"--reuid={user}", f"--regid={GROUPS[user]}", "--init-groups"] if user != "root" else []
        filled = shlex.split(command.format(**self.words))
        home = "/root" if user == "root" else "/tmp/" + user
        words = [*identity, "env", f"HOME={home}", *also.format(**self.words).split(), "timeout", str(TOOL_LIMIT_SECONDS), *filled]
        done = self.node.run(words, check=False, limit=TOOL_LIMIT_SECONDS + 10)
        return done.returncode, plain(done.stdout), plain(done.stderr)

    def neutral(self, answer):
        """An answer with this side's names taken out; what is listed by name has another order then."""
        status, *parts = answer
        for word, name in self.words.items():
            parts = [re.sub(rf"\b{name}\b", word.upper(), part) for part in parts]
        return status, *(sorted(part.splitlines()) for part in parts)


GROUPS = {"hacluster": "haclient", "nobody": "nogroup"}


def plain(text):
    for pattern, replacement in ALWAYS_DIFFERS:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def sides(cluster):
    """Both remotes, each with a Dummy of its own: `t1` on r1, `t2` on r2."""
    resources = {"t1": "r1", "t2": "r2"}
    cluster.configure(
        [configuration.dummy(resource, "pacemaker", {"state": steps.state_file(resource)}, "10s") for resource in resources],
        [preference for resource, home in resources.items() for preference in configuration.prefers(resource, home)])
    steps.await_placed(cluster, resources)
    cluster.settle()
    names = [("r1", "r2", "t1", "t2"), ("r2", "r1", "t2", "t1")]
    found = [Side(cluster.remotes[me].node, {"me": me, "them": them, "mine": mine, "theirs": theirs}) for me, them, mine, theirs in names]
    for side in found:
        side.node.run(["install", "-d", "-o", "hacluster", "-g", "haclient", "/tmp/hacluster"])
        side.node.run(["install", "-d", "-o", "nobody", "/tmp/nobody"])
    return found


def both(pair, command, user="root", also=""):
    """Asks on both at the same time; returns what is wrong, or nothing."""
    with ThreadPoolExecutor(2) as pool:
        return compared(pair, command, list(pool.map(lambda side: side.ask(command, user, also), pair)))


def compared(pair, command, answers):
    """What differs, either of names or but for them."""
    if answers[0] == answers[1] or pair[0].neutral(answers[0]) == pair[1].neutral(answers[1]):
        return ""
    told = []
    for side, answer in zip(pair, answers):
        told.append(f"{side.words['me']}: exit {answer[0]}\n{answer[1]}{answer[2]}")
    return f"`{command}` differs:\n" + "\n".join(told)


def talk(pair, conversation, user="root", also=""):
    """A conversation of commands, whole on one remote and then on the other; returns what is wrong.

    A command is a text, or a pair of a text and what has to be in the answer before one goes on."""
    answers = [[converse(side, command, user, also) for command in conversation] for side in pair]
    wrong = []
    for command, *found in zip(conversation, *answers):
        if difference := compared(pair, command if isinstance(command, str) else command[0], found):
            wrong.append(difference)
    return wrong


def converse(side, command, user, also):
    if isinstance(command, str):
        return side.ask(command, user, also)
    command, awaited = command
    last = []

    def agrees():
        last[:] = [side.ask(command, user, also)]
        return any(awaited.format(**side.words) in part for part in last[0][1:])

    try:
        until(f"{side.words['me']}: `{command}` says {awaited!r}", agrees, AGREE_LIMIT_SECONDS, 0.3)
    except Late as late:
        raise Late(f"{late}; it says {last[0]}") from None
    return last[0]


def hold(wrong):
    """Fails with all that is wrong: one text or several."""
    expect(not wrong, wrong if isinstance(wrong, str) else "\n".join(wrong))
