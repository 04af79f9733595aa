//! The entries on disk: segment files, appended to one after the other.
//!
//! A segment is named for its first index (`00000000000000000042.log`) and begins with
//! a header; entries as in [`super::entry`] follow without gaps. Integers are big-endian.
//!
//! | Bytes  | Field       | Type | Holds                      |
//! |--------|-------------|------|----------------------------|
//! | 0..8   | magic       |      | `rekaraft`                 |
//! | 8..12  | version     | u32  | 1                          |
//! | 12..20 | first index | u64  | of the entry that follows  |
//! | 20..24 | checksum    | u32  | CRC-32C of the 20 before   |
//!
//! A segment is synced before the next one is created. So what does not parse in any
//! but the last segment is damage. In the last it is either a torn tail, which was
//! never acknowledged and is cut, or damage, which must never be cut silently. It is
//! damage when anything shows that the entry there was durable: the committed marker
//! lies at or behind it, or an entry further on was made after its sync.

use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use reka_storage::fs::{Disk, File, OpenMode};

use super::{entry, markers};
use crate::error::{Damage, StoreError};
use crate::types::LogId;

const MAGIC: [u8; 8] = *b"rekaraft";
const VERSION: u32 = 1;
/// Bytes before the first entry.
pub const HEADER_BYTES: usize = 24;
const SUFFIX: &str = ".log";

/// Where an entry lies.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its segment.
    pub file: File,
    /// Where it begins.
    pub position: u64,
    /// Bytes of it.
    pub len: usize,
}

/// An entry that was found when the log was opened.
#[derive(Debug)]
pub struct Found {
    /// Its term.
    pub term: u64,
    /// Where it lies.
    pub place: Place,
}

/// What opening found.
#[derive(Debug)]
pub struct Opened {
    /// The files, ready for appends.
    pub segments: Segments,
    /// Index of the first entry in `entries`.
    pub first: u64,
    /// All entries not purged, without gaps.
    pub entries: Vec<Found>,
    /// Up to where the log was purged.
    pub purged: Option<LogId>,
    /// Bytes cut from the tail.
    pub cut_bytes: u64,
}

#[derive(Debug)]
struct Segment {
    first: u64,
    file: File,
    /// Where the next entry goes.
    end: u64,
    dirty: bool,
}

/// The segment files.
#[derive(Debug)]
pub struct Segments {
    disk: Disk,
    dir: PathBuf,
    segment_bytes_max: u64,
    segments: Vec<Segment>,
    /// A name was created or removed since the directory was synced.
    names_dirty: bool,
}

impl Segments {
    /// Reads what is in `dir`, cutting a torn tail.
    pub fn open(disk: &Disk, dir: &Path, segment_bytes_max: u64) -> Result<Opened, StoreError> {
        let purged = markers::read_purged(disk, dir)?;
        let committed = markers::read_committed(disk, dir)?.map(|id| id.index);
        let purged_below = purged.map_or(0, |id| id.index.saturating_add(1));
        let mut firsts: Vec<u64> = disk
            .read_dir(dir)?
            .iter()
            .filter_map(|entry| first_of(&entry.name))
            .collect();
        firsts.sort_unstable();

        let mut opened = Opened {
            segments: Segments {
                disk: disk.clone(),
                dir: dir.to_owned(),
                segment_bytes_max,
                segments: Vec::new(),
                names_dirty: false,
            },
            first: purged_below,
            entries: Vec::new(),
            purged,
            cut_bytes: 0,
        };
        for (at, &first) in firsts.iter().enumerate() {
            let path = opened.segments.path(first);
            // A purge removes files after its marker is durable; finish it.
            match firsts.get(at + 1) {
                Some(&next) if next <= purged_below => disk.remove_file(&path)?,
                Some(_) => opened.read_segment(first, None)?,
                None => opened.read_segment(first, Some(committed))?,
            }
        }
        if let Some(index) = committed
            && index >= opened.next()
        {
            let path = opened.segments.path(firsts.last().copied().unwrap_or(0));
            return Err(StoreError::damaged(&path, 0, Damage::Lost { index }));
        }
        Ok(opened)
    }

    fn path(&self, first: u64) -> PathBuf {
        self.dir.join(format!("{first:020}{SUFFIX}"))
    }

