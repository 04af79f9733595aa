//! Several data directories, directories that fail, and what deletions leave in them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reka_broker::Node;
use reka_broker::node::NodeError;
use reka_protocol::ErrorCode;
use reka_protocol::kafka_protocol::messages::alter_replica_log_dirs_request as move_dirs;
use reka_protocol::kafka_protocol::messages::create_topics_request::{
    CreatableTopic, CreatableTopicConfig,
};
use reka_protocol::kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use reka_protocol::kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use reka_protocol::kafka_protocol::messages::list_offsets_request::{
    ListOffsetsPartition, ListOffsetsTopic,
};
use reka_protocol::kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use reka_protocol::kafka_protocol::messages::{
    AlterReplicaLogDirsRequest, BrokerId, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, DescribeLogDirsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest,
};
use reka_protocol::kafka_protocol::protocol::StrBytes;
use reka_storage::fs::{Disk, DiskError, Op};
use reka_storage::log_dir::{self, Identity};

use crate::small_disk::SmallDisk;
use crate::support::{
    Client, batch, config, fetch_request, loggers, produce_request, topic_name, values,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with data directories in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().expect("a folder"))
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn start(&self, names: &[&str], more: &[&str]) -> Node {
        self.try_start(names, more).expect("a node that starts")
    }

    fn try_start(&self, names: &[&str], more: &[&str]) -> Result<Node, NodeError> {
        let dirs: Vec<String> = names
            .iter()
            .map(|name| self.dir(name).display().to_string())
            .collect();
        let dirs = format!("log.dirs={}", dirs.join(","));
        let mut all = vec![dirs.as_str()];
        all.extend(more);
        let config = config(&self.dir("unused"), &all);
        Node::start(config, loggers())
    }

    /// The disk of a directory is not mounted: its place is empty.
    fn unmount(&self, name: &str) {
        std::fs::rename(self.dir(name), self.dir("unmounted")).expect("renamed");
        std::fs::create_dir(self.dir(name)).expect("a directory");
        std::fs::create_dir(self.dir(name).join("lost+found")).expect("a directory");
    }

    fn mount(&self, name: &str) {
        std::fs::remove_dir_all(self.dir(name)).expect("removed");
        std::fs::rename(self.dir("unmounted"), self.dir(name)).expect("renamed");
    }

    /// As `reka format` does it.
    fn format(&self, name: &str) {
        let (disk, other) = (Disk::real(), self.dir("a"));
        let identity = Identity::read(&disk, &other).expect("readable");
        let identity = Identity {
            directory_id: Some(log_dir::random_id()),
            ..identity.expect("a formatted directory")
        };
        identity.write(&disk, &self.dir(name)).expect("written");
    }

    fn id(&self, name: &str) -> String {
        let identity = Identity::read(&Disk::real(), &self.dir(name)).expect("readable");
        let id = identity.expect("a formatted directory").directory_id;
        id.expect("an id")
    }

    /// All that is in a directory.
    fn all_names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir(dir)).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Partitions and what is left of them, by directory.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir(dir)).expect("a directory");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.starts_with("t-"))
            .collect();
        names.sort();
        names
    }
}

