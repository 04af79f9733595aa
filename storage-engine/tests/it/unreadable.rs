//! Pages of mapped files that cannot be read: the process goes on, or its last line says
//! why it does not. What goes to standard error is read from a child process, which is
//! the same test again.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use reka_records::Compression;
use reka_storage::fs::{Disk, OpenMode};
use reka_storage::{EXIT_UNREADABLE, Log, LogConfig, LogDir, TopicPartition};

use crate::support::{append, batch, read_all, take_dir};

const CHILD: &str = "REKA_TEST_UNREADABLE";
const PAGE: usize = 4096;

/// Where a child finds its files; `None` in the parent.
fn place_of_child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

fn run_child(test: &str, place: &Path) -> Output {
    Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", &format!("unreadable::{test}")])
        .env(CHILD, place)
        .output()
        .expect("a child")
}

/// The lines of standard error that are ours.
fn told(output: &Output, place: &Path) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr)
        .replace(&*place.to_string_lossy(), "DIR")
        .lines()
        .filter(|line| line.starts_with("reka: "))
        .map(str::to_owned)
        .collect()
}

/// What no lock keeps another program from doing.
fn shorten(path: &Path, bytes: u64) {
    let file = std::fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_len(bytes)).expect("shorter");
}

#[test]
fn a_mapped_file_that_somebody_shortens_is_an_error_and_no_signal() {
    let Some(place) = place_of_child() else {
        let place = tempfile::tempdir().expect("a place for files");
        let name = "a_mapped_file_that_somebody_shortens_is_an_error_and_no_signal";
        let output = run_child(name, place.path());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(
            told(&output, place.path()),
            [
                "reka: DIR/shortened: the page at position 4096 cannot be read (SIGBUS); the file \
                 has 4096 bytes, so another program shortened it: restore it from a replica or a \
                 backup; reads of the file fail from now on"
            ]
        );
        return;
    };
    let disk = Disk::real();
    let open = |name: &str| {
        let path = place.join(name);
        let file = disk.open(&path, OpenMode::Create).expect("a file");
        file.write_all_at(&[7; 4 * PAGE], 0).expect("written");
        (path, file)
    };
    let ((_, other), (path, file)) = (open("other"), open("shortened"));
    let (other, mapping) = (
        other.map(4 * PAGE).expect("mapped"),
        file.map(4 * PAGE).expect("mapped"),
    );
    let slice = mapping.clone().bytes(0, 4 * PAGE).expect("backed");
    let mut copy = vec![0; 10];
    mapping.copy(PAGE + 50, &mut copy).expect("backed");
    assert_eq!(copy, [7; 10]);

    shorten(&path, PAGE as u64);
    let said = mapping.copy(PAGE + 50, &mut copy).expect_err("it is gone");
    let expected = |wanted: &str| {
        format!(
            "wanted {wanted}, and the page at 4096 could not be read; the file has 4096 bytes; if it \
             had more, another program shortened it: restore it from a replica or a backup; else \
             check the disk and the kernel's log"
        )
    };
    assert_eq!(said.to_string(), expected("10 bytes at 4146"));
    // Nor is anything else handed out from a mapping of which a part is not the file.
    let said = mapping.copy(0, &mut copy).expect_err("it failed");
    assert_eq!(said.to_string(), expected("10 bytes at 0"));
    mapping.clone().bytes(0, 1).expect_err("it failed");
    // Slices from before can be loaded from: zeros, which no checksum accepts.
    assert_eq!(slice[PAGE - 1], 7);
    assert_eq!(&slice[PAGE..], [0; 3 * PAGE]);
    other.copy(3 * PAGE, &mut copy).expect("another file");
    assert_eq!(copy, [7; 10]);

    // A mapping that is made anew is a mapping of the file as it is.
    drop((slice, mapping));
    file.write_all_at(&[9; 4 * PAGE], 0).expect("restored");
    let again = file.map(4 * PAGE).expect("mapped");
    again.copy(2 * PAGE, &mut copy).expect("backed");
    assert_eq!(copy, [9; 10]);
}

fn open_log(dir: &LogDir, index: i32) -> Log {
    let config = LogConfig {
        segment_bytes: 30_000,
        ..LogConfig::default()
    };
    let opened = dir.open_log(TopicPartition::new("t", index), config, 0);
    opened.expect("a log").0
}

