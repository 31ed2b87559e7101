//! The broker code against a real RabbitMQ.
