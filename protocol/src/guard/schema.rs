//! The shapes of messages: a small text table, read once, and a layout per message and version.
//!
//! `requests.txt` explains the notation and holds the requests, `responses.txt` the answers. The
//! text is ours and part of the binary, so a mistake in it is a bug and panics at first use; a test
//! uses every line.

use std::sync::LazyLock;

use crate::versions::{self, Api};

/// Every request this crate accepts.
pub static REQUESTS: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse(include_str!("requests.txt")));

/// The answers to them.
pub static RESPONSES: LazyLock<Schema> =
    LazyLock::new(|| Schema::parse(include_str!("responses.txt")));

/// Layouts by key and version.
#[derive(Debug)]
pub struct Schema {
    messages: Vec<Message>,
}

#[derive(Debug)]
struct Message {
    api: &'static Api,
    /// From `api.min` up.
    versions: Vec<Layout>,
}

/// The fields of a struct in one version.
#[derive(Debug, Clone)]
pub struct Layout {
    /// In wire order.
    pub fields: Vec<Field>,
    /// Tagged fields of this version, by tag.
    pub tagged: Vec<(u32, Field)>,
    /// Tags that belong to other versions: they are refused, not skipped.
    pub foreign_tags: Vec<u32>,
    /// Whether tagged fields end the struct.
    pub flexible: bool,
    /// The fewest bytes the struct takes on the wire.
    pub wire_min: usize,
    /// At least the size of the codec crate's struct.
    pub memory: usize,
}

/// A named field.
#[derive(Debug, Clone)]
pub struct Field {
    /// Kafka's name in snake case.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
}

/// What a field holds in one version.
#[derive(Debug, Clone)]
pub enum Kind {
    /// One byte, written as 0 or 1.
    Bool,
    /// This many bytes, any value.
    Fixed(usize),
    /// UTF-8 with a length.
    String {
        /// Whether null is allowed.
        nullable: bool,
    },
    /// Bytes with a length.
    Bytes {
        /// Whether null is allowed.
        nullable: bool,
    },
    /// Elements with a count.
    Array {
        /// Whether null is allowed.
        nullable: bool,
        /// What each element is.
        element: Box<Kind>,
        /// The fewest bytes an element takes on the wire.
        wire_min: usize,
        /// At least the bytes an element takes once decoded.
        memory: usize,
    },
    /// Fields in place.
    Struct(Layout),
    /// A byte, 1 or -1, and after 1 the fields.
    NullableStruct(Layout),
}

impl Schema {
    /// Reads a table and builds the layout of every message in every version.
    ///
    /// # Panics
    ///
    /// On any mistake in the text.
    pub fn parse(text: &'static str) -> Self {
        let mut messages = Vec::new();
        let mut rest = text;
        while let Some((name, body, after)) = next_message(rest) {
            rest = after;
            let Some(api) = versions::by_name(name) else {
                panic!("schema names the unknown message {name}");
            };
            let mut parser = Parser { name, rest: body };
            let fields = parser.fields();
            assert!(parser.rest.is_empty(), "{name}: {:?} left", parser.rest);
            let versions = (api.min..=api.max)
                .map(|version| layout(&fields, version, api.is_flexible(version)))
                .collect();
            messages.push(Message { api, versions });
        }
        messages.sort_by_key(|message| message.api.key);
        Schema { messages }
    }

    /// The layout of a message in one version, if the table has it.
    pub fn layout(&self, api: &Api, version: i16) -> Option<&Layout> {
        let at = self
            .messages
            .binary_search_by_key(&api.key, |message| message.api.key)
            .ok()?;
        let message = self.messages.get(at)?;
        let nth = usize::try_from(version.checked_sub(message.api.min)?).ok()?;
        message.versions.get(nth)
    }

    /// The APIs the table has, by key.
    pub fn apis(&self) -> impl Iterator<Item = &'static Api> + '_ {
        self.messages.iter().map(|message| message.api)
    }
}

