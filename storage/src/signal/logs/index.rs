//! Finds blocks without reading them.
