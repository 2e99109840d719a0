# Comes after bench/inside/gnutls_client.py. Asks a daemon for alerts, which are the last argument: a JSON list of pairs of
# an agent's path and its variables. Prints the list of the answers' codes.
from xml.sax.saxutils import quoteattr

ESCAPED = {"\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}


def ask(client, path, variables):
    attributes = "".join(f" {name}={quoteattr(value, ESCAPED)}" for name, value in variables.items())
    client.request('lrmd_op="lrmd_alert_exec" lrmd_timeout="30000" lrmd_callopt="2"',
                   '><lrmd_calldata><lrmd_alert lrmd_origin="lab" lrmd_alert_id="lab" lrmd_timeout="30000" '
                   f'lrmd_alert_path={quoteattr(path)}><attributes{attributes}/></lrmd_alert></lrmd_calldata></lrmd_command>')
    while True:
        message = client.message()
        if b'"reply"' in message:
            return message.split(b'lrmd_rc="')[1].split(b'"')[0].decode()


def main():
    client = Client(nodelay=True)
    print(json.dumps([ask(client, path, variables) for path, variables in json.loads(sys.argv[4])]))
    client.close()


main()
