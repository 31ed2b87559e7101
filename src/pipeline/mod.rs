//! The path of an event, in the order of its steps. One path: broker, HTTP and our own flows all enter here.

pub mod decode;
