# Prints a JSON object: the library's version, and lists of seconds `register` (TCP connect to the reply) and `poke`
# (request to its notification). Arguments: …, number of connections, number of pokes.

# Early on, Linux acknowledges at once; the delay that these clients live with comes later.
WARM_UP = 20


def main():
    connections, pokes = map(int, sys.argv[4:])
    register = []
    for _ in range(connections):
        took, client = timed(Client)
        register.append(took)
        client.close()
    client = Client()
    for _ in range(WARM_UP):
        client.poke()
    poke = [timed(client.poke)[0] for _ in range(pokes)]
    client.close()
    print(json.dumps({"gnutls": gnutls.gnutls_check_version(None).decode(), "register": register, "poke": poke}))


main()
