#!/usr/bin/env python3
"""Sends one mail with smtplib, as a check on the mail server that is no code of the program's.

    send_smtp.py --url smtp://user:password@localhost:587 --ca ca.pem --to elon@example.com < message

STARTTLS for smtp://, TLS from the first byte for smtps://; AUTH if the URL has a user. --plain leaves out both.
Prints `sent`, or the server's refusal (`550 5.1.1 …`) with exit code 1.
"""

import argparse
import smtplib
import ssl
import sys
from urllib.parse import unquote, urlsplit


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--ca", help="PEM file of the authority that signed the server's certificate")
    parser.add_argument("--from", dest="sender", default="no-reply@acme.example")
    parser.add_argument("--to", required=True)
    parser.add_argument("--plain", action="store_true", help="neither TLS nor AUTH")
    return parser.parse_args()


def connect(args):
    url = urlsplit(args.url)
    context = ssl.create_default_context(cafile=args.ca)
    if url.scheme == "smtps":
        server = smtplib.SMTP_SSL(url.hostname, url.port, context=context, timeout=10)
    else:
        server = smtplib.SMTP(url.hostname, url.port, timeout=10)
        if not args.plain:
            server.starttls(context=context)
    if url.username and not args.plain:
        server.login(unquote(url.username), unquote(url.password))
    return server


def main():
    args = arguments()
    try:
        with connect(args) as server:
            server.sendmail(args.sender, [args.to], sys.stdin.buffer.read())
    except smtplib.SMTPRecipientsRefused as refused:
        code, reply = refused.recipients[args.to]
        sys.exit(f"{code} {reply.decode()}")
    except smtplib.SMTPResponseException as refused:
        sys.exit(f"{refused.smtp_code} {refused.smtp_error.decode()}")
    print("sent")


if __name__ == "__main__":
    main()