fn create(
    client: &mut Client,
    name: &str,
    partitions: i32,
    configs: &[(&'static str, &'static str)],
) {
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from_static_str(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(client.call(5, &request).topics[0].error_code, 0, "{name}");
}

fn produce(client: &mut Client, index: i32, value: &str) -> i16 {
    let mut request = produce_request("t", batch(&[value], None));
    request.topic_data[0].partition_data[0].index = index;
    let answer = client.call(9, &request);
    answer.responses[0].partition_responses[0].error_code
}

fn describe(client: &mut Client) -> Vec<DescribeLogDirsResult> {
    let all = DescribeLogDirsRequest::default().with_topics(None);
    client.call(4, &all).results
}

/// Numbers of partitions of `t` in a directory.
fn indexes(result: &DescribeLogDirsResult) -> Vec<i32> {
    let of_t = result
        .topics
        .iter()
        .filter(|topic| topic.name.as_str() == "t");
    let mut indexes: Vec<i32> = of_t
        .flat_map(|topic| &topic.partitions)
        .map(|partition| partition.partition_index)
        .collect();
    indexes.sort_unstable();
    indexes
}

#[test]
fn partitions_are_spread_over_the_directories_and_found_there_after_a_restart() {
    let place = Place::new();
    let node = place.start(&["a", "b", "c"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 6, &[]);
    for index in 0..6 {
        assert_eq!(produce(&mut client, index, &format!("of {index}")), 0);
    }
    let before = describe(&mut client);
    for (result, name) in before.iter().zip(["a", "b", "c"]) {
        assert_eq!(
            result.log_dir.as_str(),
            place.dir(name).display().to_string()
        );
        assert_eq!((result.error_code, indexes(result).len()), (0, 2));
        assert!(result.total_bytes > 0);
    }
    node.stop().expect("a clean stop");
    let node = place.start(&["c", "a", "b"], &[]);
    let mut client = Client::connect(&node);
    let after = describe(&mut client);
    assert_eq!(indexes(&after[1]), indexes(&before[0]));
    assert_eq!(indexes(&after[2]), indexes(&before[1]));
    for index in 0..6 {
        let mut request = fetch_request("t", 0, 0);
        request.topics[0].partitions[0].partition = index;
        let answer = client.call(11, &request);
        let seen = values(&answer.responses[0].partitions[0]);
        assert_eq!(seen, [(0, format!("of {index}"))]);
    }
    node.stop().expect("a clean stop");
}

#[test]
fn a_directory_that_fails_takes_only_its_own_partitions_along() {
    let place = Place::new();
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 4, &[]);
    let described = describe(&mut client);
    let (in_a, in_b) = (indexes(&described[0]), indexes(&described[1]));
    assert_eq!((in_a.len(), in_b.len()), (2, 2));
    node.services().log_dirs().dirs()[1]
        .env()
        .health
        .fail(&DiskError {
            op: Op::Sync,
            path: place.dir("b"),
            source: std::io::Error::from_raw_os_error(5),
        });
    for index in &in_a {
        assert_eq!(produce(&mut client, *index, "x"), 0);
    }
    for index in &in_b {
        let refused = produce(&mut client, *index, "x");
        assert_eq!(refused, ErrorCode::KafkaStorageError.code());
    }
    let described = describe(&mut client);
    assert_eq!((described[0].error_code, indexes(&described[0])), (0, in_a));
    assert_eq!(
        (described[1].error_code, described[1].topics.len()),
        (ErrorCode::KafkaStorageError.code(), 0)
    );
    assert_eq!(node.services().troubles().len(), 1);
    // New partitions go to the other.
    create(&mut client, "t2", 2, &[]);
    let described = describe(&mut client);
    let topics: Vec<&str> = described[0]
        .topics
        .iter()
        .map(|t| t.name.as_str())
        .collect();
    assert_eq!(topics, ["t", "t2"]);
    node.stop()
        .expect_err("one directory was not left as it should be");

    // It is back after a restart.
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    for index in in_b {
        assert_eq!(produce(&mut client, index, "x"), 0);
    }
    node.stop().expect("a clean stop");
}

#[test]
fn a_directory_that_is_not_there_at_start_is_told_of_and_the_others_are_served() {
    let place = Place::new();
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 2, &[]);
    node.stop().expect("a clean stop");
    // A file stands where the disk was mounted.
    std::fs::rename(place.dir("b"), place.dir("unmounted")).expect("renamed");
    std::fs::write(place.dir("b"), b"").expect("a file");
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    let described = describe(&mut client);
    assert_eq!(described[0].error_code, 0);
    assert_eq!(
        described[1].log_dir.as_str(),
        place.dir("b").display().to_string()
    );
    assert_eq!(described[1].error_code, ErrorCode::KafkaStorageError.code());
    let here = indexes(&described[0]);
    assert_eq!(here.len(), 1);
    assert_eq!(produce(&mut client, here[0], "x"), 0);
    assert_ne!(produce(&mut client, 1 - here[0], "x"), 0);
    // Nor does it begin anew in the other.
    assert_eq!(place.names("a"), [format!("t-{}", here[0])]);
    node.stop().expect("a clean stop");
}

