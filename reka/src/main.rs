//! The server executable. Until the broker crate exists there is nothing to
//! start, so it says so and fails rather than pretend.

use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!(
        "reka: the broker is not built yet; record batches and the storage engine are \
         (see the state table in README.md). Nothing was started."
    );
    ExitCode::FAILURE
}
