//! `reka dump-log`: what is in the files of a log directory, line by line.
//!
//! The options and the output are those of Apache Kafka's `DumpLogSegments`, which scripts
//! read; beyond it the checkpoints and `partition.metadata` are read too. Decoders of Kafka's
//! own topics are refused by name.
//!
//! Files are read in pieces, and what they say about themselves is not believed: a batch is held
//! as a whole up to [`BATCH_BYTES_MAX`], and decompressed up to [`DECOMPRESSED_BYTES_MAX`].

mod index;
mod log;
mod small;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A batch of more bytes is not shown.
const BATCH_BYTES_MAX: usize = 256 << 20;
/// The records of a batch may take so much when they are decompressed.
const DECOMPRESSED_BYTES_MAX: usize = 1 << 30;

/// `--max-message-size`, if it is not given.
const MESSAGE_BYTES_DEFAULT: u64 = 5 << 20;
/// `--max-bytes`, if it is not given: all of it.
const ALL_BYTES: u64 = i32::MAX as u64;

/// How to use it.
pub(crate) const USAGE: &str = "usage: reka dump-log --files FILE[,FILE]... [OPTION]...

Says what is in .log, .index, .timeindex, .txnindex and .snapshot files, in checkpoints and in
partition.metadata. The options and the output are those of Apache Kafka's kafka-dump-log.sh.

  --files FILE[,FILE]...    the files, required
  --deep-iteration          records as well as batches
  --print-data-log          keys and values too
  --skip-record-metadata    with --print-data-log: nothing else of the records
  --max-bytes BYTES         of each .log no more than this
  --verify-index-only       say only what is wrong with an index
  --index-sanity-check      look only for what makes a broker rebuild an index
  --max-message-size BYTES  the largest batch an index is compared with, 5242880 if not given";

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    files: Vec<PathBuf>,
    deep: bool,
    print_data: bool,
    skip_metadata: bool,
    bytes_max: u64,
    verify_only: bool,
    sanity_only: bool,
    message_bytes_max: u64,
}

/// The command line behind `dump-log`; `None` asks for help.
pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let mut options = Options {
        files: Vec::new(),
        deep: false,
        print_data: false,
        skip_metadata: false,
        bytes_max: ALL_BYTES,
        verify_only: false,
        sanity_only: false,
        message_bytes_max: MESSAGE_BYTES_DEFAULT,
    };
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut value = || {
            let value = given.clone().or_else(|| words.next());
            value.ok_or_else(|| format!("{name} needs a value"))
        };
        let mut bytes = || {
            let value = value()?;
            let bytes: Option<i32> = value.parse().ok().filter(|bytes| *bytes >= 0);
            let bytes = bytes.ok_or_else(|| {
                format!("{name} takes a number of bytes from 0 to {ALL_BYTES}, not {value:?}")
            })?;
            Ok::<u64, String>(bytes as u64)
        };
        match name.as_str() {
            "--help" | "-h" => return Ok(None),
            "--files" => {
                let value = value()?;
                options.files.extend(value.split(',').map(PathBuf::from));
            }
            "--max-bytes" => options.bytes_max = bytes()?,
            "--max-message-size" => options.message_bytes_max = bytes()?,
            "--deep-iteration" => options.deep = true,
            "--print-data-log" => options.print_data = true,
            "--skip-record-metadata" => options.skip_metadata = true,
            "--verify-index-only" => options.verify_only = true,
            "--index-sanity-check" => options.sanity_only = true,
            "--offsets-decoder"
            | "--transaction-log-decoder"
            | "--cluster-metadata-decoder"
            | "--remote-log-metadata-decoder"
            | "--share-group-state-decoder"
            | "--key-decoder-class"
            | "--value-decoder-class" => {
                return Err(format!(
                    "{name} is Apache Kafka's: reka shows keys and values as text; use \
                     kafka-dump-log.sh, which reads these files as well"
                ));
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    options.deep |= options.print_data;
    match options.files.is_empty() {
        true => Err("--files is missing".to_owned()),
        false => Ok(Some(options)),
    }
}

/// What is wrong with files, to be told behind what is in them.
#[derive(Debug, Default)]
struct Complaints {
    index_mismatches: BTreeMap<PathBuf, BTreeMap<i64, i64>>,
    timestamp_mismatches: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    out_of_order: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    not_found: BTreeMap<PathBuf, Vec<(i64, i64)>>,
    gaps: BTreeMap<PathBuf, BTreeMap<i64, i64>>,
}

impl Complaints {
    fn tell(&self, err: &mut dyn Write) -> io::Result<()> {
        for (file, pairs) in &self.index_mismatches {
            writeln!(err, "Mismatches in :{}", file.display())?;
            for (index, log) in pairs.iter().rev() {
                writeln!(err, "  Index offset: {index}, log offset: {log}")?;
            }
        }
        for (file, pairs) in &self.timestamp_mismatches {
            writeln!(err, "Found timestamp mismatch in :{}", file.display())?;
            for (index, log) in pairs {
                writeln!(err, "  Index timestamp: {index}, log timestamp: {log}")?;
            }
        }
        for (file, pairs) in &self.out_of_order {
            writeln!(err, "Found out of order timestamp in :{}", file.display())?;
            for (index, before) in pairs {
                writeln!(
                    err,
                    "  Index timestamp: {index}, Previously indexed timestamp: {before}"
                )?;
            }
        }
        for pairs in self.not_found.values() {
            writeln!(
                err,
                "The following indexed offsets are not found in the log."
            )?;
            for (index, log) in pairs {
                writeln!(err, "Indexed offset: {index}, found log offset: {log}")?;
            }
        }
        for (file, pairs) in &self.gaps {
            writeln!(err, "Non-consecutive offsets in {}", file.display())?;
            for (before, behind) in pairs {
                writeln!(err, "  {before} is followed by {behind}")?;
            }
        }
        Ok(())
    }
}

/// Why a file was not shown to its end.
#[derive(Debug)]
enum Stopped {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It is not what its name says.
    Malformed(PathBuf, String),
    /// What was said about it cannot be written.
    Write(io::Error),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Write(error)
    }
}