#[test]
fn a_replica_asked_to_be_where_it_is_is_and_elsewhere_the_answer_says_why_not() {
    let place = Place::new();
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1, &[]);
    let mut ask = |path: &Path, topic: &str| {
        let topic = move_dirs::AlterReplicaLogDirTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![0]);
        let dir = move_dirs::AlterReplicaLogDir::default()
            .with_path(StrBytes::from_string(path.display().to_string()))
            .with_topics(vec![topic]);
        let request = AlterReplicaLogDirsRequest::default().with_dirs(vec![dir]);
        client.call(2, &request).results[0].partitions[0].error_code
    };
    assert_eq!(ask(&place.dir("a"), "t"), 0);
    assert_eq!(ask(&place.dir("b"), "t"), ErrorCode::InvalidRequest.code());
    assert_eq!(ask(&place.dir("c"), "t"), ErrorCode::LogDirNotFound.code());
    assert_eq!(
        ask(&place.dir("a"), "nope"),
        ErrorCode::UnknownTopicOrPartition.code()
    );
    node.services().log_dirs().dirs()[1]
        .env()
        .health
        .fail(&DiskError {
            op: Op::Sync,
            path: place.dir("b"),
            source: std::io::Error::from_raw_os_error(5),
        });
    assert_eq!(
        ask(&place.dir("b"), "t"),
        ErrorCode::KafkaStorageError.code()
    );
    assert_eq!(ask(&place.dir("a"), "t"), 0);
    node.stop().expect_err("one directory failed");
}

fn delete(client: &mut Client, name: &str) {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic_name(name)]);
    assert_eq!(client.call(5, &request).responses[0].error_code, 0);
}

