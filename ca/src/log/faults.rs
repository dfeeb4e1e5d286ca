//! Integration tests of faults come here.
