//! Everything that speaks HTTP: the pages a person opens.

pub mod pages;
