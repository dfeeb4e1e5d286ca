//! agent-helper
