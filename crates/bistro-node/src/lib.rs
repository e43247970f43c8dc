//! bistro-node