fn wait_for(what: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

#[test]
fn files_of_a_deleted_partition_stay_for_the_delay_and_no_longer() {
    let place = Place::new();
    let node = place.start(&["a"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1, &[("file.delete.delay.ms", "0")]);
    delete(&mut client, "t");
    wait_for(|| place.names("a").is_empty());

    create(&mut client, "t", 2, &[]);
    delete(&mut client, "t");
    let left = place.names("a");
    assert_eq!(left.len(), 2);
    for (name, index) in left.iter().zip(0..) {
        assert!(
            name.starts_with(&format!("t-{index}.")) && name.ends_with("-delete"),
            "{name}"
        );
        assert_eq!(name.len(), "t-0.".len() + 32 + "-delete".len());
    }
    // The name is free at once, and what is left of the old one is not served.
    create(&mut client, "t", 1, &[]);
    assert_eq!(produce(&mut client, 0, "new"), 0);
    node.stop().expect("a clean stop");
    assert_eq!(place.names("a").len(), 3);

    // After a stop or a crash nobody waits for the delay.
    let node = place.start(&["a"], &[]);
    wait_for(|| place.names("a") == ["t-0"]);
    let mut client = Client::connect(&node);
    let seen = values(&client.fetch(11, "t", 0, 0));
    assert_eq!(seen, [(0, "new".to_owned())]);
    node.stop().expect("a clean stop");
}

#[test]
fn the_metadata_is_not_begun_anew_while_the_directory_it_may_be_in_is_out_of_use() {
    let place = Place::new();
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 2, &[]);
    node.stop().expect("a clean stop");
    std::fs::rename(place.dir("a"), place.dir("unmounted")).expect("renamed");
    std::fs::write(place.dir("a"), b"").expect("a file");
    let dirs = format!(
        "log.dirs={},{}",
        place.dir("b").display(),
        place.dir("a").display()
    );
    let refused = Node::start(config(&place.dir("unused"), &[&dirs]), loggers());
    let said = refused
        .expect_err("the metadata is in the other")
        .to_string();
    assert!(
        said.starts_with(
            "the metadata is in none of the log directories in use, and may be in one that is not: "
        ) && said.ends_with("a directory belongs there: move the file away"),
        "{said}"
    );
    assert!(!place.dir("b").join("reka-metadata").exists());
    std::fs::remove_file(place.dir("a")).expect("removed");
    std::fs::rename(place.dir("unmounted"), place.dir("a")).expect("mounted");
    let node = place.start(&["b", "a"], &[]);
    let mut client = Client::connect(&node);
    for index in 0..2 {
        assert_eq!(produce(&mut client, index, "x"), 0);
    }
    node.stop().expect("a clean stop");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// A crash between the deletion of a topic and that of its files leaves this.
#[test]
fn a_partition_of_a_topic_that_was_deleted_is_set_aside_and_its_name_is_free() {
    let place = Place::new();
    let node = place.start(&["a"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1, &[("file.delete.delay.ms", "0")]);
    assert_eq!(produce(&mut client, 0, "old"), 0);
    node.stop().expect("a clean stop");
    copy_dir(&place.dir("a").join("t-0"), &place.dir("copy"));
    let node = place.start(&["a"], &[]);
    let mut client = Client::connect(&node);
    delete(&mut client, "t");
    wait_for(|| place.names("a").is_empty());
    node.stop().expect("a clean stop");
    copy_dir(&place.dir("copy"), &place.dir("a").join("t-0"));

    let node = place.start(&["a"], &[]);
    let names = place.names("a");
    let [aside] = names.as_slice() else {
        panic!("{names:?}")
    };
    assert!(
        aside.starts_with("t-0.") && aside.ends_with("-stray"),
        "{aside}"
    );
    let kept = place.dir("a").join(aside).join("00000000000000000000.log");
    assert!(std::fs::metadata(kept).expect("a segment").len() > 0);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1, &[]);
    assert_eq!(produce(&mut client, 0, "new"), 0);
    let seen = values(&client.fetch(11, "t", 0, 0));
    assert_eq!(seen, [(0, "new".to_owned())]);
    node.stop().expect("a clean stop");
}

/// What it would know nothing of would be renamed, or begin anew under its name.
#[test]
fn metadata_does_not_begin_anew_beside_partitions_unless_somebody_says_so() {
    let place = two_directories();
    let metadata = place.dir("a").join("reka-metadata");
    std::fs::rename(&metadata, place.dir("backup")).expect("renamed");
    let before = [place.all_names("a"), place.all_names("b")];
    for _ in 0..2 {
        let refused = place.try_start(&["a", "b"], &[]);
        let said = refused.expect_err("the metadata is gone").to_string();
        let expected = format!(
            "the log directories hold 2 partitions ({}, {}), and none of them holds the metadata that \
             knows them (reka-metadata): restore it, or mount its disk and name it in log.dirs; to begin \
             with new metadata, in which those partitions are not, create the empty directory {}",
            place.dir("a").join("t-0").display(),
            place.dir("b").join("t-1").display(),
            metadata.display()
        );
        assert_eq!(said, expected);
        // The marks of the clean stop as well.
        assert_eq!([place.all_names("a"), place.all_names("b")], before);
    }
    std::fs::rename(place.dir("backup"), &metadata).expect("restored");
    check_both_are_there(&place);

    // Metadata of which nothing is left knows no more.
    std::fs::rename(&metadata, place.dir("backup")).expect("renamed");
    std::fs::create_dir(&metadata).expect("a directory");
    std::fs::write(metadata.join("left"), b"").expect("a file");
    let refused = place.try_start(&["a", "b"], &[]);
    let said = refused.expect_err("the metadata is gone").to_string();
    assert!(
        said.contains("knows nothing of this broker: restore it from a backup; to begin with new"),
        "{said}"
    );
    assert_eq!(place.names("a"), ["t-0"]);
}

/// With what the metadata of an old backup does not know it is the same.
/// A disk that was away comes back beside metadata that was begun meanwhile.
#[test]
fn metadata_in_two_directories_or_in_one_that_cannot_be_looked_into_is_refused() {
    let place = two_directories();
    let second = place.dir("b").join("reka-metadata");
    let said = || {
        let refused = place.try_start(&["b", "a"], &[]);
        refused.expect_err("nobody knows which").to_string()
    };
    std::fs::create_dir(&second).expect("a directory");
    let told = said();
    let begin = format!(
        "there is metadata in {} and in {}: find out which of them",
        second.display(),
        place.dir("a").join("reka-metadata").display()
    );
    assert!(told.starts_with(&begin), "{told}");

    std::fs::remove_dir(&second).expect("removed");
    std::fs::write(&second, b"").expect("a file");
    let told = said();
    assert!(told.contains(&format!("{}", second.display())), "{told}");

    std::fs::remove_file(&second).expect("removed");
    check_both_are_there(&place);
}

#[test]
fn what_new_metadata_does_not_know_is_set_aside_and_is_as_it_was_with_the_old() {
    let place = two_directories();
    let metadata = place.dir("a").join("reka-metadata");
    std::fs::rename(&metadata, place.dir("backup")).expect("renamed");
    std::fs::create_dir(&metadata).expect("a directory");
    for _ in 0..2 {
        let node = place.start(&["a", "b"], &[]);
        node.stop().expect("a clean stop");
        for (dir, name) in [("a", "t-0."), ("b", "t-1.")] {
            let [aside] = place.names(dir).try_into().expect("one");
            assert!(
                aside.starts_with(name) && aside.ends_with("-stray"),
                "{aside}"
            );
        }
    }
    std::fs::remove_dir_all(&metadata).expect("removed");
    std::fs::rename(place.dir("backup"), &metadata).expect("restored");
    for (dir, name) in [("a", "t-0"), ("b", "t-1")] {
        let [aside] = place.names(dir).try_into().expect("one");
        let aside = place.dir(dir).join(aside);
        std::fs::rename(aside, place.dir(dir).join(name)).expect("renamed");
    }
    check_both_are_there(&place);
}

/// What was stopped cleanly is not scanned because a start was refused in between.
#[test]
fn a_start_that_is_refused_leaves_what_was_stopped_cleanly() {
    let place = two_directories();
    let check_all_clean = |why: &str| {
        let node = place.start(&["a", "b"], &[]);
        let dirs = node.services().log_dirs().dirs().iter();
        let clean: Vec<bool> = dirs.map(|dir| dir.was_clean()).collect();
        assert_eq!(clean, [true, true], "{why}");
        node.stop().expect("a clean stop");
    };
    check_all_clean("nothing was refused");

    let lock = Disk::real().try_lock(&place.dir("b").join(".lock"));
    let refused = place.try_start(&["a", "b"], &[]);
    assert!(matches!(refused, Err(NodeError::LogDirs(_))));
    drop(lock);
    check_all_clean("the second directory was in use");

    let meta = place.dir("b").join("meta.properties");
    let ours = std::fs::read(&meta).expect("readable");
    let theirs = String::from_utf8_lossy(&ours).replace("node.id=1", "node.id=2");
    std::fs::write(&meta, theirs).expect("written");
    let refused = place.try_start(&["a", "b"], &[]);
    assert!(matches!(refused, Err(NodeError::LogDirs(_))));
    std::fs::write(&meta, ours).expect("written");
    check_all_clean("the second directory was somebody else's");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    for listener in [
        format!("listeners=PLAINTEXT://127.0.0.1:{port}"),
        format!("reka.http.listener=127.0.0.1:{port}"),
        // Of the addresses that are nobody's.
        "listeners=PLAINTEXT://192.0.2.1:0".to_owned(),
    ] {
        let refused = place.try_start(&["a", "b"], &[&listener]);
        assert!(matches!(refused, Err(NodeError::Bind(_))));
        check_all_clean(&listener);
    }

    let metadata = place.dir("a").join("reka-metadata");
    std::fs::rename(&metadata, place.dir("backup")).expect("renamed");
    std::fs::write(&metadata, b"").expect("a file");
    place.try_start(&["a", "b"], &[]).expect_err("no metadata");
    std::fs::remove_file(&metadata).expect("removed");
    std::fs::rename(place.dir("backup"), &metadata).expect("renamed");
    check_all_clean("the metadata could not be opened");
}

/// A `meta.properties` that is gone is written anew, with ids that the metadata does not know. What the
/// refusal says to write there brings all of it back.
#[test]
fn what_is_said_where_meta_properties_was_lost_leads_on() {
    let place = Place::new();
    std::fs::create_dir(place.dir("a")).expect("a directory");
    let node = place.start(&["a"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 1, &[]);
    assert_eq!(produce(&mut client, 0, "kept"), 0);
    node.stop().expect("a clean stop");
    let meta = place.dir("a").join("meta.properties");
    std::fs::remove_file(&meta).expect("a file");
    let refused = place.try_start(&["a"], &[]).expect_err("another identity");
    let said = refused.to_string();
    let value = |key: &str| -> String {
        let (_, behind) = said.split_once(&format!("{key}=")).expect("a key");
        let id = |c: &char| c.is_ascii_alphanumeric() || ['-', '_'].contains(c);
        behind.chars().take_while(id).collect()
    };
    let text = std::fs::read_to_string(&meta).expect("readable");
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some((key @ ("cluster.id" | "directory.id"), _)) => format!("{key}={}\n", value(key)),
        _ => format!("{line}\n"),
    });
    std::fs::write(&meta, lines.collect::<String>()).expect("written");
    let node = place.start(&["a"], &[]);
    let mut client = Client::connect(&node);
    let seen = values(&client.fetch(11, "t", 0, 0));
    assert_eq!(seen, [(0, "kept".to_owned())]);
    node.stop().expect("a clean stop");
}

/// Asks every API that finds its partition by name; what each says.
fn asked_of_everyone(client: &mut Client, index: i32) -> [i16; 5] {
    let mut fetch = fetch_request("t", 0, 0);
    fetch.topics[0].partitions[0].partition = index;
    let list = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![
            ListOffsetsTopic::default()
                .with_name(topic_name("t"))
                .with_partitions(vec![
                    ListOffsetsPartition::default()
                        .with_partition_index(index)
                        .with_timestamp(-1),
                ]),
        ]);
    let epochs = OffsetForLeaderEpochRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![
            OffsetForLeaderTopic::default()
                .with_topic(topic_name("t"))
                .with_partitions(vec![
                    OffsetForLeaderPartition::default()
                        .with_partition(index)
                        .with_current_leader_epoch(-1)
                        .with_leader_epoch(0),
                ]),
        ]);
    let delete = DeleteRecordsRequest::default().with_topics(vec![
        DeleteRecordsTopic::default()
            .with_name(topic_name("t"))
            .with_partitions(vec![
                DeleteRecordsPartition::default()
                    .with_partition_index(index)
                    .with_offset(0),
            ]),
    ]);
    [
        produce(client, index, "x"),
        client.call(11, &fetch).responses[0].partitions[0].error_code,
        client.call(5, &list).topics[0].partitions[0].error_code,
        client.call(4, &epochs).topics[0].partitions[0].error_code,
        client.call(2, &delete).topics[0].partitions[0].error_code,
    ]
}