    /// Writes entries that follow on the last one. Durable after [`Segments::sync`].
    pub fn append(&mut self, first: u64, entries: &[Bytes]) -> Result<Vec<Place>, StoreError> {
        let mut places = Vec::with_capacity(entries.len());
        let mut index = first;
        let mut left = entries;
        while !left.is_empty() {
            let segment = self.writable(index, left[0].len() as u64)?;
            let room = self
                .segment_bytes_max
                .saturating_sub(self.segments[segment].end);
            let segment = &mut self.segments[segment];
            // The first one goes in whatever its size: `writable` saw to that.
            let mut taken = 0;
            let mut bytes = 0;
            while taken < left.len() && (taken == 0 || bytes + left[taken].len() as u64 <= room) {
                places.push(Place {
                    file: segment.file.clone(),
                    position: segment.end + bytes,
                    len: left[taken].len(),
                });
                bytes += left[taken].len() as u64;
                taken += 1;
            }
            // Set first: a failed write leaves bytes behind all the same.
            segment.dirty = true;
            match &left[..taken] {
                [one] => segment.file.write_all_at(one, segment.end)?,
                many => {
                    let mut joined = BytesMut::with_capacity(bytes as usize);
                    for entry in many {
                        joined.extend_from_slice(entry);
                    }
                    segment.file.write_all_at(&joined, segment.end)?;
                }
            }
            segment.end += bytes;
            index += taken as u64;
            left = &left[taken..];
        }
        Ok(places)
    }

    /// The last segment when `len` bytes fit in, or else a new one for `index`.
    fn writable(&mut self, index: u64, len: u64) -> Result<usize, StoreError> {
        if let Some(last) = self.segments.last_mut() {
            let empty = last.end == HEADER_BYTES as u64;
            if empty || last.end + len <= self.segment_bytes_max {
                return Ok(self.segments.len() - 1);
            }
            // A successor says that this one is whole.
            if last.dirty {
                last.file.sync()?;
                last.dirty = false;
            }
        }
        self.segments.push(Segment {
            first: index,
            file: self.disk.open(&self.path(index), OpenMode::Truncate)?,
            end: HEADER_BYTES as u64,
            dirty: true,
        });
        self.names_dirty = true;
        let last = self.segments.len() - 1;
        self.segments[last].file.write_all_at(&header(index), 0)?;
        Ok(last)
    }

    /// Makes all appends so far durable.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(last) = self.segments.last_mut()
            && last.dirty
        {
            last.file.sync()?;
            last.dirty = false;
        }
        self.sync_names()
    }

    fn sync_names(&mut self) -> Result<(), StoreError> {
        if self.names_dirty {
            self.disk.sync_dir(&self.dir)?;
            self.names_dirty = false;
        }
        Ok(())
    }

    /// Removes the entries from `since` on, which begins at `position` in its segment;
    /// durable on return.
    pub fn truncate(&mut self, since: u64, position: u64) -> Result<(), StoreError> {
        // Newest first: a power cut in between leaves no hole.
        let mut at_border = false;
        while let Some(last) = self.segments.last()
            && last.first >= since
        {
            at_border = last.first == since;
            self.disk.remove_file(&self.path(last.first))?;
            self.names_dirty = true;
            self.segments.pop();
        }
        // Before the last segment is shortened, or an old successor could come back
        // behind its new end.
        self.sync_names()?;
        // At a border `position` was in a file that is gone.
        if !at_border && let Some(last) = self.segments.last_mut() {
            last.file.set_len(position)?;
            last.end = position;
            last.file.sync()?;
            last.dirty = false;
        }
        Ok(())
    }

    /// Forgets the entries up to `upto`; the marker is durable on return, files go
    /// when all of their entries have. `next` is the index behind the last entry.
    pub fn purge(&mut self, upto: LogId, next: u64) -> Result<(), StoreError> {
        markers::write_purged(&self.disk, &self.dir, upto)?;
        while let Some(oldest) = self.segments.first() {
            let end = self.segments.get(1).map_or(next, |second| second.first);
            // Appends may go on in the last file only when they follow on its entries.
            let keep_last = self.segments.len() == 1 && next > upto.index;
            if keep_last || end > upto.index.saturating_add(1) {
                break;
            }
            self.disk.remove_file(&self.path(oldest.first))?;
            self.names_dirty = true;
            self.segments.remove(0);
        }
        Ok(())
    }
}

