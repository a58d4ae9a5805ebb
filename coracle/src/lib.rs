//! Coracle.
