//! host-helper