impl Opened {
    /// The index behind the last entry.
    pub fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Reads one segment. `tail` is for the last one, which may be torn: the index
    /// that the committed marker names, when there is one.
    fn read_segment(&mut self, first: u64, tail: Option<Option<u64>>) -> Result<(), StoreError> {
        let path = self.segments.path(first);
        let file = self.segments.disk.open(&path, OpenMode::Existing)?;
        let mut content = vec![0; file.size()? as usize];
        let read = file.read_up_to(&mut content, 0)?;
        content.truncate(read);

        let mut position = 0;
        let mut next = first;
        let mut entries = Vec::new();
        let mut broken = check_header(&content, first).err();
        if broken.is_none() {
            position = HEADER_BYTES;
            let mut term = self.entries.last().map_or(0, |found| found.term);
            while position < content.len() {
                match check_entry(&content[position..], next, term) {
                    Ok(head) => {
                        let place = Place {
                            file: file.clone(),
                            position: position as u64,
                            len: head.len,
                        };
                        term = head.term;
                        entries.push(Found { term, place });
                        position += head.len;
                        next += 1;
                    }
                    Err(damage) => {
                        broken = Some(damage);
                        break;
                    }
                }
            }
        }

        if let Some(damage) = broken {
            let was_durable = match tail {
                None => true,
                Some(committed) => {
                    committed.is_some_and(|index| index >= next)
                        || entry::any_made_after_sync_of(&content[position..], next)
                }
            };
            if was_durable {
                return Err(StoreError::damaged(&path, position as u64, damage));
            }
            self.cut_bytes += (content.len() - position) as u64;
            if position == 0 {
                // Not even the header: the file was being created.
                self.segments.disk.remove_file(&path)?;
                self.segments.names_dirty = true;
                return Ok(());
            }
            file.set_len(position as u64)?;
            file.sync()?;
        }

        let purged_below = self.purged.map_or(0, |id| id.index.saturating_add(1));
        if tail.is_some() && next < purged_below {
            // Left over from a purge beyond the end; appends go on elsewhere.
            self.segments.disk.remove_file(&path)?;
            self.segments.names_dirty = true;
            return Ok(());
        }
        // Without a purge the log begins where its first segment does.
        if self.purged.is_none() && self.segments.segments.is_empty() {
            self.first = first;
        }
        let expected = self.next();
        if first > expected {
            let found = first - 1;
            return Err(StoreError::damaged(
                &path,
                0,
                Damage::Hole { expected, found },
            ));
        }
        let skip = expected.saturating_sub(first) as usize;
        self.entries.extend(entries.into_iter().skip(skip));
        self.segments.segments.push(Segment {
            first,
            file,
            end: position as u64,
            dirty: false,
        });
        Ok(())
    }
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

fn header(first: u64) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_be_bytes());
    out[12..20].copy_from_slice(&first.to_be_bytes());
    let checksum = crc_fast::crc32_iscsi(&out[..20]);
    out[20..].copy_from_slice(&checksum.to_be_bytes());
    out
}

fn check_header(content: &[u8], first: u64) -> Result<(), Damage> {
    let Some(found) = content.first_chunk::<HEADER_BYTES>() else {
        return Err(Damage::Short {
            wanted: HEADER_BYTES as u64,
            found: content.len() as u64,
        });
    };
    let expected = header(first);
    if *found == expected {
        return Ok(());
    }
    let mut magic = [0; 8];
    magic.copy_from_slice(&found[..8]);
    if magic != MAGIC {
        return Err(Damage::Magic {
            expected: MAGIC,
            found: magic,
        });
    }
    let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, b| sum << 8 | u64::from(*b));
    let stored = number(&found[20..]) as u32;
    let computed = crc_fast::crc32_iscsi(&found[..20]);
    if stored != computed {
        return Err(Damage::Checksum {
            expected: stored,
            found: computed,
        });
    }
    if found[8..12] != expected[8..12] {
        return Err(Damage::Version {
            expected: VERSION as u8,
            found: found[11],
        });
    }
    Err(Damage::Index {
        expected: first,
        found: number(&found[12..20]),
    })
}

fn check_entry(bytes: &[u8], expected: u64, previous: u64) -> Result<entry::Head, Damage> {
    let head = entry::head(bytes)?;
    if head.index != expected {
        return Err(Damage::Index {
            expected,
            found: head.index,
        });
    }
    if head.term < previous {
        return Err(Damage::TermBack {
            previous,
            found: head.term,
        });
    }
    Ok(head)
}