impl Kind {
    /// The fewest bytes a value takes on the wire.
    fn wire_min(&self, flexible: bool) -> usize {
        match self {
            Kind::Bool | Kind::NullableStruct(_) => 1,
            Kind::Fixed(width) => *width,
            _ if flexible && !matches!(self, Kind::Struct(_)) => 1,
            Kind::String { .. } => 2,
            Kind::Bytes { .. } | Kind::Array { .. } => 4,
            Kind::Struct(layout) => layout.wire_min,
        }
    }
}

/// Sizes of what the codec crate decodes into: its strings and byte fields are `Bytes` of four
/// words, its arrays `Vec`s of three.
const SLICE_MEMORY: usize = 32;
const VEC_MEMORY: usize = 24;
/// The map of unknown tagged fields every struct of a flexible message carries.
const TAG_MAP_MEMORY: usize = 24;

/// A field as the text has it, for all versions.
#[derive(Debug)]
struct Declared {
    name: &'static str,
    shape: Shape,
    first: i16,
    last: i16,
    nullable_from: i16,
    tag: Option<u32>,
}

#[derive(Debug)]
enum Shape {
    Bool,
    Fixed(usize),
    String,
    Bytes,
    Array(Box<Shape>),
    Struct(Vec<Declared>),
}

impl Shape {
    /// At least the size of the value in memory. The struct of the codec crate has the fields of
    /// all versions, so this does not depend on one.
    fn memory(&self) -> usize {
        match self {
            Shape::Bool => 1,
            Shape::Fixed(width) => *width,
            Shape::String | Shape::Bytes => SLICE_MEMORY,
            Shape::Array(_) => VEC_MEMORY,
            Shape::Struct(fields) => struct_memory(fields),
        }
    }

    fn kind(&self, version: i16, flexible: bool, nullable: bool) -> Kind {
        match self {
            Shape::Bool => Kind::Bool,
            Shape::Fixed(width) => Kind::Fixed(*width),
            Shape::String => Kind::String { nullable },
            Shape::Bytes => Kind::Bytes { nullable },
            Shape::Array(element) => {
                let memory = element.memory();
                let element = Box::new(element.kind(version, flexible, false));
                Kind::Array {
                    nullable,
                    wire_min: element.wire_min(flexible),
                    memory,
                    element,
                }
            }
            Shape::Struct(fields) if nullable => {
                Kind::NullableStruct(layout(fields, version, flexible))
            }
            Shape::Struct(fields) => Kind::Struct(layout(fields, version, flexible)),
        }
    }
}

fn struct_memory(fields: &[Declared]) -> usize {
    let presence = |field: &Declared| match field.shape {
        Shape::Struct(_) => 8,
        _ => 0,
    };
    let fields: usize = fields
        .iter()
        .map(|field| field.shape.memory() + presence(field))
        .sum();
    (fields + TAG_MAP_MEMORY).next_multiple_of(8)
}

fn layout(declared: &[Declared], version: i16, flexible: bool) -> Layout {
    let mut fields = Vec::new();
    let mut tagged = Vec::new();
    let mut foreign_tags = Vec::new();
    for field in declared {
        let present = (field.first..=field.last).contains(&version);
        let kind = |field: &Declared| Field {
            name: field.name,
            kind: field
                .shape
                .kind(version, flexible, version >= field.nullable_from),
        };
        match field.tag {
            Some(tag) if present => tagged.push((tag, kind(field))),
            Some(tag) => foreign_tags.push(tag),
            None if present => fields.push(kind(field)),
            None => {}
        }
    }
    let wire_min: usize = fields
        .iter()
        .map(|field| field.kind.wire_min(flexible))
        .sum();
    Layout {
        wire_min: wire_min + usize::from(flexible),
        memory: struct_memory(declared),
        fields,
        tagged,
        foreign_tags,
        flexible,
    }
}

/// Splits off the next message: its name, its fields, and the text after it.
fn next_message(text: &'static str) -> Option<(&'static str, &'static str, &'static str)> {
    let mut rest = text;
    loop {
        let line = rest.lines().next()?;
        let after = rest[line.len()..].trim_start_matches(['\r', '\n']);
        if line.trim().is_empty() || line.starts_with('#') {
            rest = after;
            continue;
        }
        let body_len = after
            .split_inclusive('\n')
            .take_while(|line| line.starts_with([' ', '\n']))
            .map(str::len)
            .sum();
        let (body, after) = after.split_at(body_len);
        return Some((line.trim(), body.trim(), after));
    }
}

