//! Values and pure rules of the product: no I/O, no async, no SQL, no HTTP. Everything else may know this.

pub mod address;
pub mod api_key;
pub mod catalogue;
pub mod change;
pub mod clock;
pub mod dispatch;
pub mod event;
pub mod id;
pub mod keys;
pub mod member;
pub mod password;
pub mod token;