/// Says what is in the files; whether each could be read to its end. What is wrong with them goes
/// to `err`, and is no failure, as with Apache Kafka's tool.
pub(crate) fn run(options: &Options, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let mut complaints = Complaints::default();
    for file in &options.files {
        writeln!(out, "Dumping {}", file.display())?;
        match show(options, file, out, err, &mut complaints) {
            Ok(()) => {}
            Err(Stopped::Write(error)) => return Err(error),
            Err(Stopped::Read(file, error)) => {
                out.flush()?;
                writeln!(err, "reka: {}: {error}", file.display())?;
                return Ok(false);
            }
            Err(Stopped::Malformed(file, what)) => {
                out.flush()?;
                writeln!(err, "reka: {}: {what}", file.display())?;
                return Ok(false);
            }
        }
    }
    out.flush()?;
    complaints.tell(err)?;
    Ok(true)
}

fn show(
    options: &Options,
    file: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
    complaints: &mut Complaints,
) -> Result<(), Stopped> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match name.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
        "log" => log::show(options, file, out, complaints),
        "index" => index::show_offsets(options, file, out, complaints),
        "timeindex" => index::show_times(options, file, out, complaints),
        "txnindex" => index::show_transactions(file, out),
        "snapshot" => small::show_producers(file, out, err),
        _ if small::is_known(&name) => small::show(file, &name, out),
        _ => {
            out.flush()?;
            writeln!(err, "Ignoring unknown file {}", file.display())?;
            Ok(())
        }
    }
}

fn open(path: &Path) -> Result<File, Stopped> {
    let opened = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    opened.map_err(|error| Stopped::Read(path.to_owned(), error))
}

/// The offset in the name of a segment's file.
fn offset_of(path: &Path) -> Result<i64, Stopped> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = name.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| {
        let what = format!("the name begins with {digits:?}, expected the offset of a segment");
        Stopped::Malformed(path.to_owned(), what)
    })
}

/// Complaints name files by their whole path.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Option<Options>, &str>) {
        let found = parse(line.split_whitespace().map(str::to_owned));
        assert_eq!(found, expected.map_err(str::to_owned), "{line}");
    }

    #[test]
    fn options_are_those_of_apache_kafkas_tool_or_refused_by_name() {
        let plain = Options {
            files: vec!["a.log".into(), "b.index".into()],
            deep: false,
            print_data: false,
            skip_metadata: false,
            bytes_max: ALL_BYTES,
            verify_only: false,
            sanity_only: false,
            message_bytes_max: MESSAGE_BYTES_DEFAULT,
        };
        check("--files a.log,b.index", Ok(Some(plain.clone())));
        check(
            "--files=a.log --files b.index --print-data-log --max-bytes 10 --max-message-size=7",
            Ok(Some(Options {
                deep: true,
                print_data: true,
                bytes_max: 10,
                message_bytes_max: 7,
                ..plain.clone()
            })),
        );
        check("--help", Ok(None));
        check("", Err("--files is missing"));
        check("--files", Err("--files needs a value"));
        check("--file x", Err("unknown option --file"));
        check(
            "--files a --max-bytes -1",
            Err("--max-bytes takes a number of bytes from 0 to 2147483647, not \"-1\""),
        );
        check(
            "--offsets-decoder --files a",
            Err(
                "--offsets-decoder is Apache Kafka's: reka shows keys and values as text; use \
                 kafka-dump-log.sh, which reads these files as well",
            ),
        );
    }
}
