"""Attacks on the private RabbitMQ: its exchange, its queues, its connections."""

import base64
import http.client
import json
import subprocess
import urllib.parse

from .shell import LOCAL, bash

EXCHANGE = "counterflow.live"
CONTROL = '''
rabbitmq_environment
# Not Debian's wrapper, which switches to another user.
exec /usr/lib/rabbitmq/bin/rabbitmqctl -q -n "$RABBITMQ_NODENAME" -t 30 "$@"
'''
# What a broker sends when it deletes a queue or fails over. The queue is left as it is.
CANCEL = '''
  [gen_server2:cast(proplists:get_value(channel_pid, C),
     {{command, {{'basic.cancel', proplists:get_value(consumer_tag, C), true}}}})
   || C <- rabbit_amqqueue:consumers_all(<<"{host}">>),
      element(4, proplists:get_value(queue_name, C)) =:= <<"{queue}">>].
'''


def management(method, path):
    """The status and the JSON of the management API's response; status 0 if there is none."""
    port = int((LOCAL / "ports/management").read_text())
    password = (LOCAL / "secrets/rabbitmq").read_text().strip()
    credentials = base64.b64encode(f"counterflow:{password}".encode()).decode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, f"/api/{path}", headers={"Authorization": f"Basic {credentials}"})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or "null")
    except (OSError, http.client.HTTPException, ValueError):
        return 0, None
    finally:
        connection.close()


def quoted(name):
    return urllib.parse.quote(name, safe="")


def delete_exchange():
    return management("DELETE", f"exchanges/%2F/{EXCHANGE}")[0] == 204


def close_connections():
    """Returns whether a connection was closed."""
    status, connections = management("GET", "connections")
    if status != 200:
        return False
    names = [connection["name"] for connection in connections]
    return any([management("DELETE", f"connections/{quoted(name)}")[0] == 204 for name in names])


def queues(host):
    """The queues of the live feed in a virtual host; none while RabbitMQ is away."""
    status, bindings = management("GET", f"exchanges/{quoted(host)}/{EXCHANGE}/bindings/source")
    return sorted({binding["destination"] for binding in bindings}) if status == 200 else []


def attack_queue(attack, host, queue):
    """Purges or deletes a queue, or cancels its consumer; returns whether that succeeded.

    The queues are exclusive to their projectors: no other client can change them over AMQP or the management API. So the
    node itself is asked."""
    arguments = {
        "purge": ["purge_queue", "-p", host, queue],
        "delete": ["delete_queue", "-p", host, queue],
        "cancel": ["eval", CANCEL.format(host=host, queue=queue)],
    }[attack]
    return bash(CONTROL, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
