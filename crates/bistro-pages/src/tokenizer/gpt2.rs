//! GPT-2's byte-pair encoding, written for speed: the ids are those of the reference (`tiktoken`), at many times its pace.
//!
//! Most pieces of ordinary text are words that have an id of their own, so one look-up ends them. The rest is merged pair by
//! pair, lowest id first, as the encoding is defined; what came of a short piece is remembered.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

use bistro_core::ids::Hash;

use super::scan::Scanner;

/// Longest piece that fits into one number with its length.
const SHORT: usize = 15;

/// From this length on, pieces are merged with a heap: looking through all pairs again and again would take a second for
/// 64 KiB of one letter.
const LONG: usize = 128;

/// Pieces that each thread remembers; then it starts anew.
const REMEMBERED: usize = 1 << 15;

const NONE: u32 = u32::MAX;

/// Table and encoder.
pub struct Gpt2 {
    /// Ids of up to [`SHORT`] bytes.
    short: HashMap<u128, u32, BuildHasherDefault<Fold>>,
    /// Ids of more bytes.
    long: HashMap<Box<[u8]>, u32>,
    end_of_text: u32,
    digest: Hash,
}

type Memory = HashMap<u128, Box<[u32]>, BuildHasherDefault<Fold>>;

thread_local! {
    /// What came of short pieces without an id of their own.
    static MEMORY: RefCell<Memory> = RefCell::default();
}

