# Prints a JSON object: for each standard a list of the median seconds of a start, a stop and a monitor, of monitors per
# second with several in flight, and of the daemon's CPU seconds per monitor and per start and stop. Arguments: …, the
# daemon's process id, then for each: standard, number of starts and stops, and twice how many monitors are in flight at
# a time and how many there are.

# On a busy machine, systemd takes long to read its units again, which it does for each start and stop.
WAIT_SECONDS = 60


def act(client, action):
    client.begin("bench0", action)
    client.await_result()


def monitors(client, pid, width, count):
    names = [f"bench{number}" for number in range(width)]
    begun, took, sent = {}, [], 0
    before, start = cpu_seconds(pid), time.monotonic()
    while len(took) < count:
        for name in names:
            if sent < count and name not in begun:
                begun[name] = time.monotonic()
                client.begin_monitor(name)
                sent += 1
        name = client.await_result()
        took.append(time.monotonic() - begun.pop(name))
    return median(took), count / (time.monotonic() - start), (cpu_seconds(pid) - before) / count


def measure(client, pid, standard, cycles, width, count, wide, many):
    for number in range(max(width, wide)):
        client.register_resource(f"bench{number}", "bench", standard)
    act(client, "start")
    act(client, "stop")
    before = cpu_seconds(pid)
    starts, stops = [], []
    for _ in range(cycles):
        starts.append(timed(lambda: act(client, "start"))[0])
        stops.append(timed(lambda: act(client, "stop"))[0])
    changing = (cpu_seconds(pid) - before) / cycles
    act(client, "start")
    took, _, cpu = monitors(client, pid, width, count)
    _, rate, _ = monitors(client, pid, wide, many)
    act(client, "stop")
    return [median(starts), median(stops), took, rate, cpu, changing]


def main():
    pid, *plan = sys.argv[4:]
    client = Client(nodelay=True)
    done = {standard: measure(client, pid, standard, *map(int, numbers)) for standard, *numbers in zip(*[iter(plan)] * 6)}
    print(json.dumps(done))
    client.close()


main()