struct Parser {
    /// The message, for panics.
    name: &'static str,
    rest: &'static str,
}

impl Parser {
    fn fields(&mut self) -> Vec<Declared> {
        let mut fields = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty() || self.rest.starts_with('}') {
                return fields;
            }
            fields.push(self.field());
        }
    }

    fn field(&mut self) -> Declared {
        let name = self.word();
        self.expect(":");
        let shape = self.shape();
        let mut field = Declared {
            name,
            shape,
            first: 0,
            last: i16::MAX,
            nullable_from: i16::MAX,
            tag: None,
        };
        if self.eat("?") {
            field.nullable_from = 0;
            if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
                field.nullable_from = self.number();
                self.expect("+");
            }
        }
        if self.eat("@") {
            field.first = self.number();
            field.last = field.first;
            if self.eat("+") {
                field.last = i16::MAX;
            } else if self.eat("-") {
                field.last = self.number();
            }
        }
        if self.eat("#") {
            field.tag = Some(self.number::<u32>());
        }
        field
    }

    fn shape(&mut self) -> Shape {
        if self.eat("[") {
            let element = self.shape();
            self.expect("]");
            return Shape::Array(Box::new(element));
        }
        if self.eat("{") {
            let fields = self.fields();
            self.expect("}");
            return Shape::Struct(fields);
        }
        match self.word() {
            "bool" => Shape::Bool,
            "i8" => Shape::Fixed(1),
            "i16" | "u16" => Shape::Fixed(2),
            "i32" => Shape::Fixed(4),
            "i64" | "f64" => Shape::Fixed(8),
            "uuid" => Shape::Fixed(16),
            "str" => Shape::String,
            "bytes" => Shape::Bytes,
            other => panic!("{}: no type is called {other:?}", self.name),
        }
    }

    fn split_while(&mut self, belongs: impl Fn(char) -> bool) -> &'static str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        assert!(!word.is_empty(), "{}: at {:?}", self.name, self.rest);
        self.rest = rest;
        word
    }

    fn word(&mut self) -> &'static str {
        self.split_while(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn number<N: std::str::FromStr>(&mut self) -> N {
        let digits = self.split_while(|c| c.is_ascii_digit());
        let Ok(number) = digits.parse() else {
            panic!("{}: {digits} is out of range", self.name);
        };
        number
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, token: &str) {
        assert!(
            self.eat(token),
            "{}: wanted {token:?} at {:?}",
            self.name,
            self.rest
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_has_a_shape_in_every_version_and_no_shape_lacks_an_api() {
        for schema in [&REQUESTS, &RESPONSES] {
            let in_schema: Vec<i16> = schema.apis().map(|api| api.key).collect();
            let in_table: Vec<i16> = versions::APIS.iter().map(|api| api.key).collect();
            assert_eq!(in_schema, in_table);
            for api in versions::APIS {
                for version in api.min..=api.max {
                    assert!(schema.layout(api, version).is_some());
                }
                assert!(schema.layout(api, api.max + 1).is_none());
                assert!(schema.layout(api, api.min - 1).is_none());
                assert!(schema.layout(api, i16::MIN).is_none());
            }
        }
    }

    #[test]
    fn a_field_is_there_only_in_its_versions() {
        let api = versions::by_name("Fetch").expect("Fetch");
        let names = |version| -> Vec<&str> {
            let layout = REQUESTS.layout(api, version).expect("layout");
            layout.fields.iter().map(|field| field.name).collect()
        };
        assert!(names(14).contains(&"replica_id"));
        assert!(!names(15).contains(&"replica_id"));
        let tags = |version| -> Vec<u32> {
            let layout = REQUESTS.layout(api, version).expect("layout");
            layout.tagged.iter().map(|(tag, _)| *tag).collect()
        };
        assert_eq!(tags(11), Vec::<u32>::new());
        assert_eq!(tags(12), vec![0]);
        assert_eq!(tags(15), vec![0, 1]);
    }
}
