//! openraft's own suite of what it expects of a log store and a state machine.

use std::path::Path;

use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use reka_raft::log_store::{LogStore, WriterMode};
use reka_raft::snapshot::SnapshotFile;
use reka_raft::state_machine::StateMachine;
use reka_raft::types::Types;
use reka_storage::fs::Disk;
use reka_storage::fs::sim::SimDisk;

struct OnDisk<G> {
    mode: WriterMode,
    disk: fn() -> (G, Disk, std::path::PathBuf),
}

impl<G: Send + Sync + 'static> StoreBuilder<Types, LogStore, StateMachine, G> for OnDisk<G> {
    async fn build(&self) -> Result<(G, LogStore, StateMachine), StorageError<u64>> {
        let (guard, disk, dir) = (self.disk)();
        // Segments so small that most tests cross their borders.
        let log = LogStore::open(&disk, &dir, 150, self.mode).unwrap();
        let machine = StateMachine::open(SnapshotFile::new(&disk, &dir), self.mode).unwrap();
        Ok((guard, log, machine))
    }
}

#[test]
fn the_suite_passes_on_a_simulated_disk() {
    let builder = OnDisk {
        mode: WriterMode::Inline,
        disk: || {
            let disk = Disk::new(SimDisk::new());
            let dir = Path::new("/raft");
            disk.create_dir(dir).unwrap();
            ((), disk, dir.to_owned())
        },
    };
    Suite::test_all(builder).unwrap();
}

#[test]
fn the_suite_passes_on_a_real_disk() {
    let builder = OnDisk {
        mode: WriterMode::Thread,
        disk: || {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().to_owned();
            (dir, Disk::real(), path)
        },
    };
    Suite::test_all(builder).unwrap();
}
