//! The small encodings that blocks are made of: variable-length integers and byte strings.
//!
//! A length read from the disk is never trusted: every read is checked against what is
//! there, and nothing is allocated by it.

/// A value that ended too soon, or a number that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Appends `value` in groups of seven bits, the lowest first, as protobuf does.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a signed number, small magnitudes short (zigzag).
#[expect(clippy::cast_sign_loss, reason = "zigzag moves the sign into the lowest bit")]
pub fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends the length, then the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes one byte off the front.
pub fn take_u8(input: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, rest) = input.split_first().ok_or(Malformed)?;
    *input = rest;
    Ok(*first)
}

/// Takes eight bytes off the front, little-endian.
pub fn take_u64(input: &mut &[u8]) -> Result<u64, Malformed> {
    let (first, rest) = input.split_first_chunk().ok_or(Malformed)?;
    *input = rest;
    Ok(u64::from_le_bytes(*first))
}

/// Takes one variable-length integer off the front.
pub fn take_varint(input: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = take_u8(input)?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Err(Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// Takes one signed number off the front.
#[expect(clippy::cast_possible_wrap, reason = "undoes the zigzag of put_signed")]
pub fn take_signed(input: &mut &[u8]) -> Result<i64, Malformed> {
    let value = take_varint(input)?;
    Ok((value >> 1) as i64 ^ -((value & 1) as i64))
}

/// Takes a length and as many bytes off the front.
pub fn take_bytes<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = usize::try_from(take_varint(input)?).map_err(|_| Malformed)?;
    let (bytes, rest) = input.split_at_checked(len).ok_or(Malformed)?;
    *input = rest;
    Ok(bytes)
}

/// Takes a length and as much UTF-8 text off the front.
pub fn take_str<'a>(input: &mut &'a [u8]) -> Result<&'a str, Malformed> {
    std::str::from_utf8(take_bytes(input)?).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(number in any::<u64>(), signed in any::<i64>(), bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            put_varint(&mut out, number);
            put_signed(&mut out, signed);
            put_bytes(&mut out, &bytes);
            let mut input = &out[..];
            prop_assert_eq!(take_varint(&mut input), Ok(number));
            prop_assert_eq!(take_signed(&mut input), Ok(signed));
            prop_assert_eq!(take_bytes(&mut input), Ok(&bytes[..]));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let before = bytes.len();
            let mut input = &bytes[..];
            if let Ok(taken) = take_bytes(&mut input) {
                prop_assert!(taken.len() < before);
            }
        }
    }

    #[test]
    fn numbers_over_64_bits_and_lengths_beyond_the_end_are_malformed() {
        assert_eq!(take_varint(&mut &[0xff; 11][..]), Err(Malformed));
        assert_eq!(
            take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2][..]),
            Err(Malformed)
        );
        assert_eq!(take_bytes(&mut &[5, 1, 2][..]), Err(Malformed));
        assert_eq!(take_str(&mut &[1, 0xff][..]), Err(Malformed));
    }
}
