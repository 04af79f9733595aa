//! Starts that fail half way.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::*;
use crate::config::Sources;
use crate::loggers::Level;

fn config(dir: &Path) -> Config {
    let sources = Sources {
        overrides: vec![
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            "reka.http.listener=127.0.0.1:0".to_owned(),
            format!("log.dirs={}", dir.display()),
        ],
        ..Sources::default()
    };
    Config::load(&sources).expect("a good configuration").config
}

fn loggers() -> Loggers {
    Loggers::new(Level::Warn, &[], Box::new(|_| {}))
}

/// It is no socket, which nobody notices before it is listened to.
fn no_socket(dir: &Path) -> TcpListener {
    let file = std::fs::File::create(dir.join("no-socket")).expect("a file");
    OwnedFd::from(file).into()
}

/// Which of the entrances is broken.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Http,
    Clients,
}

#[test]
fn a_start_that_fails_behind_the_opening_of_logs_leaves_what_was_stopped_cleanly() {
    let place = tempfile::tempdir().expect("a folder");
    let dir = place.path().join("data");
    let node = Node::start(config(&dir), loggers()).expect("a node");
    let created = node
        .runtime
        .block_on(node.services().create_topic_by_default("t"));
    created.expect("a topic");
    node.stop().expect("a clean stop");
    for broken in [Broken::Http, Broken::Clients] {
        let refused = Node::start_behind(config(&dir), loggers(), |config| {
            let mut entrances = bind_entrances(config)?;
            match broken {
                Broken::Http => entrances.http = Some(no_socket(place.path())),
                Broken::Clients => entrances.broker[0].1 = no_socket(place.path()),
            }
            Ok(entrances)
        });
        assert!(matches!(refused, Err(NodeError::Threads(_))), "{broken:?}");
        // In the same process: nothing of the one that failed holds the directory.
        let node = Node::start(config(&dir), loggers()).expect("a node");
        assert_eq!(node.services().partitions.all().len(), 1, "{broken:?}");
        let clean = node.services().log_dirs().dirs()[0].was_clean();
        assert!(clean, "{broken:?}");
        node.stop().expect("a clean stop");
    }
}
