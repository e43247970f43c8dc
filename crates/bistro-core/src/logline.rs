//! The lines of a validator's log: each is one record, names the line before it by hash, and is signed by the hotkey. So a
//! line that was changed, removed or moved is found by anybody, and whose log it is cannot be denied.
//!
//! A line is `{"record":…,"signature":"…"}`; what is signed are the bytes of the record as they stand there, so no reader
//! depends on how another program writes JSON.

use serde::{Deserialize, Serialize};

use crate::events::Record;
use crate::ids::{Hash, Hotkey};

/// Longest line that is read, bytes. The longest is a checkpoint: the run's rules, and two averages of each hotkey.
pub const MAX_LINE_BYTES: usize = 4 << 20;

/// Signed before the record itself, so that one kind of statement can never pass for another.
const DOMAIN: &str = "bistro/v1/log\n";
const HEAD: &[u8] = b"{\"record\":";
const MIDDLE: &[u8] = b",\"signature\":\"";
const TAIL: &[u8] = b"\"}";
const SIGNATURE_DIGITS: usize = 128;

/// Where a log stands: what the next line must follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Number of the next record.
    pub seq: u64,
    /// Hash of the line before it; zeros before the first.
    pub prev: Hash,
}

impl Place {
    /// Before the first record.
    pub const BEGIN: Self = Self { seq: 0, prev: Hash([0; 32]) };
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Too long.
    #[error("record {0} has more than {MAX_LINE_BYTES} bytes")]
    TooLong(u64),
    /// Not a line of this form.
    #[error("record {0} is none: {1}")]
    Form(u64, String),
    /// Another number than the next one.
    #[error("record {expected} is missing or not in its place: {found} stands there")]
    Number {
        /// The next one.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// It names another line than the one before it.
    #[error("record {0} does not follow from the one before it: one of the two was changed")]
    Link(u64),
    /// It is another hotkey's.
    #[error("record {0} is another hotkey's: {1}")]
    Owner(u64, Hotkey),
    /// The signature is not the hotkey's.
    #[error("record {0} is not signed by its hotkey: it was changed")]
    Signature(u64),
}

/// The line of `record`, without a line feed, signed by `sign`.
pub fn seal(record: &Record, sign: impl FnOnce(&[u8]) -> [u8; 64]) -> Vec<u8> {
    // Only a map with keys that are no strings fails to serialise, and no record has one.
    let json = serde_json::to_vec(record).unwrap_or_default();
    let signature = hex::encode(sign(&message(&json)));
    [HEAD, &json, MIDDLE, signature.as_bytes(), TAIL].concat()
}

fn message(json: &[u8]) -> Vec<u8> {
    [DOMAIN.as_bytes(), json].concat()
}

/// The record's bytes and the signature's digits.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(HEAD)?.strip_suffix(TAIL)?;
    let (rest, signature) = rest.split_at_checked(rest.len().checked_sub(SIGNATURE_DIGITS)?)?;
    Some((rest.strip_suffix(MIDDLE)?, signature))
}

/// The record of a line, whatever it follows and whoever signed it. `at` is where it is thought to be, for errors.
pub fn parse(line: &[u8], at: u64) -> Result<Record, LineError> {
    if line.len() > MAX_LINE_BYTES {
        return Err(LineError::TooLong(at));
    }
    let (json, _) = split(line).ok_or_else(|| LineError::Form(at, "it has no signature behind it".to_owned()))?;
    serde_json::from_slice(json).map_err(|error| LineError::Form(at, error.to_string()))
}

/// The record of a line of `hotkey`'s log that stands at `place`, which moves on. The signature is left to
/// [`check_signature`]: one over a later line vouches for all before it.
pub fn follow(place: &mut Place, hotkey: &Hotkey, line: &[u8]) -> Result<Record, LineError> {
    let record = parse(line, place.seq)?;
    if record.seq != place.seq {
        return Err(LineError::Number { expected: place.seq, found: record.seq });
    }
    if record.prev != place.prev {
        return Err(LineError::Link(record.seq));
    }
    if record.hotkey != *hotkey {
        return Err(LineError::Owner(record.seq, record.hotkey));
    }
    *place = Place { seq: record.seq.saturating_add(1), prev: Hash::of(line) };
    Ok(record)
}

