//! What can be wrong with bytes from outside, and with answers that do not fit their version.
//!
//! A `Fault` is raised where bytes are read and knows only position and problem; it gathers the
//! field path on its way out and becomes a `DecodeError` at the message's border.

use thiserror::Error;

/// What is wrong with one field. Sizes and counts are as declared on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The field goes past the end of the frame.
    #[error("needs {needed} bytes, {left} left")]
    Truncated {
        /// What the field takes.
        needed: usize,
        /// What the frame still holds.
        left: usize,
    },
    /// A length below zero that does not mean null.
    #[error("length {0} is negative")]
    NegativeLength(i64),
    /// Null where the version does not allow it.
    #[error("null is not allowed here")]
    Null,
    /// A string above Kafka's limit, `MAX_STRING_BYTES`.
    #[error("string of {length} bytes is above {limit}")]
    StringTooLong {
        /// The declared length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// A string that is not UTF-8.
    #[error("not utf-8")]
    NotUtf8,
    /// A varint of more than five bytes or of more than 32 bits.
    #[error("varint is longer than 32 bits")]
    VarintTooLong,
    /// More elements than the bytes left could hold.
    #[error("{count} elements of at least {element_bytes_min} bytes do not fit the {left} left")]
    CountTooLarge {
        /// The declared count.
        count: usize,
        /// The fewest bytes one element takes.
        element_bytes_min: usize,
        /// What the frame still holds.
        left: usize,
    },
    /// More elements in one message than `Limits::elements_max`.
    #[error("message holds more than {limit} elements")]
    TooManyElements {
        /// The limit.
        limit: usize,
    },
    /// Decoding would allocate more than the frame's size justifies.
    #[error("decoding would take {needed} bytes of memory, {limit} allowed")]
    TooMuchMemory {
        /// The charge when the limit was passed.
        needed: usize,
        /// The limit for this frame.
        limit: usize,
    },
    /// Tags must ascend, so a repeated tag is refused as well.
    #[error("tag {tag} after tag {previous}")]
    TagOrder {
        /// The tag found.
        tag: u32,
        /// The tag before it.
        previous: u32,
    },
    /// A tag that exists, in other versions of the message.
    #[error("tag {0} is not in this version")]
    TagVersion(u32),
    /// A known tagged field that declares another size than it has.
    #[error("tag {tag} declares {declared} bytes and holds {used}")]
    TagSize {
        /// The tag.
        tag: u32,
        /// The size it declares.
        declared: usize,
        /// The bytes its field takes.
        used: usize,
    },
    /// A nullable struct that is neither present (1) nor null (-1).
    #[error("presence byte {0} is neither 1 nor -1")]
    Presence(i8),
    /// A stored record in a version this crate does not read.
    #[error("no such version is known")]
    RecordVersion,
    /// The codec crate refused what the guard had accepted: a mistake in the schema table.
    #[error("refused by the codec")]
    Codec,
    /// Bytes after the last field.
    #[error("{0} bytes left over")]
    Trailing(usize),
}

/// A message that cannot be decoded: which, where and why.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} v{version}: {field} at byte {at}: {problem}")]
pub struct DecodeError {
    /// The message, such as `Metadata request`.
    pub message: String,
    /// Its version.
    pub version: i16,
    /// Path of the field, such as `topics.partitions.index`.
    pub field: String,
    /// Position from the start of the frame, or of the record for stored messages.
    pub at: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// An answer that cannot be encoded in the version it is for. The request is still owed an answer:
/// the caller turns this into an error response.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} v{version}: {reason}")]
pub struct EncodeError {
    /// The message, such as `Metadata response`.
    pub message: String,
    /// The version it was to be encoded in.
    pub version: i16,
    /// Why not.
    pub reason: Unencodable,
}

/// Why an answer cannot be encoded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unencodable {
    /// A string longer than the wire allows.
    #[error("string of {length} bytes is above {limit}")]
    StringTooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// An array or byte field whose length does not fit 31 bits.
    #[error("{0} elements do not fit the wire")]
    TooLong(usize),
    /// The whole frame does not fit its 31-bit size.
    #[error("frame of {0} bytes does not fit the wire")]
    FrameTooLong(usize),
    /// A field is set that the version cannot carry and must not lose.
    #[error("{0} is set and this version cannot carry it")]
    NotInVersion(&'static str),
    /// The codec crate refused, in its words: usually a field of a newer version that is set.
    #[error("{0}")]
    Codec(String),
}

/// A problem on its way out of a message. Boxed, so that the good path moves two words.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: usize,
    pub(crate) problem: Problem,
    /// Field names, innermost first.
    path: Vec<&'static str>,
}

pub(crate) type Read<T> = Result<T, Box<Fault>>;

impl Fault {
    #[cold]
    pub(crate) fn new(at: usize, problem: Problem) -> Box<Self> {
        Box::new(Fault {
            at,
            problem,
            path: Vec::new(),
        })
    }

    /// Adds the enclosing field.
    #[cold]
    pub(crate) fn inside(mut self: Box<Self>, field: &'static str) -> Box<Self> {
        self.path.push(field);
        self
    }

    #[cold]
    pub(crate) fn of(self, message: impl Into<String>, version: i16) -> DecodeError {
        let names: Vec<&str> = self.path.iter().rev().copied().collect();
        DecodeError {
            message: message.into(),
            version,
            field: if names.is_empty() {
                "message".to_owned()
            } else {
                names.join(".")
            },
            at: self.at,
            problem: self.problem,
        }
    }
}

/// Names the field a read belongs to.
pub(crate) trait InField<T> {
    fn field(self, name: &'static str) -> Read<T>;
}

impl<T> InField<T> for Read<T> {
    #[inline]
    fn field(self, name: &'static str) -> Read<T> {
        self.map_err(|fault| fault.inside(name))
    }
}