/// CreateTopics has answered by then, so whoever uses it has to be told that it is worth waiting.
#[test]
fn a_partition_that_could_not_be_created_is_as_soon_as_it_can_be() {
    let place = Place::new();
    let node = place.start(&["a"], &[]);
    let mut client = Client::connect(&node);
    std::fs::write(place.dir("a").join("t-1"), b"in the way").expect("a file");
    create(&mut client, "t", 2, &[]);
    assert_eq!(asked_of_everyone(&mut client, 0), [0; 5]);
    let storage = ErrorCode::KafkaStorageError.code();
    assert_eq!(asked_of_everyone(&mut client, 1), [storage; 5]);
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(asked_of_everyone(&mut client, 2), [unknown; 5]);
    std::fs::remove_file(place.dir("a").join("t-1")).expect("removed");
    wait_for_partition(&mut client, 1);
    assert_eq!(asked_of_everyone(&mut client, 1), [0; 5]);
    // One that is deleted meanwhile is not created any more.
    delete(&mut client, "t");
    assert_eq!(asked_of_everyone(&mut client, 1), [unknown; 5]);
    node.stop().expect("a clean stop");
}

fn wait_for_partition(client: &mut Client, index: i32) {
    let deadline = Instant::now() + PATIENCE;
    let storage = ErrorCode::KafkaStorageError.code();
    loop {
        match produce(client, index, "x") {
            0 => return,
            code => assert_eq!(code, storage),
        }
        assert!(Instant::now() < deadline, "in vain");
        std::thread::yield_now();
    }
}