/// Whether `hotkey` signed this line, the record number `seq`.
pub fn check_signature(
    line: &[u8],
    seq: u64,
    hotkey: &Hotkey,
    verify: impl FnOnce(&Hotkey, &[u8], &[u8; 64]) -> bool,
) -> Result<(), LineError> {
    let mut signature = [0; 64];
    let signed = split(line).is_some_and(|(json, digits)| {
        hex::decode_to_slice(digits, &mut signature).is_ok() && verify(hotkey, &message(json), &signature)
    });
    if signed { Ok(()) } else { Err(LineError::Signature(seq)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Event;
    use crate::ids::{Block, NetUid};

    const ME: Hotkey = Hotkey([7; 32]);

    fn sign(message: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&Hash::of(message).0);
        signature
    }

    fn verify(_: &Hotkey, message: &[u8], signature: &[u8; 64]) -> bool {
        sign(message) == *signature
    }

    fn log() -> Vec<Vec<u8>> {
        let mut place = Place::BEGIN;
        let mut lines = Vec::new();
        for seq in 0..5 {
            let event = Event::Measured { seq: 3, hash: Hash([1; 32]), loss: 6.123_456_789_012_345 };
            let record = Record {
                netuid: NetUid(1),
                hotkey: ME,
                seq: place.seq,
                prev: place.prev,
                time: 9,
                block: Block(seq),
                event,
            };
            lines.push(seal(&record, sign));
            place = Place { seq: seq + 1, prev: Hash::of(&lines[lines.len() - 1]) };
        }
        lines
    }

    fn read(lines: &[Vec<u8>]) -> Result<Vec<Record>, LineError> {
        let mut place = Place::BEGIN;
        let read = |line: &Vec<u8>| {
            let record = follow(&mut place, &ME, line)?;
            check_signature(line, record.seq, &ME, verify)?;
            Ok(record)
        };
        lines.iter().map(read).collect()
    }

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let records = read(&log()).unwrap();
        assert_eq!(
            records.iter().map(|r| (r.seq, r.block.0)).collect::<Vec<_>>(),
            [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4)]
        );
    }

    #[test]
    fn a_line_changed_removed_moved_added_or_of_another_is_found_and_named() {
        let edit = |n: usize, from: &str, to: &str| {
            let mut lines = log();
            let text = String::from_utf8(lines[n].clone()).unwrap();
            assert!(text.contains(from));
            lines[n] = text.replacen(from, to, 1).into_bytes();
            read(&lines).unwrap_err()
        };
        assert_eq!(edit(2, "6.12", "6.13"), LineError::Signature(2));
        assert_eq!(edit(4, "6.12", "6.13"), LineError::Signature(4), "the last one, too");
        assert_eq!(edit(2, "\"time\":9", "\"time\":8"), LineError::Signature(2));
        assert_eq!(edit(1, "\"seq\":1,", "\"seq\":7,"), LineError::Number { expected: 1, found: 7 });
        assert!(matches!(edit(1, "\"time\":9", "\"time\":9,\"more\":1"), LineError::Form(1, _)));
        assert!(matches!(edit(3, "\"signature\"", "\"signatura\""), LineError::Form(3, _)));
        let mut lines = log();
        lines.remove(1);
        assert_eq!(read(&lines).unwrap_err(), LineError::Number { expected: 1, found: 2 });
        let mut lines = log();
        lines.swap(2, 3);
        assert_eq!(read(&lines).unwrap_err(), LineError::Number { expected: 2, found: 3 });
        // A line that was signed, and belongs into another history.
        let mut lines = log();
        let mut other = parse(&lines[2], 2).unwrap();
        other.block = Block(77);
        lines[2] = seal(&other, sign);
        assert_eq!(read(&lines).unwrap_err(), LineError::Link(3));
        other.hotkey = Hotkey([8; 32]);
        lines[2] = seal(&other, sign);
        assert_eq!(read(&lines).unwrap_err(), LineError::Owner(2, Hotkey([8; 32])));
        assert_eq!(read(&[vec![b' '; MAX_LINE_BYTES + 1]]).unwrap_err(), LineError::TooLong(0));
    }
}
