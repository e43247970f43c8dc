//! bistro-model
