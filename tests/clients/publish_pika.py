#!/usr/bin/env python3
"""Publishes account events with pika, as a service written in Python would.

Bare events, numbered, each confirmed by the broker:
    publish_pika.py --url amqp://… --routing-key acme.account.password-reset-requested --count 100 --prefix run1
    (message_id run1-0 … run1-99, for user0@example.com …; --twice sends every one two times)

Anything else, also what is broken on purpose, from a file with one message a line:
    {"routing_key": "…", "properties": {"message_id": "…", "type": "…", "headers": {…}}, "body": {"member": "…"}}
    A body that is a string goes out as it is; "body_base64" holds raw bytes. What a line leaves out comes
    from the command line.
"""

import argparse
import base64
import json
import sys

import pika


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--exchange", default="signalpost.events")
    parser.add_argument("--routing-key", default="default.account.password-reset-requested")
    parser.add_argument("--type", help="default: what follows the first word of the routing key")
    parser.add_argument("--app-id")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first event")
    parser.add_argument("--prefix", default="event")
    parser.add_argument("--domain", default="example.com", help="where the members of numbered events have their mail")
    parser.add_argument("--twice", action="store_true", help="send every message two times")
    parser.add_argument("--mandatory", action="store_true", help="fail if no queue takes a message")
    parser.add_argument("--file", help="one JSON message a line; - is standard input")
    return parser.parse_args()


def numbered(args):
    """The (routing key, properties, body) of each numbered event."""
    event_type = args.type or args.routing_key.partition(".")[2]
    for number in range(args.first, args.first + args.count):
        properties = pika.BasicProperties(
            message_id=f"{args.prefix}-{number}",
            type=event_type,
            app_id=args.app_id,
            content_type="application/json",
            delivery_mode=2,
        )
        yield args.routing_key, properties, json.dumps({"member": f"user{number}@{args.domain}"}).encode()


def from_file(args):
    """The same from the lines of a file."""
    with sys.stdin if args.file == "-" else open(args.file, encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            message = json.loads(line)
            properties = {"delivery_mode": 2, **message.get("properties", {})}
            yield message.get("routing_key", args.routing_key), pika.BasicProperties(**properties), body_of(message)


def body_of(message):
    if "body_base64" in message:
        return base64.b64decode(message["body_base64"])
    body = message.get("body", "")
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def main():
    args = arguments()
    connection = pika.BlockingConnection(pika.URLParameters(args.url))
    channel = connection.channel()
    # A publisher may come before the first worker: without arguments this fits what the worker declares.
    channel.exchange_declare(args.exchange, exchange_type="topic", durable=True)
    channel.confirm_delivery()
    published = 0
    for routing_key, properties, body in from_file(args) if args.file else numbered(args):
        for _ in range(2 if args.twice else 1):
            # Waits for the confirm; raises on a negative one, and on a return if mandatory.
            channel.basic_publish(args.exchange, routing_key, body, properties, mandatory=args.mandatory)
            published += 1
    connection.close()
    print(f"published {published}")


if __name__ == "__main__":
    main()