/// A limit on the size of files would hold for the node's metadata as well, so where nothing may be
/// mounted this cannot be tried, and says so: the test above says the same of another obstacle.
#[test]
fn a_partition_that_a_full_disk_did_not_let_begin_begins_when_there_is_space() {
    let place = Place::new();
    std::fs::create_dir(place.dir("b")).expect("a directory");
    let Some(disk) = SmallDisk::mount(&place.dir("b")) else {
        let why = "no file system can be mounted, neither by this process nor with sudo";
        let _ = writeln!(std::io::stderr(), "a full disk was not tried: {why}");
        return;
    };
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    let filler = place.dir("b").join("filler");
    let mut file = std::fs::File::create(&filler).expect("a file");
    let full = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    create(&mut client, "t", 2, &[]);
    let storage = ErrorCode::KafkaStorageError.code();
    let codes = [0, 1].map(|index| produce(&mut client, index, "x"));
    assert!(codes.contains(&0) && codes.contains(&storage), "{codes:?}");
    drop(file);
    std::fs::remove_file(filler).expect("removed");
    for index in 0..2 {
        wait_for_partition(&mut client, index);
    }
    assert_eq!(node.services().troubles(), [""; 0]);
    node.stop().expect("a clean stop");
    let node = place.start(&["a", "b"], &[]);
    let dirs = node.services().log_dirs().dirs().iter();
    assert!(dirs.into_iter().all(|dir| dir.was_clean()));
    node.stop().expect("a clean stop");
    drop(disk);
}

