//! The bounds guard: one walk over a request, or over an answer, before anything decodes it.
//!
//! The codec crate reserves what a count promises, so an eight-byte request can ask it for 300 GB
//! and abort the process; it lets varints overflow and ignores the declared size of
//! tagged fields. The guard refuses all of that by the shape of the message
//! (`schema.rs`) and charges what decoding will allocate to a budget. It allocates nothing itself
//! unless it refuses.
//!
//! | Rule | Why |
//! |---|---|
//! | count x fewest bytes per element fits the bytes left | reservations are bounded by the frame |
//! | strings up to 32,767 bytes of UTF-8, null only where allowed | what Kafka accepts |
//! | varints of five bytes and 32 bits | one spelling of a size for every reader |
//! | known tagged fields fill their declared size; tags ascend | no second meaning for bytes |
//! | elements up to `Limits::elements_max` | work per request is bounded |
//! | memory up to 16 x frame + 64 KiB | a small frame cannot become a large allocation |
//! | bytes behind the message are ignored | Kafka ignores them, and librdkafka 2.16 sends three |

pub mod schema;

use self::schema::{Kind, Layout, REQUESTS, RESPONSES, Schema};
use crate::error::{DecodeError, Fault, InField, Problem, Read};
use crate::versions::Api;
use crate::wire::Reader;

/// What one request may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Array elements and unknown tagged fields in one request.
    pub elements_max: usize,
    /// Decoding may allocate this many times the frame's size ...
    pub memory_factor: usize,
    /// ... and this much on top, so that small requests are never refused for it.
    pub memory_slack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            elements_max: 200_000,
            memory_factor: 16,
            memory_slack: 64 * 1024,
        }
    }
}

impl Limits {
    /// What decoding a frame of this size may allocate.
    pub fn memory_max(&self, frame_bytes: usize) -> usize {
        frame_bytes
            .saturating_mul(self.memory_factor)
            .saturating_add(self.memory_slack)
    }
}

/// What an accepted request was charged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Array elements and unknown tagged fields.
    pub elements: usize,
    /// Bytes: decoding allocates at most this much.
    pub memory: usize,
    /// Bytes behind the message, which are ignored.
    pub unread: usize,
}

/// An unknown tagged field goes into the codec crate's B-tree: the first of a struct takes a leaf
/// of eleven entries, later ones a share of leaves that are about half full.
const FIRST_TAG_MEMORY: usize = 512;
const NEXT_TAG_MEMORY: usize = 128;
/// The first slice of a frame makes its buffer shared, which takes a small header.
const SHARED_MEMORY: usize = 64;

/// Walks the body of a request, which starts at `body_at` of `frame`.
///
/// A version that is not in the table is refused as a message that has no bytes: callers look the
/// version up first, see `request::decode`.
pub fn check_request(
    api: &Api,
    version: i16,
    frame: &[u8],
    body_at: usize,
    limits: &Limits,
) -> Result<Charge, DecodeError> {
    check_in(&REQUESTS, "request", api, version, frame, body_at, limits)
}

/// The same for the body of an answer.
pub fn check_response(
    api: &Api,
    version: i16,
    frame: &[u8],
    body_at: usize,
    limits: &Limits,
) -> Result<Charge, DecodeError> {
    check_in(&RESPONSES, "response", api, version, frame, body_at, limits)
}

fn check_in(
    schema: &Schema,
    direction: &str,
    api: &Api,
    version: i16,
    frame: &[u8],
    body_at: usize,
    limits: &Limits,
) -> Result<Charge, DecodeError> {
    let checked = match schema.layout(api, version) {
        Some(layout) => check(layout, frame, body_at, limits),
        None => Err(Fault::new(body_at, Problem::Trailing(frame.len()))),
    };
    checked.map_err(|fault| fault.of(format!("{} {direction}", api.name), version))
}

fn check(layout: &Layout, frame: &[u8], body_at: usize, limits: &Limits) -> Read<Charge> {
    let mut reader = Reader::new(frame, body_at, layout.flexible);
    let mut walk = Walk {
        charge: Charge {
            elements: 0,
            memory: SHARED_MEMORY,
            unread: 0,
        },
        elements_max: limits.elements_max,
        memory_max: limits.memory_max(frame.len()),
    };
    walk.fields(layout, &mut reader)?;
    walk.charge.unread = reader.left();
    Ok(walk.charge)
}

struct Walk {
    charge: Charge,
    elements_max: usize,
    memory_max: usize,
}

impl Walk {
    fn charge(&mut self, at: usize, elements: usize, memory: usize) -> Read<()> {
        self.charge.elements += elements;
        if self.charge.elements > self.elements_max {
            let limit = self.elements_max;
            return Err(Fault::new(at, Problem::TooManyElements { limit }));
        }
        self.charge.memory = self.charge.memory.saturating_add(memory);
        if self.charge.memory > self.memory_max {
            let needed = self.charge.memory;
            let limit = self.memory_max;
            return Err(Fault::new(at, Problem::TooMuchMemory { needed, limit }));
        }
        Ok(())
    }

    fn fields(&mut self, layout: &Layout, reader: &mut Reader<'_>) -> Read<()> {
        for field in &layout.fields {
            self.value(&field.kind, reader).field(field.name)?;
        }
        if layout.flexible {
            self.tagged(layout, reader)?;
        }
        Ok(())
    }

    fn tagged(&mut self, layout: &Layout, reader: &mut Reader<'_>) -> Read<()> {
        let mut unknown = 0;
        reader.tags(|tag, reader| {
            if let Some((_, field)) = layout.tagged.iter().find(|(known, _)| *known == tag) {
                self.value(&field.kind, reader).field(field.name)?;
                return Ok(true);
            }
            if layout.foreign_tags.contains(&tag) {
                return Err(Fault::new(reader.at(), Problem::TagVersion(tag)));
            }
            let memory = if unknown == 0 {
                FIRST_TAG_MEMORY
            } else {
                NEXT_TAG_MEMORY
            };
            unknown += 1;
            self.charge(reader.at(), 1, memory)?;
            Ok(false)
        })
    }

    fn value(&mut self, kind: &Kind, reader: &mut Reader<'_>) -> Read<()> {
        match kind {
            Kind::Bool => reader.skip(1),
            Kind::Fixed(width) => reader.skip(*width),
            Kind::String { nullable: true } => reader.nullable_string().map(|_| ()),
            Kind::String { nullable: false } => reader.string().map(|_| ()),
            Kind::Bytes { nullable: true } => reader.nullable_bytes().map(|_| ()),
            Kind::Bytes { nullable: false } => reader.bytes().map(|_| ()),
            Kind::Struct(layout) => self.fields(layout, reader),
            Kind::NullableStruct(layout) => {
                let at = reader.at();
                match reader.i8()? {
                    1 => self.fields(layout, reader),
                    -1 => Ok(()),
                    other => Err(Fault::new(at, Problem::Presence(other))),
                }
            }
            Kind::Array {
                nullable,
                element,
                wire_min,
                memory,
            } => {
                let at = reader.at();
                let count = if *nullable {
                    reader.nullable_count(*wire_min)?.unwrap_or(0)
                } else {
                    reader.count(*wire_min)?
                };
                self.charge(at, count, count.saturating_mul(*memory))?;
                match element.as_ref() {
                    Kind::Fixed(width) => reader.skip(count * width),
                    element => (0..count).try_for_each(|_| self.value(element, reader)),
                }
            }
        }
    }
}
