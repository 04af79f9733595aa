//! `reka.group.memory.max.bytes`, over TCP and across a restart.

use reka_broker::Node;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::DeleteGroupsRequest;

use crate::groups::{commit, commit_code, committed, create, find, group};
use crate::support::{Client, start_with};

/// Of the smallest budget there may be, far fewer fit.
const GROUPS_MAX: usize = 3_000;

fn node(dir: &std::path::Path) -> (Node, Client) {
    let node = start_with(
        dir,
        &[
            "reka.group.memory.max.bytes=1048576",
            "offsets.topic.num.partitions=4",
        ],
    );
    let mut client = Client::connect(&node);
    create(&mut client, "t");
    find(&mut client, "known");
    (node, client)
}

#[test]
fn groups_that_are_made_up_fill_no_memory_and_leave_the_others_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, mut client) = node(dir.path());
    assert_eq!(
        commit_code(&mut client, 9, &commit("known", 0, 1, "note")),
        ErrorCode::None
    );
    let made_up = |number: usize| format!("made-up-{number}");
    let commit_made_up =
        |client: &mut Client, number| commit_code(client, 9, &commit(&made_up(number), 0, 1, ""));
    let taken = (0..GROUPS_MAX)
        .position(|number| commit_made_up(&mut client, number) != ErrorCode::None)
        .expect("a budget that is used up");
    assert!(taken > 100, "{taken} groups of a mebibyte");
    let refused = commit_made_up(&mut client, taken);
    assert_eq!(refused, ErrorCode::InvalidCommitOffsetSize);
    for offset in 2..50 {
        let known = commit_code(&mut client, 9, &commit("known", 0, offset, "note"));
        assert_eq!(known, ErrorCode::None);
    }

    // The budget is no part of what is written: all of it is there again, and full again.
    first.stop().expect("a clean stop");
    let (second, mut client) = node(dir.path());
    assert_eq!(committed(&mut client, 9, "known").0, 49);
    assert_eq!(committed(&mut client, 9, &made_up(taken - 1)).0, 1);
    let refused = commit_made_up(&mut client, taken);
    assert_eq!(refused, ErrorCode::InvalidCommitOffsetSize);

    // Whoever deletes groups makes room.
    let names = (0..taken / 2).map(|number| group(&made_up(number)));
    let request = DeleteGroupsRequest::default().with_groups_names(names.collect());
    let results = client.call(2, &request).results;
    assert!(results.iter().all(|result| result.error_code == 0));
    assert_eq!(commit_made_up(&mut client, taken), ErrorCode::None);
    second.stop().expect("a clean stop");
}
