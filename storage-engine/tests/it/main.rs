//! The engine's tests, one binary. Each file is one way of looking at it.

mod crash;
mod model;
mod support;
