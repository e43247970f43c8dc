//! Remembers the small objects that are read again and again (`latest.json`, `master.json`) with their tags, so that asking
//! for one that did not change costs a question and no body.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::Place;

/// The longest object that is remembered.
pub(crate) const SMALL: u64 = 256 << 10;

/// Bytes remembered in all; what is more empties the memory. Names and contents are strangers'.
const MEMORY: usize = 32 << 20;

/// The longest tag that is sent back to the server that gave it.
const TAG_MAX: usize = 256;

/// What is known of one object.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) etag: String,
    pub(crate) bytes: Bytes,
}

/// The objects remembered, by bucket and key.
#[derive(Default)]
pub(crate) struct Pointers(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    objects: HashMap<(String, String), Known>,
    bytes: usize,
}

impl Pointers {
    /// What is known of the object, if it is within the cap.
    pub(crate) fn get(&self, at: &Place, max_bytes: u64) -> Option<Known> {
        let known = self.lock().objects.get(&name(at)).cloned();
        known.filter(|known| known.bytes.len() as u64 <= max_bytes)
    }

    /// Remembers the object, if it is small and has a tag.
    pub(crate) fn put(&self, at: &Place, etag: Option<String>, bytes: &Bytes) {
        let Some(etag) = etag.filter(|etag| etag.len() <= TAG_MAX) else { return };
        if bytes.len() as u64 > SMALL {
            return;
        }
        let mut memory = self.lock();
        let cost = |known: &Known| known.bytes.len() + known.etag.len() + at.key.len() + 512;
        // A copy: these few bytes must not keep a larger buffer alive.
        let known = Known { etag, bytes: Bytes::copy_from_slice(bytes) };
        memory.bytes += cost(&known);
        if let Some(old) = memory.objects.insert(name(at), known) {
            memory.bytes = memory.bytes.saturating_sub(cost(&old));
        }
        if memory.bytes > MEMORY {
            *memory = Memory::default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(at: &Place) -> (String, String) {
    (at.bucket.to_string(), at.key.clone())
}

#[cfg(test)]
mod tests {
    use bistro_core::ports::BucketAddress;

    use super::*;

    fn at(key: usize) -> Place {
        Place::reading(&BucketAddress::parse("shop").unwrap(), &format!("k{key}"))
    }

    #[test]
    fn the_memory_is_bounded_whatever_strangers_send() {
        let pointers = Pointers::default();
        let body = Bytes::from(vec![7; SMALL as usize]);
        for key in 0..1000 {
            pointers.put(&at(key), Some("\"tag\"".into()), &body);
            assert!(pointers.lock().objects.len() * body.len() <= MEMORY);
        }
        assert!(pointers.get(&at(999), SMALL).is_some());
        assert!(pointers.get(&at(999), SMALL - 1).is_none(), "a smaller cap than what is remembered");
        for _ in 0..1000 {
            pointers.put(&at(0), Some("\"tag\"".into()), &body);
        }
        assert!(pointers.get(&at(999), SMALL).is_some(), "the same object again costs nothing more");
    }

    #[test]
    fn what_is_long_or_nameless_is_not_remembered() {
        let pointers = Pointers::default();
        pointers.put(&at(1), None, &Bytes::from_static(b"x"));
        pointers.put(&at(2), Some("t".repeat(TAG_MAX + 1)), &Bytes::from_static(b"x"));
        pointers.put(&at(3), Some("t".into()), &Bytes::from(vec![0; SMALL as usize + 1]));
        assert!(pointers.lock().objects.is_empty());
    }
}
