//! Random request bodies from the schema table, and the seeds they come from.

use bytes::{BufMut, BytesMut};
use reka_protocol::guard::schema::{Kind, Layout};

/// Seeds to run a test with: the one in `REKA_SEED`, as many as `REKA_SEEDS` says, or `count`.
/// Failing tests name the seed; `REKA_SEED=7 cargo test -p reka-protocol <name>` runs it again.
pub(crate) fn seeds(count: u64) -> std::ops::Range<u64> {
    let from_environment = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a seed is a number"))
    };
    match (
        from_environment("REKA_SEED"),
        from_environment("REKA_SEEDS"),
    ) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(many)) => 0..many,
        (None, None) => 0..count,
    }
}

/// SplitMix64: small, seeded, the same everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A request body of this shape, spelled as the codec crate would spell it.
pub(crate) fn body(layout: &Layout, random: &mut Random) -> BytesMut {
    let mut out = BytesMut::new();
    fields(layout, random, &mut out);
    out
}

pub(crate) fn put_uvarint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

fn fields(layout: &Layout, random: &mut Random, out: &mut BytesMut) {
    for field in &layout.fields {
        value(&field.kind, layout.flexible, random, out);
    }
    if layout.flexible {
        tagged(layout, random, out);
    }
}

fn tagged(layout: &Layout, random: &mut Random, out: &mut BytesMut) {
    let mut tags: Vec<(u32, BytesMut)> = Vec::new();
    for (tag, field) in &layout.tagged {
        if random.one_in(2) {
            let mut content = BytesMut::new();
            not_default(&field.kind, random, &mut content);
            tags.push((*tag, content));
        }
    }
    if random.one_in(6) {
        let mut tag = 100;
        for _ in 0..=random.below(3) {
            tag += 1 + random.below(1 << 20) as u32;
            let content: Vec<u8> = (0..random.below(5)).map(|_| random.next() as u8).collect();
            tags.push((tag, BytesMut::from(&content[..])));
        }
    }
    put_uvarint(out, tags.len() as u32);
    for (tag, content) in tags {
        put_uvarint(out, tag);
        put_uvarint(out, content.len() as u32);
        out.put_slice(&content);
    }
}

/// A tagged field at its default is left out when encoded again, so it gets another value.
fn not_default(kind: &Kind, random: &mut Random, out: &mut BytesMut) {
    match kind {
        Kind::String { .. } => value(&Kind::String { nullable: false }, true, random, out),
        Kind::Array { element, .. } => {
            put_uvarint(out, 2);
            value(element, true, random, out);
        }
        Kind::Bool => out.put_u8(1),
        // All defaults are zero or the largest number.
        Kind::Fixed(width) => {
            out.put_u8(1);
            value(&Kind::Fixed(width - 1), true, random, out);
        }
        other => value(other, true, random, out),
    }
}

fn value(kind: &Kind, flexible: bool, random: &mut Random, out: &mut BytesMut) {
    match kind {
        Kind::Bool => out.put_u8(u8::from(random.one_in(2))),
        Kind::Fixed(width) => {
            // Small numbers next to wild ones.
            let wild = if random.one_in(2) { u64::MAX } else { 0xff };
            let bytes = (random.next() & wild).to_be_bytes();
            for at in 0..*width {
                out.put_u8(bytes[(at + 8 - width % 8) % 8]);
            }
        }
        Kind::String { nullable } => {
            let text: String = (0..random.below(12))
                .map(|_| ['a', 'z', '.', '0', 'é', '\u{0}', '猫', '🦀'][random.below(8)])
                .collect();
            length(text.len(), *nullable, 2, flexible, random, out, |out, _| {
                out.put_slice(text.as_bytes());
            });
        }
        Kind::Bytes { nullable } => {
            let size = random.below(20);
            length(size, *nullable, 4, flexible, random, out, |out, random| {
                (0..size).for_each(|_| out.put_u8(random.next() as u8));
            });
        }
        Kind::Array {
            nullable, element, ..
        } => {
            let count = random.below(4);
            length(count, *nullable, 4, flexible, random, out, |out, random| {
                (0..count).for_each(|_| value(element, flexible, random, out));
            });
        }
        Kind::Struct(layout) => fields(layout, random, out),
        Kind::NullableStruct(_) if random.one_in(2) => out.put_i8(-1),
        Kind::NullableStruct(layout) => {
            out.put_i8(1);
            fields(layout, random, out);
        }
    }
}

