//! Everything AMQP, and nothing else.
