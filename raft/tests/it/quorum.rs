//! A quorum of one, as a broker uses it.

use std::path::Path;
use std::time::Instant;

use reka_raft::log_store::WriterMode;
use reka_raft::record::{PartitionChange, RemoveTopic, Topic};
use reka_raft::{ApplyError, MetadataImage, MetadataQuorum, ProposeError, Record, StartError};
use reka_storage::fs::Disk;
use reka_storage::fs::fault::{Fault, FaultDisk, When};
use reka_storage::fs::sim::SimDisk;

use crate::support::{create_topic, single, topic_id};

#[tokio::test]
async fn a_single_voter_proposes_and_remembers() {
    let disk = Disk::new(SimDisk::new());
    let dir = Path::new("/metadata");
    let quorum = MetadataQuorum::start(single(&disk, dir)).await.unwrap();
    assert!(quorum.status().is_leader);
    let mut images = quorum.subscribe();
    let before = images.borrow_and_update().offset();

    let applied = quorum.propose(create_topic(1)).await.unwrap();
    assert!(applied.offset > before);
    assert_eq!(applied.image.offset(), applied.offset);
    images.changed().await.unwrap();
    let image = images.borrow_and_update().clone();
    assert_eq!(image.topics().get("topic-00001").unwrap().id(), topic_id(1));
    quorum.read_barrier().await.unwrap();

    let status = quorum.status();
    assert_eq!(status.committed_index, Some(applied.offset));
    assert_eq!(status.voters[0].matched_index, Some(applied.offset));
    assert_eq!(status.leader.as_ref().unwrap().1.kafka_id, 1);

    let busy = MetadataQuorum::start(single(&disk, dir)).await;
    assert!(matches!(busy, Err(StartError::InUse { .. })), "{busy:?}");

    quorum.shutdown().await;
    let error = quorum.propose(create_topic(2)).await.unwrap_err();
    assert!(matches!(error, ProposeError::Stopped { .. }), "{error:?}");

    let again = MetadataQuorum::start(single(&disk, dir)).await.unwrap();
    assert!(again.status().is_leader);
    assert_eq!(again.image().topics(), image.topics());
    assert!(
        again.status().epoch > status.epoch,
        "each leadership has its epoch"
    );
    again.shutdown().await;
}

#[tokio::test]
async fn a_refused_batch_changes_nothing() {
    let disk = Disk::new(SimDisk::new());
    let quorum = MetadataQuorum::start(single(&disk, Path::new("/metadata")))
        .await
        .unwrap();
    quorum.propose(create_topic(1)).await.unwrap();
    let before = quorum.image();

    let mut records = create_topic(2);
    records.push(RemoveTopic { id: topic_id(9) }.into());
    let error = quorum.propose(records).await.unwrap_err();
    let unknown = ApplyError::UnknownTopic { id: topic_id(9) };
    assert!(
        matches!(&error, ProposeError::Refused { reason, .. } if *reason == unknown),
        "{error:?}"
    );
    assert_eq!(quorum.image().topics(), before.topics());

    let huge = vec![Record::NoOp; 65_537];
    let error = quorum.propose(huge).await.unwrap_err();
    assert!(matches!(error, ProposeError::TooLarge { .. }), "{error:?}");
    quorum.shutdown().await;
}

#[tokio::test]
async fn a_directory_of_another_cluster_is_refused() {
    let disk = Disk::new(SimDisk::new());
    let dir = Path::new("/metadata");
    let quorum = MetadataQuorum::start(single(&disk, dir)).await.unwrap();
    quorum.shutdown().await;
    let mut options = single(&disk, dir);
    options.cluster_id = "another".to_owned();
    let error = MetadataQuorum::start(options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "/metadata belongs to cluster the-cluster, voter 1, directory \
         00000000-0000-0000-0000-00000000d001, not to cluster another, voter 1, directory \
         00000000-0000-0000-0000-00000000d001; if meta.properties beside it was lost or changed, set \
         cluster.id=the-cluster and directory.id=AAAAAAAAAAAAAAAAAADQAQ in it; to begin with new \
         metadata, move the directory away and create it empty"
    );
}

#[tokio::test]
async fn snapshots_are_taken_and_the_log_behind_them_goes() {
    let disk = Disk::new(SimDisk::new());
    let dir = Path::new("/metadata");
    let mut options = single(&disk, dir);
    options.snapshot_every = 50;
    options.keep_entries = 10;
    options.segment_bytes_max = 2_000;
    let quorum = MetadataQuorum::start(options.clone()).await.unwrap();
    for number in 0..200 {
        quorum.propose(create_topic(number)).await.unwrap();
    }
    let image = quorum.image();
    quorum.shutdown().await;
    let logs = disk.read_dir(dir).unwrap();
    let logs = logs.iter().filter(|entry| entry.name.ends_with(".log"));
    assert!(logs.count() < 15, "200 entries took over 30 segments");

    let again = MetadataQuorum::start(options).await.unwrap();
    assert!(again.status().snapshot_index.unwrap() >= 100);
    assert_eq!(again.image().topics(), image.topics());
    again.image().check_invariants();
    again.shutdown().await;
}

