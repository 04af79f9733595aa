//! The hot path takes nothing from the heap.

use reka_records::Compression;
use reka_storage::fs::Disk;
use reka_storage::{Appended, CheckedBatches, LogConfig};

use crate::support::{append, batch, env, open, produced};

/// Appends enough to write the index out several times and reserve space anew, but
/// not to roll: beginning a segment is not the steady state.
const APPENDS: usize = 10_000;

#[test]
fn appends_in_the_steady_state_allocate_nothing() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let env = env(&Disk::real(), dir.path());
    let (mut log, _) = open(&env, &LogConfig::default(), false);
    let value = [7; 1000];
    let mut plain = batch(&[&value], 100, Compression::None);
    // The first appends of a segment make its buffers and open its index.
    for _ in 0..1_000 {
        append(&mut log, plain.clone());
    }
    append(&mut log, produced(5, 0, 0, false, &[&value], 100));
    let mut sequenced: Vec<Vec<u8>> = (1..=100)
        .map(|sequence| produced(5, 0, sequence, false, &[&value], 100))
        .collect();

    let counted = allocation_counter::measure(|| {
        for _ in 0..APPENDS {
            let checked = CheckedBatches::check(&mut plain).expect("a valid batch");
            let appended = log.append(checked, 0, 100).expect("room on the disk");
            assert!(matches!(appended, Appended::New { .. }));
        }
        for batch in &mut sequenced {
            let checked = CheckedBatches::check(batch).expect("a valid batch");
            let appended = log.append(checked, 0, 100).expect("room on the disk");
            assert!(matches!(appended, Appended::New { .. }));
        }
    });
    assert_eq!(
        counted.count_total, 0,
        "{} bytes allocated",
        counted.bytes_total
    );
    assert_eq!(log.reader().segment_count(), 1);
}
