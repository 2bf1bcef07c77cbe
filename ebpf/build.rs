//! Compiles the C programs of this folder.
fn main() {}