#[test]
fn records_that_a_failed_directory_holds_are_not_synced_again_and_again() {
    let place = Place::new();
    let node = place.start(&["a", "b"], &["reka.flush.group.ms=600000"]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 2, &[]);
    let in_b = indexes(&describe(&mut client)[1])[0];
    assert_eq!(produce(&mut client, in_b, "x"), 0);
    node.services().log_dirs().dirs()[1]
        .env()
        .health
        .fail(&DiskError {
            op: Op::Sync,
            path: place.dir("b"),
            source: std::io::Error::from_raw_os_error(5),
        });
    assert_eq!(produce(&mut client, 1 - in_b, "x"), 0);
    for _ in 0..3 {
        reka_broker::background::flush(node.services());
    }
    let here = node.services().partitions.get("t", 1 - in_b);
    assert_eq!(here.expect("a partition").flushed(), 1);
    assert_eq!(node.services().metrics.requests.flush_failures.get(), 0);
    node.stop().expect_err("one directory failed");
}

/// Two directories with a partition each, with a record each, left by a clean stop.
fn two_directories() -> Place {
    let place = Place::new();
    let node = place.start(&["a", "b"], &[]);
    let mut client = Client::connect(&node);
    create(&mut client, "t", 2, &[]);
    for index in 0..2 {
        assert_eq!(produce(&mut client, index, &format!("of {index}")), 0);
    }
    node.stop().expect("a clean stop");
    place
}

fn values_of(node: &Node, index: i32) -> Vec<(i64, String)> {
    let mut request = fetch_request("t", 0, 0);
    request.topics[0].partitions[0].partition = index;
    let answer = Client::connect(node).call(11, &request);
    values(&answer.responses[0].partitions[0])
}

fn check_both_are_there(place: &Place) {
    let node = place.start(&["a", "b"], &[]);
    for index in 0..2 {
        assert_eq!(values_of(&node, index), [(0, format!("of {index}"))]);
    }
    node.stop().expect("a clean stop");
}

#[test]
fn an_empty_place_of_a_disk_that_is_not_mounted_is_not_taken_for_a_new_directory() {
    let place = two_directories();
    let (before, id) = (place.all_names("a"), place.id("b"));
    place.unmount("b");
    for _ in 0..2 {
        let refused = place.try_start(&["a", "b"], &[]);
        let said = refused.expect_err("one is missing").to_string();
        let expected = format!(
            "log directory {} was never used, and directory.id {id} of this broker is in none of \
             log.dirs: mount its disk; ",
            place.dir("b").display()
        );
        assert!(said.starts_with(&expected), "{said}");
        assert_eq!(place.all_names("b"), ["lost+found"]);
        // The mark of the clean stop as well.
        assert_eq!(place.all_names("a"), before);
    }
    place.mount("b");
    check_both_are_there(&place);
}

