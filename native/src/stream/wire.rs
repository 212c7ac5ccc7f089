//! Protobuf by hand: fields in, fields out, without objects in between.
//!
//! The token path writes a handful of known fields; a general library would allocate a message for each. What a newer
//! peer adds is skipped. Source: protobuf's encoding guide.

/// Why bytes are not what they should be; the text is for logs and errors, without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

/// Value of one field as it stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: string, bytes, message or packed numbers.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
    /// A group, which only old messages have; skipped.
    Group,
}

/// Number, value and whole bytes of a field.
pub type RawField<'a> = (u32, Value<'a>, &'a [u8]);

const GROUPS_MAX: u32 = 32; // protobuf libraries stop at 100; nothing of ours nests half as deep

/// Fields of one message, in the order of the wire.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Read `message`.
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            let part = u64::from(byte & 0x7f);
            if index == 9 && part > 1 {
                return Err(Malformed("varint over 64 bits"));
            }
            value |= part << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(Malformed("truncated varint"))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(length).map_err(|_| Malformed("length over the message"))?;
        if length > self.rest.len() {
            return Err(Malformed("length over the message"));
        }
        let (head, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(head)
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed("tag over 32 bits"))?;
        match (tag >> 3, (tag & 7) as u8) {
            (0, _) => Err(Malformed("field number 0")),
            known => Ok(known),
        }
    }

    fn group(&mut self, number: u32, depth: u32) -> Result<(), Malformed> {
        if depth > GROUPS_MAX {
            return Err(Malformed("groups nested too deep"));
        }
        loop {
            match self.tag()? {
                (end, 4) if end == number => return Ok(()),
                (inner, wire) => self.value(inner, wire, depth + 1)?,
            };
        }
    }

    fn value(&mut self, number: u32, wire: u8, depth: u32) -> Result<Value<'a>, Malformed> {
        Ok(match wire {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(array(self.bytes(8)?))),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.bytes(length)?)
            }
            3 => {
                self.group(number, depth)?;
                Value::Group
            }
            5 => Value::Fixed32(u32::from_le_bytes(array(self.bytes(4)?))),
            _ => return Err(Malformed("unknown wire type")),
        })
    }

    /// Next field as (number, value, its whole bytes), or None at the end.
    pub fn next_raw(&mut self) -> Result<Option<RawField<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let before = self.rest;
        let (number, wire) = self.tag()?;
        let value = self.value(number, wire, 0)?;
        Ok(Some((number, value, &before[..before.len() - self.rest.len()])))
    }

    /// Next of packed varints, or None at the end.
    pub fn next_packed(&mut self) -> Result<Option<u64>, Malformed> {
        if self.rest.is_empty() {
            Ok(None)
        } else {
            self.varint().map(Some)
        }
    }

    /// Next field as (number, value), or None at the end.
    pub fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        Ok(self.next_raw()?.map(|(number, value, _)| (number, value)))
    }
}

/// Last value of a length-delimited field, or empty.
pub fn last_bytes(message: &[u8], wanted: u32) -> Result<&[u8], Malformed> {
    let mut fields = Fields::new(message);
    let mut found: &[u8] = &[];
    while let Some((number, value)) = fields.next_field()? {
        if let (true, Value::Bytes(bytes)) = (number == wanted, value) {
            found = bytes;
        }
    }
    Ok(found)
}

/// Last values of varint fields 1 and 2, 0 where they are missing: a `Position`, and the head of a `Progress`.
pub fn first_two(message: &[u8]) -> Result<(u64, u64), Malformed> {
    let mut fields = Fields::new(message);
    let mut found = (0, 0);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Varint(value)) => found.0 = value,
            (2, Value::Varint(value)) => found.1 = value,
            _ => {}
        }
    }
    Ok(found)
}

/// The first `N` bytes of a slice that has them.
pub fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// Append a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that a varint takes.
pub const fn varint_len(value: u64) -> usize {
    (70 - (value | 1).leading_zeros() as usize) / 7
}

/// Append a varint field, 0 included.
pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Append a varint field unless it is 0.
pub fn put_nonzero(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        put_number(out, number, value);
    }
}

/// Append tag and length of a length-delimited field whose bytes follow.
pub fn put_head(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, length as u64);
}

/// Append a length-delimited field, empty included.
pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

/// Append packed varints as one field, unless there are none.
pub fn put_packed(out: &mut Vec<u8>, number: u32, values: impl Iterator<Item = u64> + Clone) {
    let length = values.clone().map(varint_len).sum();
    if length > 0 {
        put_head(out, number, length);
        values.for_each(|value| put_varint(out, value));
    }
}

/// Append a `Position` as field `number`; zeros are written, so that it replaces one that stands before.
pub fn put_position(out: &mut Vec<u8>, number: u32, tokens: u64, bytes: u64) {
    put_head(out, number, 2 + varint_len(tokens) + varint_len(bytes));
    put_number(out, 1, tokens);
    put_number(out, 2, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value));
            assert_eq!(Fields::new(&out).varint(), Ok(value));
        }
    }

    #[test]
    fn unknown_fields_and_groups_are_skipped() {
        let mut out = vec![0x0b, 0x08, 0x01, 0x0c]; // group 1 { 1: 1 }
        put_bytes(&mut out, 7, b"kept");
        put_number(&mut out, 9, 5);
        assert_eq!(last_bytes(&out, 7), Ok(&b"kept"[..]));
    }

    #[test]
    fn truncation_is_refused() {
        let mut out = Vec::new();
        put_bytes(&mut out, 7, b"kept");
        for cut in 1..out.len() {
            assert!(last_bytes(&out[..cut], 7).is_err(), "cut at {cut}");
        }
    }
}
