# Prints a JSON object on monitors that recur every second: starts per second, the 99th percentile of how much later
# than a second after the one before they start, the share of starts that did not happen, and the daemon's CPU
# seconds per second. Arguments: …, the daemon's process id, number of monitors, seconds of measuring.
import os

SETTLE_SECONDS = 3


def main():
    pid, monitors, seconds = sys.argv[4], int(sys.argv[5]), float(sys.argv[6])
    os.makedirs("/run/bench")
    client = Client(nodelay=True)
    for number in range(monitors):
        client.register_resource(f"m{number}", "static")
    begun, results = time.monotonic(), 0
    for number in range(monitors):
        # Spread over the second, as those of a cluster are after a while.
        time.sleep(max(0, begun + number / monitors - time.monotonic()))
        client.begin_monitor(f"m{number}", 1000)
        # A stock daemon waits for ever for who does not read.
        while client.readable():
            results += is_result(client.message())
    while results < monitors:
        results += is_result(client.message())
    time.sleep(SETTLE_SECONDS)
    first, before, start = time.time(), cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    cpu, last = (cpu_seconds(pid) - before) / (time.monotonic() - start), time.time()
    # Ends the monitors.
    client.close()
    print(json.dumps({"cpu": cpu, **starts(first, last, monitors)}))


def is_result(message):
    return b'lrmd_op="lrmd_rsc_exec"' in message and b'"notify"' in message


def starts(first, last, monitors):
    seen = {}
    with open("/run/bench/starts") as file:
        for line in file:
            name, at = line.split()
            seen.setdefault(name, []).append(float(at))
    count, late = 0, []
    for times in seen.values():
        times.sort()
        count += sum(first <= at < last for at in times)
        late += [after - at - 1 for at, after in zip(times, times[1:]) if first <= after < last]
    late.sort()
    return {"rate": count / (last - first), "late": late[len(late) * 99 // 100], "missed": max(0, 1 - count / (last - first) / monitors)}


main()
