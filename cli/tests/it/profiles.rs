//! Profiles: how the cluster is chosen, and that secrets stay where they are.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use serde_json::Value;

use crate::server::Server;

struct Home(tempfile::TempDir);

struct Said {
    out: String,
    err: String,
    exit: i32,
}

impl Home {
    fn new() -> Home {
        Home(tempfile::tempdir().expect("a folder"))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rkctl"));
        command
            .args(line.split_whitespace())
            .env("HOME", self.0.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .current_dir(self.0.path())
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, line: &str) -> Said {
        said(&mut self.command(line))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).expect("written");
    }
}

fn said(command: &mut Command) -> Said {
    let output = command.output().expect("rkctl");
    Said {
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
        exit: output.status.code().expect("an exit code"),
    }
}

/// Nothing listens on port 1: whose address counts is in the error.
#[test]
fn the_command_line_counts_before_the_profile_and_that_before_the_environment() {
    let server = Server::start();
    let home = Home::new();
    let tried = |command: &mut Command| said(command).err;
    let mut alone = home.command("topic list");
    let err = tried(alone.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"));
    assert!(err.contains("127.0.0.1:1:"), "{err}");

    let made = home.run("profile create there -b 127.0.0.2:1 --use -o json");
    assert_eq!(made.exit, 0, "{}", made.err);
    let mut profile = home.command("topic list");
    let err = tried(profile.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"));
    assert!(
        err.contains("127.0.0.2:1:") && !err.contains("127.0.0.1:1:"),
        "{err}"
    );

    let err = home.run("topic list -b 127.0.0.3:1").err;
    assert!(
        err.contains("127.0.0.3:1:") && !err.contains("127.0.0.2:1:"),
        "{err}"
    );

    let made = home.run(&format!("profile create here -b {}", server.address()));
    assert_eq!(made.exit, 0, "{}", made.err);
    let found = home.run("cluster brokers --profile here -o json");
    assert_eq!(found.exit, 0, "{}", found.err);
    home.run("profile use here");
    assert_eq!(home.run("cluster brokers -o json").out, found.out);
    home.run("profile use --none");
    let mut none = home.command("cluster brokers");
    let err = tried(none.env("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"));
    assert!(err.contains("127.0.0.1:1:"), "{err}");

    home.write(
        "there.properties",
        "bootstrap.servers=127.0.0.4:1\nacks=all\n",
    );
    let err = home.run("topic list --command-config there.properties").err;
    assert!(err.contains("127.0.0.4:1:"), "{err}");
    assert!(
        err.starts_with("rkctl: without effect here: acks\n"),
        "{err}"
    );
    let both = home.run("topic list --command-config there.properties --profile here");
    assert_eq!(both.exit, 2, "{}", both.err);
}

#[test]
fn profiles_are_made_shown_changed_and_forgotten() {
    let home = Home::new();
    assert_eq!(home.run("profile list -o json").out.trim(), "[]");
    let made = home.run("profile create eu -b a:1 client.id=me --use");
    assert_eq!(
        made.out,
        "PROFILE  STATUS   BOOTSTRAP SERVER  PROTOCOL\neu       created  a:1               PLAINTEXT\n"
    );
    let twice = home.run("profile create eu -b a:1");
    assert_eq!(twice.exit, 4, "{}", twice.err);
    let dry = home.run("profile create us -b b:1 --dry-run -o jsonl");
    assert!(dry.out.contains("would be created"), "{}", dry.out);
    let unknown = home.run("profile use ue");
    assert_eq!(unknown.exit, 3, "{}", unknown.err);
    assert!(unknown.err.contains("did you mean eu?"), "{}", unknown.err);

    let shown = home.run("profile show").out;
    assert_eq!(
        shown,
        "KEY                VALUE\nbootstrap.servers  a:1\nclient.id          me\n"
    );
    let edited = home.run("profile edit eu retry.backoff.ms=7 --unset client.id -o json");
    let rows: Value = serde_json::from_str(&edited.out).expect("json");
    assert_eq!(rows[1]["name"], "retry.backoff.ms");
    assert_eq!(rows.as_array().map(Vec::len), Some(2), "{rows}");
    let wrong = home.run("profile edit eu retry.backoff.ms=soon");
    assert_eq!(wrong.exit, 2, "{}", wrong.err);
    assert!(wrong.err.contains("expected milliseconds"), "{}", wrong.err);
    let secret = home.run("profile edit eu sasl.password=hush");
    assert_eq!(secret.exit, 2, "{}", secret.err);
    assert!(
        secret.err.contains("others can see command lines"),
        "{}",
        secret.err
    );

    let mut editor = home.command("profile edit eu -o json");
    let said = said(editor.env("EDITOR", "sed -i s/=7/=8/"));
    assert!(said.out.contains("\"8\""), "{}{}", said.out, said.err);
    let mut editor = home.command("profile edit eu");
    let failed = self::said(editor.env("EDITOR", "false"));
    assert!(failed.err.contains("nothing is changed"), "{}", failed.err);

    let refused = home.run("profile delete eu");
    assert_eq!(refused.exit, 2, "it needs consent");
    let deleted = home.run("profile delete eu --yes -o jsonl");
    assert!(deleted.out.contains("\"deleted\""), "{}", deleted.out);
    assert_eq!(home.run("profile list -o json").out.trim(), "[]");
}

#[test]
fn secrets_are_kept_from_others_and_from_every_output() {
    let home = Home::new();
    home.write(
        "client.properties",
        "bootstrap.servers=a:1\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
         sasl.jaas.config=a.PlainLoginModule required username=\"u\" password=\"hush\";\nacks=all\n",
    );
    let imported = home.run("profile import client.properties --name safe -o json");
    assert_eq!(imported.exit, 0, "{}", imported.err);
    assert!(
        imported.err.contains("not taken over: acks"),
        "{}",
        imported.err
    );
    home.write(
        "kafkactl.yml",
        "contexts:\n  one:\n    brokers: [b:1]\n    sasl:\n      enabled: true\n      \
         username: u\n      password: hush\n",
    );
    let imported = home.run("profile import kafkactl.yml -o json");
    assert_eq!(imported.exit, 0, "{}", imported.err);
    let again = home.run("profile import kafkactl.yml");
    assert_eq!(again.exit, 4, "{}", again.err);
    let replaced = home.run("profile import kafkactl.yml --replace");
    assert_eq!(replaced.exit, 0, "{}", replaced.err);

    let file = home.0.path().join(".config/reka/profiles.toml");
    let mode = std::fs::metadata(&file).expect("the file").mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(kept.matches("hush").count(), 2, "they are kept");
    for format in ["table", "json", "yaml", "jsonl"] {
        for line in ["profile show safe", "profile show one", "profile list"] {
            let said = home.run(&format!("{line} -o {format}"));
            assert!(
                !said.out.contains("hush") && !said.err.contains("hush"),
                "{line}"
            );
        }
    }
    let shown: Value =
        serde_json::from_str(&home.run("profile show safe -o json").out).expect("json");
    assert_eq!(shown[1]["value"], Value::Null);
    assert_eq!(shown[1]["secret"], true);

    // A file somebody has opened to all is told of.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, open).expect("ours");
    let told = home.run("profile list");
    assert!(
        told.err.contains("others can read it: chmod 600"),
        "{}",
        told.err
    );
}

#[test]
fn a_broken_file_is_told_with_its_place_and_stops_no_command_that_needs_no_profile() {
    let home = Home::new();
    std::fs::create_dir_all(home.0.path().join(".config/reka")).expect("a folder");
    home.write(
        ".config/reka/profiles.toml",
        "current = \"a\"\n[profiles.a\n",
    );
    let broken = home.run("topic list");
    assert_eq!(broken.exit, 2, "{}", broken.err);
    assert!(
        broken.err.contains("profiles.toml: line 2"),
        "{}",
        broken.err
    );
    for line in [
        "dev status",
        "generate completion bash",
        "generate dashboard",
    ] {
        let alone = home.run(line);
        assert_eq!(alone.exit, 0, "{line}: {}", alone.err);
    }
    let other = home.run("topic list -b 127.0.0.1:1");
    assert_eq!(other.exit, 5, "{}", other.err);
}

/// What shells are given asks for names; a name of the cluster comes back.
#[test]
fn shells_complete_names_of_the_cluster_and_of_profiles() {
    let server = Server::start();
    let home = Home::new();
    home.run(&format!("profile create completed -b {}", server.address()));
    let topic = "complete-me-by-asking";
    home.run(&format!("topic create {topic} --profile completed"));
    for shell in ["bash", "zsh", "fish"] {
        let script = home.run(&format!("generate completion {shell}"));
        assert_eq!(script.exit, 0, "{}", script.err);
        assert!(script.out.contains("rkctl"), "{}", script.out);
    }
    let complete = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rkctl"));
        command
            .env("COMPLETE", "fish")
            .env("HOME", home.0.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .arg("--")
            .args(words);
        said(&mut command).out
    };
    let offered = complete(&[
        "rkctl",
        "--profile",
        "completed",
        "topic",
        "describe",
        "comp",
    ]);
    assert_eq!(offered.lines().next(), Some(topic), "{offered}");
    let offered = complete(&["rkctl", "profile", "use", "comp"]);
    assert_eq!(offered.trim(), "completed");
    let offered = complete(&["rkctl", "topic", "desc"]);
    assert!(offered.starts_with("describe"), "{offered}");
    // Nobody there: nothing is offered, and that soon.
    let began = std::time::Instant::now();
    let offered = complete(&["rkctl", "-b", "127.0.0.1:1", "topic", "describe", "comp"]);
    assert!(!offered.contains("complete-me"), "{offered}");
    assert!(began.elapsed().as_secs() < 10);
}

/// Apache Kafka's secure ports, where the runner has opened them.
#[test]
fn secure_ports_open_with_the_settings_for_them() {
    let Some(dir) = std::env::var_os("REKA_TEST_SECURE") else {
        return;
    };
    let home = Home::new();
    let at = |name: &str| format!("{}/{name}.properties", dir.to_string_lossy());
    for name in ["tls", "asking", "scram-512", "both"] {
        let said = home.run(&format!(
            "cluster brokers -o json --command-config {}",
            at(name)
        ));
        assert_eq!(said.exit, 0, "{name}: {}", said.err);
        let made = home.run(&format!("profile import {} --name {name}", at(name)));
        assert_eq!(made.exit, 0, "{name}: {}", made.err);
        let said = home.run(&format!("cluster brokers -o json --profile {name}"));
        assert_eq!(said.exit, 0, "{name}: {}", said.err);
    }
    for name in ["stranger", "scram-guess", "plaintext-to-tls"] {
        let said = home.run(&format!("cluster brokers --command-config {}", at(name)));
        assert_eq!(
            (said.out.as_str(), said.exit),
            ("", 4),
            "{name}: {}",
            said.err
        );
        assert!(
            said.err.contains("--command-config FILE or a profile"),
            "{}",
            said.err
        );
    }
}
