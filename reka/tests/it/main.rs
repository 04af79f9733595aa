//! The executable's tests, one binary: the process itself, from its command line to its exit code.

mod dump_log;
mod exit_codes;
mod format;
mod readme;
mod server;
mod system_calls;
