//! bistro-miner
fn main() {}