/// A length and what it counts; sometimes null instead, where that is allowed.
fn length(
    count: usize,
    nullable: bool,
    width: usize,
    flexible: bool,
    random: &mut Random,
    out: &mut BytesMut,
    content: impl FnOnce(&mut BytesMut, &mut Random),
) {
    let null = nullable && random.one_in(3);
    match (flexible, null) {
        (true, true) => put_uvarint(out, 0),
        (true, false) => put_uvarint(out, count as u32 + 1),
        (false, true) => out.put_slice(&[0xff; 4][..width]),
        (false, false) => out.put_slice(&(count as u32).to_be_bytes()[4 - width..]),
    }
    if !null {
        content(out, random);
    }
}

/// A body whose outermost arrays have `width` elements, each as small as it may be; sometimes with
/// unknown tagged fields.
pub(crate) fn dense(layout: &Layout, width: usize, random: &mut Random) -> BytesMut {
    let mut out = BytesMut::new();
    smallest_fields(layout, width, random, &mut out);
    out
}

fn smallest_fields(layout: &Layout, width: usize, random: &mut Random, out: &mut BytesMut) {
    for field in &layout.fields {
        smallest(&field.kind, layout.flexible, width, random, out);
    }
    if layout.flexible {
        let unknown = if random.one_in(40) {
            random.below(30) as u32
        } else {
            0
        };
        put_uvarint(out, unknown);
        for tag in 0..unknown {
            put_uvarint(out, 100 + tag);
            put_uvarint(out, 0);
        }
    }
}

fn smallest(kind: &Kind, flexible: bool, width: usize, random: &mut Random, out: &mut BytesMut) {
    match kind {
        Kind::Bool => out.put_u8(0),
        Kind::Fixed(bytes) => out.put_bytes(0, *bytes),
        Kind::String { .. } if flexible => put_uvarint(out, 1),
        Kind::String { .. } => out.put_i16(0),
        Kind::Bytes { .. } if flexible => put_uvarint(out, 1),
        Kind::Bytes { .. } => out.put_i32(0),
        Kind::Array { element, .. } => {
            if flexible {
                put_uvarint(out, width as u32 + 1);
            } else {
                out.put_i32(width as i32);
            }
            for _ in 0..width {
                smallest(
                    element,
                    flexible,
                    usize::from(random.one_in(8)),
                    random,
                    out,
                );
            }
        }
        Kind::Struct(layout) => smallest_fields(layout, width, random, out),
        Kind::NullableStruct(layout) => {
            out.put_i8(1);
            smallest_fields(layout, width, random, out);
        }
    }
}

/// One to four changes: flipped bits, wild bytes, cut or doubled ranges, length-like values.
pub(crate) fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next() as u8,
            2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            3 => bytes.truncate(at),
            4 => bytes.insert(at, random.next() as u8),
            5 => {
                let wild =
                    [u32::MAX, 0x7fff_ffff, 0x8000_0000, 20_000_000, 0xffff, 0][random.below(6)];
                let mut spelled = BytesMut::new();
                if random.one_in(2) {
                    put_uvarint(&mut spelled, wild);
                } else {
                    spelled.put_u32(wild);
                }
                let end = (at + spelled.len()).min(bytes.len());
                bytes.splice(at..end, spelled);
            }
            _ => {
                let end = (at + random.below(24)).min(bytes.len());
                let doubled = bytes[at..end].to_vec();
                bytes.splice(at..at, doubled);
            }
        }
    }
}