/// Prints how long a start takes, from the call to leading with everything applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_single_voter_is_ready_within_moments() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("metadata");
    let disk = Disk::real();
    let begun = Instant::now();
    let quorum = MetadataQuorum::start(single(&disk, &dir)).await.unwrap();
    println!("start on an empty directory: {:?}", begun.elapsed());

    let begun = Instant::now();
    for number in 0..200 {
        quorum.propose(create_topic(number)).await.unwrap();
    }
    println!("a proposal: {:?}", begun.elapsed() / 200);
    // The rest in batches: 50 topics an entry.
    for batch in 4..200 {
        let records = (batch * 50..(batch + 1) * 50).flat_map(create_topic);
        quorum.propose(records.collect()).await.unwrap();
    }
    quorum.shutdown().await;
    let begun = Instant::now();
    let again = MetadataQuorum::start(single(&disk, &dir)).await.unwrap();
    println!("start with 10,000 topics in the log: {:?}", begun.elapsed());
    assert_eq!(again.image().topics().len(), 10_000);

    let mut snapshots = again.status().snapshot_index;
    again.trigger_snapshot().await.unwrap();
    while snapshots.is_none() {
        tokio::task::yield_now().await;
        snapshots = again.status().snapshot_index;
    }
    again.shutdown().await;
    let begun = Instant::now();
    let again = MetadataQuorum::start(single(&disk, &dir)).await.unwrap();
    println!(
        "start with 10,000 topics in a snapshot: {:?}",
        begun.elapsed()
    );
    assert_eq!(again.image().topics().len(), 10_000);
    again.shutdown().await;
}

#[test]
fn names_that_are_taken_are_refused() {
    let image = MetadataImage::default();
    let image = image.apply(1, &create_topic(1)).unwrap();
    let error = image.apply(2, &create_topic(1)).unwrap_err();
    assert!(matches!(error, ApplyError::TopicExists { .. }), "{error}");
    let other_name = Topic {
        name: "other".to_owned(),
        id: topic_id(1),
    };
    let error = image.apply(2, &[other_name.into()]).unwrap_err();
    assert!(matches!(error, ApplyError::TopicIdExists { .. }), "{error}");
}

/// Counted in bytes allocated, which no busy machine disturbs: one more topic, or one
/// change of a partition, costs about the same among 1,000 topics as among 50,000.
#[test]
fn a_change_costs_the_same_among_many_topics() {
    let cost = |count: u32| {
        let mut image = MetadataImage::default();
        for number in 0..count {
            let records = create_topic(number);
            image = image.apply(u64::from(number), &records).unwrap();
        }
        let records = create_topic(count);
        let created = allocation_counter::measure(|| {
            image.apply(u64::from(count), &records).unwrap();
        });
        let change: Record = PartitionChange {
            topic_id: topic_id(count / 2),
            partition: 0,
            isr: None,
            leader: Some(1),
            replicas: None,
            removing: None,
            adding: None,
            directories: None,
            elr: None,
            last_known_elr: None,
            leader_recovery_state: None,
        }
        .into();
        let changed = allocation_counter::measure(|| {
            let records = std::slice::from_ref(&change);
            image.apply(u64::from(count), records).unwrap();
        });
        (created.bytes_total, changed.bytes_total)
    };
    let (few, many) = (cost(1_000), cost(50_000));
    println!(
        "bytes to create a topic, to change a partition: {few:?} of 1,000, {many:?} of 50,000"
    );
    assert!(many.0 < few.0 * 3, "{few:?}, {many:?}");
    assert!(many.1 < few.1 * 3, "{few:?}, {many:?}");
}

/// Prints what that is in time.
#[test]
fn two_thousand_topics_one_by_one() {
    let begun = Instant::now();
    let mut image = MetadataImage::default();
    for number in 0..2_000 {
        let records = create_topic(number);
        image = image.apply(u64::from(number), &records).unwrap();
    }
    println!("2,000 topics applied one by one: {:?}", begun.elapsed());
    assert_eq!(image.topics().len(), 2_000);
}

/// The disk fails at each of its next calls in turn. Whatever is acknowledged survives a
/// restart on the healed disk, and a quorum that could not write says that it stopped.
#[tokio::test]
async fn a_failing_disk_stops_the_quorum_and_loses_nothing_acknowledged() {
    let mut stopped = 0;
    for nth in 0..40 {
        let faulty = FaultDisk::new(SimDisk::new());
        let disk = Disk::new(faulty.clone());
        let dir = Path::new("/metadata");
        let mut options = single(&disk, dir);
        options.writer = WriterMode::Inline;
        options.segment_bytes_max = 400;
        let quorum = MetadataQuorum::start(options.clone()).await.unwrap();
        faulty.plan(When::Nth(nth), Fault::Errno(5));
        let mut acknowledged = Vec::new();
        for number in 0..8 {
            match quorum.propose(create_topic(number)).await {
                Ok(_) => acknowledged.push(number),
                Err(ProposeError::Stopped { .. }) => {
                    quorum.stopped().await;
                    stopped += 1;
                    break;
                }
                Err(other) => panic!("call {nth}: {other:?}"),
            }
        }
        quorum.shutdown().await;
        faulty.heal();
        let again = MetadataQuorum::start(options).await.unwrap();
        for number in &acknowledged {
            let name = format!("topic-{number:05}");
            assert!(
                again.image().topics().get(&name).is_some(),
                "call {nth}: {name}"
            );
        }
        again.shutdown().await;
    }
    println!("{stopped} of 40 failed calls stopped the quorum");
    assert!(stopped > 20);
}
