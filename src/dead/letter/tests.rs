//! Tests of the letter: what goes in comes out, and any bytes are borne.

use super::*;
use crate::dead::sample;
use proptest::prelude::*;

fn letter(place: u64, reason: &str) -> Letter {
    let dir = tempfile::tempdir().unwrap();
    let block = sample::block(dir.path(), 5_000);
    Letter::new(&block, Sequence(place), reason, Millis(99)).unwrap().unwrap()
}

#[test]
fn a_record_comes_out_of_its_letter_as_it_stood_in_the_spool() {
    let dir = tempfile::tempdir().unwrap();
    let block = sample::block(dir.path(), 5_000);
    assert_eq!(block.records().count(), 3);
    for record in block.records() {
        let letter = Letter::new(&block, record.sequence, "too large", Millis(-3)).unwrap();
        let read = Letter::decode(letter.unwrap().bytes()).unwrap();
        assert_eq!((read.reason.as_str(), read.at), ("too large", Millis(-3)));
        assert_eq!(read.name(), Name::of(&record));
        // Every field: what is not in its Debug is not in a record.
        assert_eq!(format!("{:?}", read.record()), format!("{record:?}"));
    }
    assert!(Letter::new(&block, block.end(), "", Millis(0)).unwrap().is_none());
}

#[test]
fn the_largest_record_and_the_longest_reason_fit() {
    let dir = tempfile::tempdir().unwrap();
    let block = sample::block(dir.path(), 1 << 20);
    let reason = "ü".repeat(MAX_REASON);
    let letter = Letter::new(&block, Sequence(2), &reason, Millis(0)).unwrap().unwrap();
    assert_eq!(letter.reason, "ü".repeat(MAX_REASON / 2));
    assert_eq!(letter.record().value.len(), 1 << 20);
}

/// Fails without the checksum.
#[test]
fn a_letter_with_any_bit_turned_or_any_byte_missing_is_no_letter() {
    let letter = letter(1, "too large");
    for bit in 0..letter.bytes().len() * 8 {
        let mut bytes = letter.bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let why = Letter::decode(&bytes).unwrap_err();
        let expected = match bit / 8 {
            0..4 => Unreadable::Foreign,
            4 => Unreadable::Newer(bytes[4]),
            _ => Unreadable::Damaged,
        };
        // Version 0 never was.
        let expected = if bytes[4] == 0 { Unreadable::Damaged } else { expected };
        assert_eq!(why, expected, "bit {bit}");
    }
    for len in 0..letter.bytes().len() {
        Letter::decode(&letter.bytes()[..len]).unwrap_err();
    }
    let longer = [letter.bytes(), b"x"].concat();
    assert_eq!(Letter::decode(&longer).unwrap_err(), Unreadable::Damaged);
}

/// Fails without the check that the block holds one record.
#[test]
fn a_block_of_several_records_is_no_letter() {
    let dir = tempfile::tempdir().unwrap();
    let block = sample::block(dir.path(), 1);
    let alone = block.clone().between(Sequence(0), Sequence(1)).encode().unwrap();
    assert!(Letter::decode(&encode("", Millis(0), &alone).unwrap()).is_ok());
    let bytes = encode("", Millis(0), &block.encode().unwrap()).unwrap();
    assert_eq!(Letter::decode(&bytes).unwrap_err(), Unreadable::Damaged);
}

#[test]
fn a_name_reads_back_as_it_was_written_and_in_no_other_form() {
    let id = RecordId { epoch: Epoch(0x00c0_ffee), sequence: Sequence(u64::MAX) };
    let name = Name { place: Sequence(7), id };
    let written = "00000000000000000007-0000000000c0ffee-18446744073709551615.letter";
    assert_eq!(name.to_string(), written);
    assert_eq!(Name::parse(written), Some(name));
    for other in [
        "7-0000000000c0ffee-18446744073709551615.letter",
        "00000000000000000007-0000000000C0FFEE-18446744073709551615.letter",
        "00000000000000000007-0000000000c0ffee-18446744073709551615.letter.new",
        "00000000000000000007-0000000000c0ffee-18446744073709551616.letter",
        "00000000000000000007-0000000000c0ffee-18446744073709551615-0.letter",
        "00000000000000000007-0000000000c0ffee.letter",
        ".letter",
        "",
    ] {
        assert_eq!(Name::parse(other), None, "{other}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..200), sealed in any::<bool>()) {
        let mut bytes = bytes;
        if sealed && bytes.len() > HEADER_LEN {
            // Lengths and the block's bytes at random, behind a checksum that holds.
            bytes[..5].copy_from_slice(b"WSDL\x01");
            let crc = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        Letter::decode(&bytes).unwrap_err();
    }
}
