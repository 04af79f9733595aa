//! `docs/configuration.md`, written from the tables. A test keeps the file current; `UPDATE=1`
//! rewrites it.

use std::fmt::Write;

use super::definitions::{self, BROKER, Definition, Effect, GROUP, Listed, REMOVED, TOPIC};

/// The whole page.
pub fn page() -> String {
    let mut out = INTRODUCTION.to_owned();
    let keys = || definitions::all_broker().chain(TOPIC).chain(GROUP);
    let count = |wanted: fn(&Effect) -> bool| keys().filter(|key| wanted(&key.effect)).count();
    // Writing to a string does not fail.
    let _ = write!(
        out,
        "\nOf the keys below {} are served, {} have no effect here, {} are not supported yet and {} \
         cannot be honoured.\n",
        count(|effect| *effect == Effect::Served),
        count(|effect| matches!(effect, Effect::None(_))),
        count(|effect| matches!(effect, Effect::NotYet(_))),
        count(|effect| matches!(effect, Effect::Never(_))),
    );
    out.push_str("\n## Broker\n");
    for section in BROKER {
        let _ = write!(out, "\n### {}\n", section.title);
        table(section.keys, true, &mut out);
    }
    out.push_str("\n## Topics\n\nAll of them can be changed at run time.\n");
    table(TOPIC, false, &mut out);
    out.push_str("\n## Groups\n\nAll of them can be changed at run time.\n");
    table(GROUP, false, &mut out);
    out.push_str("\n## Keys of Kafka's past\n\nOne warning; nothing else comes of them.\n\n");
    out.push_str("| Key | Why |\n|---|---|\n");
    for gone in REMOVED {
        let star = if gone.name.ends_with('.') { "*" } else { "" };
        let _ = writeln!(out, "| `{}{star}` | {} |", gone.name, gone.reason);
    }
    out
}

const INTRODUCTION: &str = "\
# Configuration

<!-- Written from broker/src/config/definitions by a test; UPDATE=1 rewrites it. -->

Keys have Apache Kafka's names and meanings; ours begin with `reka.`. From the weakest to the
strongest, a value comes from

1. the default,
2. the file: `server.properties`, or TOML with the same keys, dotted, quoted or in tables,
3. the environment as Apache Kafka's container image reads it: `KAFKA_LOG_DIRS` is `log.dirs`, `__`
   stands for `_`, `___` for `-`; `CLUSTER_ID` is the id of the cluster,
4. `--override key=value`,
5. the Admin API, for all brokers,
6. the Admin API, for this broker.

A key that nobody knows is an error that names the nearest one. A key that has no effect here is one
warning, unless its value is the default. A key that is not supported yet, or cannot be honoured,
is an error, unless its value is the default: nothing that somebody relies on is dropped silently.
In the environment, a variable that is far from every key is a warning, because clients' variables
live in the same shells; those of the JVM and of Kubernetes' service links are passed over.

In the tables, *changed* says whether a key can be changed at run time: not (read-only), for one
broker (per-broker), or also for all (cluster-wide).
";

fn table(keys: &[Definition], of_broker: bool, out: &mut String) {
    out.push_str(if of_broker {
        "\n| Key | Type | Default | Allowed | Changed | What it does |\n|---|---|---|---|---|---|\n"
    } else {
        "\n| Key | Type | Default | Allowed | Default from | What it does |\n|---|---|---|---|---|---|\n"
    });
    for key in keys {
        let default = match key.default {
            None => "none".to_owned(),
            Some("") => "empty".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        let fifth = if of_broker {
            key.dynamic.name().to_owned()
        } else {
            code(key.broker_keys)
        };
        let _ = writeln!(
            out,
            "| `{}` | {} | {default} | {} | {fifth} | {} |",
            key.name,
            key.kind.name(),
            key.range().unwrap_or_default(),
            explained(key)
        );
    }
}

fn code(names: &[&str]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn explained(key: &Definition) -> String {
    let effect = match key.effect {
        Effect::Served => String::new(),
        Effect::None(reason) => format!(" **No effect here:** {reason}."),
        Effect::NotYet(reason) => format!(" **Not supported yet:** {reason}."),
        Effect::Never(reason) => format!(" **Cannot be honoured:** {reason}."),
    };
    let listed = match key.listed {
        Listed::Internal => " Not listed by DescribeConfigs.",
        Listed::Public | Listed::WhenSet => "",
    };
    format!("{}{effect}{listed}", key.doc)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = super::page();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(path, page).expect("the page can be written");
            return;
        }
        let found = std::fs::read_to_string(path).expect("the page is there");
        assert!(
            found == page,
            "docs/configuration.md is not current; UPDATE=1 rewrites it"
        );
    }
}
