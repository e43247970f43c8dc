//! bistro-pages
