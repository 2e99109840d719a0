# Prints a JSON object on memory and CPU time: bytes of memory by what went before, `handshake` (CPU seconds of
# the daemon per connection), `poke` (median seconds on one of so many connections, by their number).
# Arguments: …, the daemon's process id, `connections`, or `operations` or `reconnects` and two numbers of them.
POKES = 41
WIDTH = 8


def memory(pid):
    fields = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file.readlines()[1:]:
            name, _, value = line.partition(":")
            fields[name] = int(value.split()[0]) * 1024
    return {"rss": fields["Rss"]}


def connections(pid):
    result = {}
    clients = []
    for number in (1, 8, 32):
        before, missing = cpu_seconds(pid), number - len(clients)
        clients += [Client(nodelay=True) for _ in range(missing)]
        handshake = (cpu_seconds(pid) - before) / missing
        if number == 1:
            for resource in range(10):
                clients[0].register_resource(f"r{resource}", "static")
        pokes = median(timed(clients[0].poke)[0] for _ in range(POKES))
        result[number] = {"handshake": handshake, "poke": pokes, **memory(pid)}
    for client in clients:
        client.close()
    return result


def operations(pid, first, last):
    client = Client(nodelay=True)
    names = [f"o{number}" for number in range(WIDTH)]
    for name in names:
        client.register_resource(name, "static")
        client.begin_monitor(name)
    result = []
    for done in range(1, last + 1):
        name = client.await_result()
        if done in (first, last):
            result.append(memory(pid))
        client.begin_monitor(name)
    client.close()
    return result


def reconnects(pid, first, last):
    result = []
    for done in range(1, last + 1):
        Client(nodelay=True).close()
        if done in (first, last):
            time.sleep(0.5)
            result.append(memory(pid))
    return result


def main():
    pid, what, *numbers = sys.argv[4:]
    print(json.dumps({"connections": connections, "operations": operations, "reconnects": reconnects}[what](pid, *map(int, numbers))))


main()
