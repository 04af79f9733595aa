//! `reka format` makes directories ready as Apache Kafka's `kafka-storage.sh format` does.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ID: &str = "g5fGXNCBTgiWHpRg72rtog";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        let place = Place(tempfile::tempdir().expect("a folder"));
        let dirs = format!("{},{}", place.dir("a").display(), place.dir("b").display());
        place.configure(&dirs, 7);
        place
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn configure(&self, dirs: &str, node_id: i32) {
        let content = format!(
            "process.roles=broker,controller\nnode.id={node_id}\n\
             controller.quorum.voters={node_id}@localhost:19093\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\nlog.dirs={dirs}\n"
        );
        std::fs::write(self.dir("server.properties"), content).expect("a file");
    }

    fn format(&self, cluster_id: &str, more: &[&str]) -> (Option<i32>, String, String) {
        let output: Output = Command::new(env!("CARGO_BIN_EXE_reka"))
            .args(["format", "--config"])
            .arg(self.dir("server.properties"))
            .args(["--cluster-id", cluster_id])
            .args(more)
            .output()
            .expect("the tool");
        let root = self.0.path().to_string_lossy().into_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&root, "DIR");
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

fn meta(dir: &Path) -> Vec<String> {
    let content = std::fs::read_to_string(dir.join("meta.properties")).expect("a file");
    content.lines().map(str::to_owned).collect()
}

#[test]
fn directories_get_the_cluster_the_node_and_ids_of_their_own() {
    let place = Place::new();
    let (code, out, err) = place.format(ID, &[]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            Some(0),
            "Formatting log directory DIR/a.\nFormatting log directory DIR/b.\n",
            ""
        )
    );
    let (a, b) = (meta(&place.dir("a")), meta(&place.dir("b")));
    assert_eq!(
        a[..3],
        ["version=1", &format!("cluster.id={ID}"), "node.id=7"]
    );
    assert_eq!(a[..3], b[..3]);
    assert!(a[3].starts_with("directory.id=") && a[3].len() == "directory.id=".len() + 22);
    assert_ne!(a[3], b[3]);

    // A formatted directory is not formatted again.
    let (code, out, err) = place.format(ID, &[]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            Some(1),
            "",
            "reka: log directory DIR/a is already formatted; use --ignore-formatted to leave it \
             alone and format the others\n"
        )
    );
    let (code, out, _) = place.format(ID, &["--ignore-formatted"]);
    let all = "All of the log directories are already formatted.\n";
    assert_eq!((code, out.as_str()), (Some(0), all));
    assert_eq!(meta(&place.dir("a")), a);

    // Nor is another's, whatever is asked for; and then nothing is.
    std::fs::remove_dir_all(place.dir("b")).expect("removed");
    let (code, out, err) = place.format("AAAAAAAAAAAAAAAAAAAAAQ", &["-g"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (
            Some(1),
            "",
            "reka: DIR/a says cluster.id g5fGXNCBTgiWHpRg72rtog, asked for was \
             AAAAAAAAAAAAAAAAAAAAAQ: it is another's; nothing was formatted\n"
        )
    );
    assert!(!place.dir("b").exists());
    let (code, out, _) = place.format(ID, &["-g"]);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "Formatting log directory DIR/b.\n")
    );
    assert_eq!(meta(&place.dir("a")), a);
    assert_eq!(meta(&place.dir("b"))[..3], a[..3]);
}

#[test]
fn a_node_of_another_number_and_an_id_that_is_none_are_refused() {
    let place = Place::new();
    assert_eq!(place.format(ID, &[]).0, Some(0));
    let dirs = format!("{},{}", place.dir("a").display(), place.dir("c").display());
    place.configure(&dirs, 8);
    let (code, _, err) = place.format(ID, &["-g"]);
    assert_eq!(code, Some(1));
    assert_eq!(
        err,
        "reka: DIR/a says node.id 7, asked for was 8: it is another's; nothing was formatted\n"
    );
    let path = place.dir("server.properties");
    let content = std::fs::read_to_string(&path).expect("a file");
    let of_three = content.replace("8@localhost:19093", "1@a:1,2@b:1,8@c:1");
    std::fs::write(&path, of_three).expect("a file");
    let (code, _, err) = place.format(ID, &["-g", "-s"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("controller.quorum.voters names 3"), "{err}");
    place.configure(&place.dir("c").display().to_string(), 8);
    for id in ["", "a b", "a\nnode.id=9"] {
        let (code, _, err) = place.format(id, &[]);
        assert_eq!(code, Some(1), "{id:?}");
        assert!(err.contains("is not one: expected letters"), "{err}");
        assert!(!place.dir("c").exists());
    }
}

#[test]
fn a_server_serves_what_was_formatted_with_the_id_it_got() {
    let place = Place::new();
    assert_eq!(place.format(ID, &[]).0, Some(0));
    let mut server = Command::new(env!("CARGO_BIN_EXE_reka"))
        .args(["-o", "listeners=PLAINTEXT://127.0.0.1:0"])
        .args(["-o", "reka.http.listener=", "-o", "node.id=7"])
        .args([
            "-o",
            &format!(
                "log.dirs={},{}",
                place.dir("a").display(),
                place.dir("b").display()
            ),
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the server");
    use std::io::{BufRead as _, BufReader};
    let out = server.stdout.take().expect("its output");
    let first = BufReader::new(out).lines().next();
    let before = meta(&place.dir("a"));
    server.kill().expect("a process");
    server.wait().expect("its end");
    let first = first.expect("a banner").expect("text");
    assert!(first.contains("is ready, node 7"), "{first}");
    assert_eq!(before[1], format!("cluster.id={ID}"));
}