#[test]
fn nor_is_it_after_a_start_at_which_it_had_failed() {
    let place = two_directories();
    std::fs::rename(place.dir("b"), place.dir("unmounted")).expect("renamed");
    std::fs::write(place.dir("b"), b"").expect("a file");
    let node = place.start(&["a", "b"], &[]);
    node.stop().expect("a clean stop");
    std::fs::remove_file(place.dir("b")).expect("removed");
    std::fs::create_dir(place.dir("b")).expect("a directory");
    let refused = place.try_start(&["a", "b"], &[]);
    assert!(matches!(refused, Err(NodeError::NotMounted { .. })));
    // One that failed is what is missing, so another may be new.
    std::fs::remove_dir(place.dir("b")).expect("removed");
    std::fs::write(place.dir("b"), b"").expect("a file");
    let node = place.start(&["a", "b", "c"], &[]);
    node.stop().expect("a clean stop");
    std::fs::remove_file(place.dir("b")).expect("removed");
    std::fs::create_dir(place.dir("b")).expect("a directory");
    place.mount("b");
    check_both_are_there(&place);
}

#[test]
fn a_place_of_the_disk_with_the_metadata_is_not_taken_for_a_new_directory() {
    let place = two_directories();
    place.unmount("a");
    let refused = place.try_start(&["a", "b"], &[]);
    let said = refused.expect_err("it is missing").to_string();
    let expected = format!(
        "the metadata is in none of the log directories in use, and may be in one that is not: log \
         directory {} was never used: mount its disk, or format it to begin with new metadata",
        place.dir("a").display()
    );
    assert_eq!(said, expected);
    assert_eq!(place.all_names("a"), ["lost+found"]);
    place.mount("a");
    check_both_are_there(&place);
}

#[test]
fn a_directory_that_was_formatted_replaces_one_that_is_lost() {
    let place = two_directories();
    place.unmount("b");
    place.format("b");
    let node = place.start(&["a", "b"], &[]);
    let found = [values_of(&node, 0), values_of(&node, 1)].concat();
    assert_eq!(found.len(), 1, "the other's is lost");
    node.stop().expect("a clean stop");
    // From now on it is one of the broker's.
    std::fs::remove_dir_all(place.dir("b")).expect("removed");
    std::fs::create_dir(place.dir("b")).expect("a directory");
    let refused = place.try_start(&["a", "b"], &[]);
    assert!(matches!(refused, Err(NodeError::NotMounted { .. })));
}

#[test]
fn new_directories_are_taken_when_all_others_are_there() {
    let place = two_directories();
    let node = place.start(&["c", "a", "b"], &[]);
    let mut client = Client::connect(&node);
    let described = describe(&mut client);
    let dirs: Vec<&str> = described.iter().map(|dir| dir.log_dir.as_str()).collect();
    let expected = ["c", "a", "b"].map(|name| place.dir(name).display().to_string());
    assert_eq!(dirs, expected);
    create(&mut client, "t2", 1, &[]);
    assert_eq!(
        describe(&mut client)[0].topics.len(),
        1,
        "the fewest are in it"
    );
    for index in 0..2 {
        assert_eq!(values_of(&node, index), [(0, format!("of {index}"))]);
    }
    node.stop().expect("a clean stop");
}

/// A crash after a new directory was formatted, and before the metadata knew it.
#[test]
fn a_start_that_broke_off_between_formatting_and_registering_is_gone_on_with() {
    let place = two_directories();
    std::fs::create_dir(place.dir("c")).expect("a directory");
    place.format("c");
    place
        .start(&["a", "b", "c"], &[])
        .stop()
        .expect("a clean stop");
    // The very first start, after one of its directories.
    let first = Place::new();
    std::fs::create_dir(first.dir("a")).expect("a directory");
    let identity = Identity {
        cluster_id: "first".to_owned(),
        node_id: 1,
        directory_id: Some(log_dir::random_id()),
    };
    identity
        .write(&Disk::real(), &first.dir("a"))
        .expect("written");
    let node = first.start(&["a", "b"], &[]);
    assert_eq!(describe(&mut Client::connect(&node)).len(), 2);
    node.stop().expect("a clean stop");
}