#[test]
fn a_segment_that_somebody_shortens_fails_its_reads_and_nothing_else() {
    let Some(place) = place_of_child() else {
        let place = tempfile::tempdir().expect("a place for files");
        let name = "a_segment_that_somebody_shortens_fails_its_reads_and_nothing_else";
        let output = run_child(name, place.path());
        assert!(output.status.success(), "{output:?}");
        let told = told(&output, place.path());
        let [line] = told.as_slice() else {
            panic!("{told:?}")
        };
        let start = "reka: DIR/t-0/00000000000000000000.log: the page at position ";
        assert!(line.starts_with(start), "{line}");
        return;
    };
    let dir = take_dir(Disk::real(), &place).expect("a directory");
    let mut logs = [open_log(&dir, 0), open_log(&dir, 1)];
    for log in &mut logs {
        for _ in 0..60 {
            append(log, batch(&[&[5; 1000]], 100, Compression::None));
        }
        assert_eq!(read_all(&log.reader()).expect("readable").len(), 60);
    }
    shorten(&place.join("t-0/00000000000000000000.log"), 5000);
    let said = read_all(&logs[0].reader()).expect_err("the file is short");
    assert!(said.contains("t-0/00000000000000000000.log"), "{said}");
    // Another segment, another log, and appends.
    let [first, second] = &mut logs;
    let sealed = first.reader().read(40, 100, 60).expect("another segment");
    assert!(sealed.is_some());
    assert_eq!(read_all(&second.reader()).expect("another log").len(), 60);
    append(first, batch(&[b"x"], 100, Compression::None));
    append(second, batch(&[b"x"], 100, Compression::None));
    dir.env().health.check().expect("the directory is in use");
}

#[test]
fn without_memory_for_a_page_the_last_line_says_what_could_not_be_read() {
    let Some(place) = place_of_child() else {
        let place = tempfile::tempdir().expect("a place for files");
        let name = "without_memory_for_a_page_the_last_line_says_what_could_not_be_read";
        let output = run_child(name, place.path());
        assert_eq!(output.status.code(), Some(EXIT_UNREADABLE), "{output:?}");
        assert_eq!(
            told(&output, place.path()),
            [
                "reka: DIR/shortened: the page at position 0 cannot be read (SIGBUS); the file has \
                 0 bytes, so another program shortened it: restore it from a replica or a backup; \
                 there is no memory to go on without it, the process ends"
            ]
        );
        return;
    };
    let path = place.join("shortened");
    let file = Disk::real().open(&path, OpenMode::Create).expect("a file");
    file.write_all_at(&[7; PAGE], 0).expect("written");
    let mapping = file.map(PAGE).expect("mapped");
    let slice = mapping.bytes(0, PAGE).expect("backed");
    shorten(&path, 0);
    let limit = rustix::process::Rlimit {
        current: Some(PAGE as u64),
        maximum: None,
    };
    rustix::process::setrlimit(rustix::process::Resource::As, limit).expect("a limit");
    std::process::exit(i32::from(slice[5]));
}

/// A signal that is none of ours goes where it went before.
#[test]
fn a_bus_error_outside_of_our_mappings_ends_the_process_as_ever() {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(place) = place_of_child() else {
        let place = tempfile::tempdir().expect("a place for files");
        let name = "a_bus_error_outside_of_our_mappings_ends_the_process_as_ever";
        let output = run_child(name, place.path());
        let bus = rustix::process::Signal::BUS.as_raw();
        assert_eq!(output.status.signal(), Some(bus), "{output:?}");
        assert_eq!(told(&output, place.path()), Vec::<String>::new());
        return;
    };
    let file = Disk::real()
        .open(&place.join("f"), OpenMode::Create)
        .expect("a file");
    file.write_all_at(&[7; PAGE], 0).expect("written");
    let mapping = file.map(PAGE).expect("mapped");
    let own = rustix::process::getpid();
    // The standard library lets the first one that no load raised pass.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::time::Instant::now() < deadline {
        rustix::process::kill_process(own, rustix::process::Signal::BUS).expect("a signal");
    }
    drop(mapping);
    std::process::exit(0);
}
