#!/usr/bin/env node
// Publishes account events with amqplib, as a service written for Node.js would.
//
// Bare events, numbered, all confirmed by the broker before it exits:
//   publish_amqplib.js --url amqp://… --routing-key acme.account.password-reset-requested --count 100 --prefix run1
//   (message_id run1-0 … run1-99, for user0@example.com …; --twice sends every one two times)
//
// Anything else, also what is broken on purpose, from a file with one message a line (--file, - is standard input):
//   {"routing_key": "…", "properties": {"message_id": "…", "type": "…", "headers": {…}}, "body": {"member": "…"}}
//   A body that is a string goes out as it is; "body_base64" holds raw bytes. What a line leaves out comes
//   from the command line.
"use strict";
const fs = require("node:fs");
const { parseArgs } = require("node:util");
const amqplib = require("amqplib");

const { values: args } = parseArgs({
  options: {
    url: { type: "string" },
    exchange: { type: "string", default: "signalpost.events" },
    "routing-key": { type: "string", default: "default.account.password-reset-requested" },
    type: { type: "string" }, // default: what follows the first word of the routing key
    "app-id": { type: "string" },
    count: { type: "string", default: "1" },
    first: { type: "string", default: "0" },
    prefix: { type: "string", default: "event" },
    domain: { type: "string", default: "example.com" },
    twice: { type: "boolean", default: false },
    mandatory: { type: "boolean", default: false },
    file: { type: "string" },
  },
});

// amqplib's names for the AMQP properties whose own names a file uses.
const OWN_NAMES = {
  message_id: "messageId",
  app_id: "appId",
  user_id: "userId",
  content_type: "contentType",
  content_encoding: "contentEncoding",
  correlation_id: "correlationId",
  reply_to: "replyTo",
  delivery_mode: "deliveryMode",
};

function* numbered() {
  const routingKey = args["routing-key"];
  const type = args.type ?? routingKey.slice(routingKey.indexOf(".") + 1);
  for (let i = 0, number = Number(args.first); i < Number(args.count); i++, number++) {
    const properties = {
      messageId: `${args.prefix}-${number}`,
      type,
      appId: args["app-id"],
      contentType: "application/json",
      persistent: true,
    };
    yield [routingKey, properties, Buffer.from(JSON.stringify({ member: `user${number}@${args.domain}` }))];
  }
}

function* fromFile() {
  const text = fs.readFileSync(args.file === "-" ? 0 : args.file, "utf8");
  for (const line of text.split("\n").filter((line) => line.trim() !== "")) {
    const message = JSON.parse(line);
    const properties = { persistent: true };
    for (const [name, value] of Object.entries(message.properties ?? {})) {
      properties[OWN_NAMES[name] ?? name] = value;
    }
    yield [message.routing_key ?? args["routing-key"], properties, bodyOf(message)];
  }
}

function bodyOf({ body = "", body_base64: raw }) {
  if (raw !== undefined) return Buffer.from(raw, "base64");
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
}

async function main() {
  if (!args.url) throw new Error("--url is required");
  const connection = await amqplib.connect(args.url);
  const channel = await connection.createConfirmChannel();
  // A publisher may come before the first worker: without arguments this fits what the worker declares.
  await channel.assertExchange(args.exchange, "topic", { durable: true });
  let returned = 0;
  channel.on("return", () => returned++);
  let published = 0;
  for (const [routingKey, properties, body] of args.file ? fromFile() : numbered()) {
    for (let times = args.twice ? 2 : 1; times > 0; times--) {
      channel.publish(args.exchange, routingKey, body, { ...properties, mandatory: args.mandatory });
      // Bounds what is unconfirmed; rejects if the broker refused any of it.
      if (++published % 500 === 0) await channel.waitForConfirms();
    }
  }
  await channel.waitForConfirms();
  await connection.close();
  if (returned > 0) throw new Error(`${returned} messages were returned: no queue takes them`);
  console.log(`published ${published}`);
}

main().catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
