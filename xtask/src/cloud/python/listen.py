"""listen.py URL_FILE [EXCHANGE...]: every notification, one JSON object a line, from now on until it is ended.

The first line is {"listening": [EXCHANGE, ...]}: what comes after it is missed no more.
"""
import json
import sys
import time
import uuid

import kombu

EXCHANGES = sys.argv[2:] or ["neutron", "nova"]
with open(sys.argv[1]) as file:
    URL = file.read().strip()
with kombu.Connection(URL) as connection:
    channel = connection.channel()
    queues = []
    for name in EXCHANGES:
        exchange = kombu.Exchange(name, "topic", durable=False)
        for topic in ("notifications", "versioned_notifications"):
            queue = kombu.Queue(f"rollcall-listen-{uuid.uuid4()}", exchange, routing_key=f"{topic}.#", exclusive=True, auto_delete=True)
            queues.append(queue)

    def heard(body, message):
        envelope = body if isinstance(body, dict) else json.loads(body)
        said = json.loads(envelope["oslo.message"]) if "oslo.message" in envelope else envelope
        way = message.delivery_info
        print(json.dumps({"at": time.time(), "exchange": way["exchange"], "key": way["routing_key"], "message": said}), flush=True)
        message.ack()

    with kombu.Consumer(channel, queues, callbacks=[heard]):
        print(json.dumps({"listening": EXCHANGES}), flush=True)
        while True:
            try:
                connection.drain_events()
            except TimeoutError:
                pass
