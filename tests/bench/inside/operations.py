# Prints a JSON object: `poke`, the median seconds of a poke, which has the same messages as an operation but runs no
# agent; and `operations`, a list of [median seconds from request to result, operations per second, the daemon's CPU
# seconds per operation]. Arguments: …, the daemon's process id, then for each: agent, operations in flight, number of
# operations.

POKES = 41


def measure(client, pid, agent, width, count):
    names = [f"{agent}{number}" for number in range(width)]
    for name in names:
        client.register_resource(name, agent)
    begun, took, sent = {}, [], 0
    # The first one of each is not like the others.
    for name in names:
        client.begin_monitor(name)
    for _ in names:
        client.await_result()
    before, start = cpu_seconds(pid), time.monotonic()
    for name in names:
        begun[name] = time.monotonic()
        client.begin_monitor(name)
        sent += 1
    while len(took) < count:
        name = client.await_result()
        now = time.monotonic()
        took.append(now - begun[name])
        if sent < count:
            begun[name] = time.monotonic()
            client.begin_monitor(name)
            sent += 1
    seconds, cpu = time.monotonic() - start, cpu_seconds(pid) - before
    return [median(took), count / seconds, cpu / count]


def main():
    pid, *plan = sys.argv[4:]
    client = Client(nodelay=True)
    poke = median(timed(client.poke)[0] for _ in range(POKES))
    done = [measure(client, pid, agent, int(width), int(count)) for agent, width, count in zip(*[iter(plan)] * 3)]
    print(json.dumps({"poke": poke, "operations": done}))
    client.close()


main()
