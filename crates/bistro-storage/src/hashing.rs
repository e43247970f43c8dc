//! BLAKE3 in step with a download. The hash is a tree over the object, so pieces that come at the same time, in any order,
//! are hashed each for itself while their bytes are still in the processor's cache, and joined at the end.

use bistro_core::ids::Hash;
use blake3::Hasher;
use blake3::hazmat::{
    ChainingValue, HasherExt as _, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

/// Bytes of a piece, except the last: a power of two, so that each piece is one subtree. With 8 MiB, the questions to the
/// server cost as much time as a third of the answers; see `scripts/bench/s3.sh`.
pub(crate) const PIECE: u64 = 32 << 20;

/// Hashes the piece that begins at `offset`, a multiple of [`PIECE`], of an object that has more than one.
pub(crate) fn of_piece(offset: u64) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(offset);
    hasher
}

/// The hash of a piece whose bytes have all come.
pub(crate) fn end(piece: &Hasher) -> ChainingValue {
    piece.finalize_non_root()
}

/// The object's hash from those of its pieces (two or more, in order) and its length.
pub(crate) fn join(pieces: &[ChainingValue], length: u64) -> Hash {
    let (left, right) = halves(pieces, length);
    Hash(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn halves(pieces: &[ChainingValue], length: u64) -> (ChainingValue, ChainingValue) {
    let left = left_subtree_len(length);
    let (first, second) = pieces.split_at((left / PIECE) as usize);
    (subtree(first, left), subtree(second, length - left))
}

fn subtree(pieces: &[ChainingValue], length: u64) -> ChainingValue {
    if let [one] = pieces {
        return *one;
    }
    let (left, right) = halves(pieces, length);
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_join_to_the_hash_of_the_whole() {
        let all = crate::conformance::body(3 * PIECE as usize + 12_345);
        for length in [PIECE + 1, 2 * PIECE, 2 * PIECE + 1024, 3 * PIECE - 1, 3 * PIECE, 3 * PIECE + 12_345] {
            let whole = &all[..length as usize];
            let pieces = whole.chunks(PIECE as usize).zip(0..).map(|(piece, i)| {
                let mut hasher = of_piece(i * PIECE);
                // As a network delivers it: in bits and pieces.
                for some in piece.chunks(70_001) {
                    hasher.update(some);
                }
                end(&hasher)
            });
            let pieces: Vec<_> = pieces.collect();
            assert_eq!(join(&pieces, length), Hash::of(whole), "{length}");
        }
    }
}