impl Gpt2 {
    /// The table, made once a process.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Gpt2> = LazyLock::new(Gpt2::load);
        &SHARED
    }

    /// From the table that the reference's crate carries.
    fn load() -> Self {
        let reference = tiktoken_rs::r50k_base_singleton();
        let end_of_text = 50_256;
        let (mut short, mut long) = (HashMap::default(), HashMap::new());
        let mut hasher = blake3::Hasher::new();
        for id in 0..=end_of_text {
            let bytes = reference.decode_bytes(&[id]).unwrap_or_default();
            hasher.update(&(bytes.len() as u32).to_le_bytes());
            hasher.update(&bytes);
            if id == end_of_text {
                // No text is encoded to it.
            } else if bytes.len() <= SHORT {
                short.insert(key(&bytes, 0, bytes.len()), id);
            } else {
                long.insert(bytes.into_boxed_slice(), id);
            }
        }
        Self { short, long, end_of_text, digest: Hash(*hasher.finalize().as_bytes()) }
    }

    /// How many ids there are.
    pub fn vocab_size(&self) -> usize {
        self.end_of_text as usize + 1
    }

    /// The id that stands between documents.
    pub fn end_of_text(&self) -> u32 {
        self.end_of_text
    }

    /// BLAKE3 over the bytes of every id in order, each after its length.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        // English has some four and a half bytes a token.
        let mut ids = Vec::with_capacity(text.len() / 4 + 4);
        MEMORY.with_borrow_mut(|memory| self.encode_with(text, memory, &mut ids));
        ids
    }

    fn encode_with(&self, text: &str, memory: &mut Memory, ids: &mut Vec<u32>) {
        let (scanner, bytes) = (Scanner::new(text), text.as_bytes());
        let mut start = 0;
        while start < bytes.len() {
            let end = scanner.end(start);
            let len = end - start;
            if len > SHORT {
                match self.long.get(&bytes[start..end]) {
                    Some(id) => ids.push(*id),
                    None => self.merge(&bytes[start..end], ids),
                }
            } else {
                let piece = key(bytes, start, len);
                if let Some(id) = self.short.get(&piece) {
                    ids.push(*id);
                } else if let Some(known) = memory.get(&piece) {
                    ids.extend_from_slice(known);
                } else {
                    let from = ids.len();
                    self.merge(&bytes[start..end], ids);
                    if memory.len() >= REMEMBERED {
                        memory.clear();
                    }
                    memory.insert(piece, ids[from..].into());
                }
            }
            start = end;
        }
    }

    /// The id of `bytes[start..end]`, or [`NONE`].
    fn id(&self, bytes: &[u8], start: usize, end: usize) -> u32 {
        let found = if end - start <= SHORT {
            self.short.get(&key(bytes, start, end - start))
        } else {
            self.long.get(&bytes[start..end])
        };
        found.copied().unwrap_or(NONE)
    }

    /// Adds the ids of one piece that has none of its own.
    fn merge(&self, piece: &[u8], ids: &mut Vec<u32>) {
        if piece.len() < LONG { self.merge_by_search(piece, ids) } else { self.merge_by_heap(piece, ids) }
    }

    /// Looks for the lowest pair, merges it, and so on.
    fn merge_by_search(&self, piece: &[u8], ids: &mut Vec<u32>) {
        // Where each part starts, and the id that it would have together with the next part.
        let mut parts: Vec<(usize, u32)> = (0..=piece.len()).map(|start| (start, NONE)).collect();
        for (start, id) in parts.iter_mut().take(piece.len() - 1) {
            *id = self.id(piece, *start, *start + 2);
        }
        let joined = |parts: &[(usize, u32)], i: usize| match parts.get(i + 2) {
            Some(end) => self.id(piece, parts[i].0, end.0),
            None => NONE,
        };
        loop {
            let lowest = parts.iter().enumerate().min_by_key(|(_, part)| part.1);
            let Some((i, &(_, id))) = lowest else { break };
            if id == NONE {
                break;
            }
            parts.remove(i + 1);
            parts[i].1 = joined(&parts, i);
            if i > 0 {
                parts[i - 1].1 = joined(&parts, i - 1);
            }
        }
        ids.extend(parts.windows(2).map(|pair| self.id(piece, pair[0].0, pair[1].0)));
    }

    /// The same for long pieces, with a heap of pairs: pairs whose parts have changed meanwhile are passed over.
    fn merge_by_heap(&self, piece: &[u8], ids: &mut Vec<u32>) {
        let n = piece.len();
        // The part that starts at `i` ends at `end[i]` (0: there is none) and the one before it starts at `before[i]`.
        let mut end: Vec<usize> = (1..=n).collect();
        let mut before: Vec<usize> = (0..n).map(|i| i.saturating_sub(1)).collect();
        let pair = |start: usize, middle: usize, end: &[usize]| {
            let stop = *end.get(middle)?;
            let id = self.id(piece, start, stop);
            (id != NONE).then_some(Reverse((id, start, middle, stop)))
        };
        let mut heap: BinaryHeap<_> = (0..n - 1).filter_map(|i| pair(i, i + 1, &end)).collect();
        while let Some(Reverse((_, start, middle, stop))) = heap.pop() {
            if end[start] != middle || end[middle] != stop {
                continue;
            }
            (end[start], end[middle]) = (stop, 0);
            if stop < n {
                before[stop] = start;
            }
            heap.extend(pair(start, stop, &end));
            if start > 0 {
                heap.extend(pair(before[start], start, &end));
            }
        }
        let mut start = 0;
        while start < n {
            ids.push(self.id(piece, start, end[start]));
            start = end[start];
        }
    }
}

/// Up to [`SHORT`] bytes from `start` and their number, as one number.
#[inline]
fn key(bytes: &[u8], start: usize, len: usize) -> u128 {
    let value = match bytes.get(start..start + 16) {
        Some(window) => {
            let mut whole = [0; 16];
            whole.copy_from_slice(window);
            u128::from_le_bytes(whole) & ((1 << (8 * len)) - 1)
        }
        None => bytes[start..start + len].iter().rev().fold(0, |value, byte| value << 8 | u128::from(*byte)),
    };
    value | (len as u128) << 120
}

/// Hashes one number by multiplying it with its halves folded together. Not for keys that an enemy chose to collide: the
/// table's are fixed, and the memory's are few.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u128(u128::from(*byte));
        }
    }

    #[inline]
    fn write_u128(&mut self, value: u128) {
        let (low, high) = (value as u64 ^ self.0, (value >> 64) as u64);
        let product = u128::from(low ^ 0x9E37_79B9_7F4A_7C15) * u128::from(high ^ 0xC2B2_AE3D_27D4_EB4F);
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
}
