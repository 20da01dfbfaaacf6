#!/usr/bin/env python3
"""Takes orders from the integration feed, with a queue of its own that survives restarts.

    AMQP_URL=amqp://user:password@host:5672/%2F python3 Examples/consume_events.py [COUNT]

It needs pika (Debian: python3-pika) and ends after COUNT events, or never. Delivery is at least once: remember
the ids of what you have done, or make doing it twice harmless. An event that fails five times goes to the
dead-letter queue, where somebody can look at it.
"""

import json
import os
import sys

import pika

EXCHANGE, QUEUE, DEAD = "counterflow.events", "example.orders", "example.orders.dead"

connection = pika.BlockingConnection(pika.URLParameters(os.environ["AMQP_URL"]))
channel = connection.channel()
channel.exchange_declare(EXCHANGE, "topic", durable=True)
channel.queue_declare(DEAD, durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_declare(
    QUEUE,
    durable=True,
    arguments={
        "x-queue-type": "quorum",
        "x-delivery-limit": 5,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": DEAD,
        # Full, it refuses: the relay waits, and nothing is lost.
        "x-max-length": 1_000_000,
        "x-overflow": "reject-publish",
    },
)
channel.queue_bind(QUEUE, EXCHANGE, "order.*")
channel.basic_qos(prefetch_count=50)

left = int(sys.argv[1]) if len(sys.argv) > 1 else None
for delivery, _, body in channel.consume(QUEUE):
    event = json.loads(body)
    try:
        print(event["position"], event["type"], event["subject"], json.dumps(event["data"]), flush=True)
        channel.basic_ack(delivery.delivery_tag)
    except Exception as error:
        print(f"failed: {error}", file=sys.stderr)
        channel.basic_nack(delivery.delivery_tag, requeue=True)
    if left is not None and (left := left - 1) <= 0:
        break
connection.close()
