//! bistro-validator
fn main() {}
