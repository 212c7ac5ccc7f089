//! Just enough of the protobuf wire format to read a report: fields in order, unknown ones passed by.
//! (protobuf.dev, "Encoding".)

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5: nothing that is read here.
    Fixed,
}

impl<'a> Value<'a> {
    /// The bytes of a string or message.
    pub(super) const fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The text of a string.
    pub(super) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    /// The number of a `uint64`, enum or bool.
    pub(super) const fn number(self) -> Option<u64> {
        match self {
            Self::Varint(number) => Some(number),
            _ => None,
        }
    }

    /// The number of a `uint32`, cut to 32 bits as protobuf does.
    #[expect(clippy::cast_possible_truncation, reason = "what protobuf prescribes")]
    pub(super) fn number32(self) -> Option<u32> {
        self.number().map(|number| number as u32)
    }
}

/// Hand each field (number, value) of a message to `take`; `None` where the message is malformed or `take` says so.
pub(super) fn fields<'a>(mut rest: &'a [u8], mut take: impl FnMut(u64, Value<'a>) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut rest)?),
            1 => skip(&mut rest, 8)?,
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Value::Bytes(rest.split_off(..length)?)
            }
            5 => skip(&mut rest, 4)?,
            _ => return None,
        };
        take(tag >> 3, value)?;
    }
    Some(())
}

fn skip<'a>(rest: &mut &'a [u8], length: usize) -> Option<Value<'a>> {
    rest.split_off(..length).map(|_| Value::Fixed)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let byte = *rest.split_off_first()?;
        number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
        let mut found = vec![];
        fields(message, |number, value| {
            found.push((number, value));
            Some(())
        })?;
        Some(found)
    }

    #[test]
    fn each_wire_type_is_read_or_passed_by() {
        let message = [
            0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8,
        ];
        let expected = vec![
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed),
            (4, Value::Fixed),
        ];
        assert_eq!(read(&message), Some(expected));
    }

    #[test]
    fn what_is_cut_or_of_an_unknown_wire_type_is_malformed() {
        for message in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x12, 5, 1],
            &[0x1d, 1],
            &[0x0b],
            &[0xff; 11],
        ] {
            assert_eq!(read(message), None, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(message in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&message);
        }
    }
}
