//! What the README promises of its commands.

/// `cargo run` runs the one binary of the default members; with another one among them it would ask which.
#[test]
fn cargo_run_means_the_server() {
    let manifest = include_str!("../../../Cargo.toml");
    assert!(manifest.contains("\ndefault-members = [\"reka\"]\n"));
    let ours = include_str!("../../Cargo.toml");
    assert!(
        !ours.contains("[[bin]]"),
        "a second binary beside the server"
    );
}
