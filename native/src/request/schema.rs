//! What `Infer.Request` consists of, as far as its canonical form and its header need it.
//!
//! Numbers and types follow proto/tether/v1/infer.proto; a test compares them with the generated descriptors.

/// Type of a field's value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// uint32.
    Unsigned32,
    /// int32 and enums.
    Signed32,
    /// uint64 and int64.
    Number64,
    /// bool.
    Bool,
    /// float.
    Float,
    /// string.
    Text,
    /// bytes.
    Bytes,
    /// A message.
    Message(&'static [Field]),
}

/// How often a field stands, and what absence means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// Absent and default are the same.
    Implicit,
    /// Absent and default differ.
    Explicit,
    /// Any number of times.
    Repeated,
    /// One of those of the message that are marked so.
    OneOf,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its number.
    pub number: u32,
    /// Its type.
    pub kind: Kind,
    /// How often it stands.
    pub presence: Presence,
}

const fn field(number: u32, kind: Kind, presence: Presence) -> Field {
    Field { number, kind, presence }
}

const fn text(number: u32) -> Field {
    field(number, Kind::Text, Presence::Implicit)
}

const fn one(number: u32, kind: Kind) -> Field {
    field(number, kind, Presence::Implicit)
}

const fn set(number: u32, kind: Kind) -> Field {
    field(number, kind, Presence::Explicit)
}

const fn many(number: u32, kind: Kind) -> Field {
    field(number, kind, Presence::Repeated)
}

const fn either(number: u32, kind: Kind) -> Field {
    field(number, kind, Presence::OneOf)
}

const TOOL_CALL: &[Field] = &[text(1), text(2), text(3), one(4, Kind::Unsigned32)];
const MESSAGE: &[Field] = &[text(1), text(2), text(3), many(4, Kind::Message(TOOL_CALL)), text(5)];
const CHAT: &[Field] = &[many(1, Kind::Message(MESSAGE))];
const TENSOR: &[Field] = &[
    text(1),
    one(2, Kind::Signed32),
    many(3, Kind::Number64),
    one(4, Kind::Bytes),
];
const TENSORS: &[Field] = &[many(1, Kind::Message(TENSOR))];
const WRAPPED_KEY: &[Field] = &[one(1, Kind::Bytes), one(2, Kind::Bytes)];
const SEALED: &[Field] = &[
    one(1, Kind::Bytes),
    one(2, Kind::Bytes),
    many(3, Kind::Message(WRAPPED_KEY)),
    one(4, Kind::Number64),
];
const INPUT: &[Field] = &[
    either(1, Kind::Text),
    either(2, Kind::Message(CHAT)),
    either(3, Kind::Message(TENSORS)),
    either(4, Kind::Message(SEALED)),
];
const RESPONSE_FORMAT: &[Field] = &[either(1, Kind::Text), either(2, Kind::Text), either(3, Kind::Bool)];
const TOOL: &[Field] = &[text(1), text(2), text(3)];
const PARAMETERS: &[Field] = &[
    set(1, Kind::Unsigned32),
    set(2, Kind::Float),
    set(3, Kind::Float),
    set(4, Kind::Unsigned32),
    many(5, Kind::Text),
    set(6, Kind::Number64),
    set(7, Kind::Float),
    set(8, Kind::Float),
    one(9, Kind::Message(RESPONSE_FORMAT)),
    one(10, Kind::Unsigned32),
    one(11, Kind::Unsigned32),
    many(12, Kind::Message(TOOL)),
    text(13),
];
const ADAPTER: &[Field] = &[text(1), text(2), one(3, Kind::Float)];
const DURATION: &[Field] = &[one(1, Kind::Number64), one(2, Kind::Signed32)];
const STREAM_OPTIONS: &[Field] = &[one(1, Kind::Signed32), one(2, Kind::Signed32)];

/// `Infer.Request`.
pub const REQUEST: &[Field] = &[
    text(1),
    text(2),
    text(3),
    one(4, Kind::Message(INPUT)),
    text(5),
    text(6),
    text(7),
    one(8, Kind::Message(PARAMETERS)),
    many(9, Kind::Message(ADAPTER)),
    one(10, Kind::Signed32),
    one(11, Kind::Message(DURATION)),
    one(12, Kind::Message(STREAM_OPTIONS)),
];
