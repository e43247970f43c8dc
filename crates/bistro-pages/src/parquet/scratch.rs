//! Memory of a page's bytes that the thread keeps for its next page: clearing new memory took a seventh of the time of a page.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Buffers that a thread keeps: a page needs one for its bytes as they come and one for what is unpacked.
const KEPT: usize = 2;

/// Larger buffers are given back at once.
const MOST_KEPT: usize = 16 << 20;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// So many bytes of anything; the thread that drops it keeps its memory.
#[derive(Debug)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    len: usize,
}

impl Scratch {
    /// `len` bytes, with what a page before left in them.
    pub(super) fn new(len: usize) -> Self {
        let mut bytes = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        Self { bytes, len }
    }

    /// Leaves only the first `len` bytes, if there are more.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }
}

impl Deref for Scratch {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // A thread that ends has no buffers any more.
        let _ = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            if bytes.capacity() <= MOST_KEPT && buffers.len() < KEPT {
                buffers.push(bytes);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_within_bounds() {
        let first = Scratch::new(1000).as_ptr();
        assert_eq!(Scratch::new(500).as_ptr(), first);
        assert_eq!(Scratch::new(500).len(), 500);
        drop([1, 2, 3].map(Scratch::new));
        assert_eq!(BUFFERS.with_borrow(Vec::len), KEPT);
        drop([(); KEPT].map(|()| Scratch::new(MOST_KEPT + 1)));
        assert_eq!(BUFFERS.with_borrow(Vec::len), 0);
    }
}
