//! `docs/protocol.md` lists what the version table says; `UPDATE=1` rewrites the list.

use std::fmt::Write as _;
use std::path::PathBuf;

use reka_protocol::versions::{APIS, Audience};

const START: &str = "<!-- table: start -->\n";
const END: &str = "<!-- table: end -->\n";

fn table() -> String {
    let mut table =
        String::from("| Key | API | Versions | Flexible from | For |\n|---|---|---|---|---|\n");
    for api in APIS {
        let audience = match api.audience {
            Audience::Clients => "clients",
            Audience::Brokers => "brokers",
        };
        let flexible = match api.flexible_from {
            i16::MAX => "never".to_owned(),
            version => version.to_string(),
        };
        let (key, name, min, max) = (api.key, api.name, api.min, api.max);
        writeln!(
            table,
            "| {key} | {name} | {min}–{max} | {flexible} | {audience} |"
        )
        .expect("string");
    }
    table
}

#[test]
fn the_documented_versions_are_the_version_table() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md");
    let text = std::fs::read_to_string(&path).expect("docs/protocol.md");
    let (before, rest) = text.split_once(START).expect("start mark");
    let (documented, after) = rest.split_once(END).expect("end mark");
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{before}{START}{}{END}{after}", table());
        std::fs::write(&path, updated).expect("write docs/protocol.md");
    } else {
        assert_eq!(documented, table(), "run again with UPDATE=1");
    }
}
