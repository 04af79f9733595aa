//! The engine's tests, one binary. Each file is one way of looking at it.

mod bad_input;
mod corruption;
mod crash;
mod faults;
mod model;
mod real_disk;
mod replay;
mod support;
