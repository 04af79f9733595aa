//! `docs/rkctl.md`, made from the definitions of the commands.

use clap::{Arg, Command, CommandFactory};

use crate::command_line::CommandLine;

const HEAD: &str = "\
# rkctl

Made from the definitions of the commands: `UPDATE=1 cargo test -p rkctl page_is` writes it anew.

";

/// The whole page.
fn page() -> String {
    let mut root = CommandLine::command();
    root.build();
    let mut out = HEAD.to_owned();
    let about = root.get_long_about().or(root.get_about());
    out += &format!(
        "{}\n\n## Options of every command\n\n",
        about.map(ToString::to_string).unwrap_or_default()
    );
    out += &options(root.get_arguments().filter(|arg| arg.is_global_set()));
    out += "\n## Output\n\n\
`-o json`, `-o yaml` and `-o jsonl` show the same fields with the same names, which stay as they are; \
what is not known is `null`. The table is for people and may change. `cli/tests/testdata/` holds \
conversations with every form.\n";
    for group in root
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
    {
        section(group, "rkctl", 2, &mut out);
    }
    out
}

fn section(command: &Command, parent: &str, depth: usize, out: &mut String) {
    let name = format!("{parent} {}", command.get_name());
    let about = command.get_about().map(ToString::to_string);
    *out += &format!(
        "\n{} {name}\n\n{}.\n",
        "#".repeat(depth),
        about.unwrap_or_default()
    );
    if command.has_subcommands() {
        if !command.is_subcommand_required_set() {
            *out += &format!("\n```\n{name} [options]\n```\n");
        }
        for inner in command
            .get_subcommands()
            .filter(|inner| inner.get_name() != "help")
        {
            section(inner, &name, depth + 1, out);
        }
        return;
    }
    let long = command.get_long_about().map(ToString::to_string);
    if let Some(more) = long.as_deref().and_then(|long| long.split_once("\n\n")) {
        *out += &format!("\n{}\n", more.1);
    }
    let own = || {
        let own = command.get_arguments();
        own.filter(|arg| !arg.is_global_set() && arg.get_id() != "help")
    };
    let positional: Vec<String> = own()
        .filter(|arg| arg.is_positional())
        .map(|arg| {
            let dots = if arg.get_num_args().is_some_and(|n| n.max_values() > 1) {
                "..."
            } else {
                ""
            };
            let name = format!("{}{dots}", value(arg));
            if arg.is_required_set() {
                name
            } else {
                format!("[{name}]")
            }
        })
        .collect();
    let words: Vec<String> = std::iter::once(name).chain(positional).collect();
    *out += &format!("\n```\n{} [options]\n```\n", words.join(" "));
    let table = options(own());
    if !table.is_empty() {
        *out += &format!("\n{table}");
    }
}

fn value(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    match names.first() {
        Some(name) => name.to_string(),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

fn options<'a>(args: impl Iterator<Item = &'a Arg>) -> String {
    let rows: Vec<String> = args
        .filter(|arg| !arg.is_hide_set())
        .map(|arg| {
            let mut forms = Vec::new();
            forms.extend(arg.get_short().map(|short| format!("-{short}")));
            forms.extend(arg.get_long().map(|long| format!("--{long}")));
            let takes = arg.get_action().takes_values();
            let mut form = match (forms.is_empty(), takes) {
                (true, _) => value(arg),
                (false, true) => format!("{} {}", forms.join(", "), value(arg)),
                (false, false) => forms.join(", "),
            };
            form = form.replace('|', "\\|");
            let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let choices = arg.get_possible_values();
            if takes && !choices.is_empty() {
                let names: Vec<&str> = choices.iter().map(|choice| choice.get_name()).collect();
                help += &format!(": {}", names.join(", "));
            }
            if takes && let Some(default) = arg.get_default_values().first() {
                help += &format!(" (default: {})", default.to_string_lossy());
            }
            format!("| `{form}` | {} |\n", help.replace('|', "\\|"))
        })
        .collect();
    match rows.is_empty() {
        true => String::new(),
        false => format!("| Option | Meaning |\n|---|---|\n{}", rows.concat()),
    }
}

#[test]
fn page_is_made_from_the_definitions() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/rkctl.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, page()).expect("written");
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == page(),
        "docs/rkctl.md is outdated: UPDATE=1 cargo test -p rkctl page_is"
    );
}
