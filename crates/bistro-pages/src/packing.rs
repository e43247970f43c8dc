//! Documents to sequences.

use bistro_core::tokens::TokenBatch;

/// Joins documents, each followed by `end_of_text`, and cuts the whole into sequences of `seq` tokens without padding.
/// What is left over at the end, less than one sequence, is dropped.
pub fn pack(documents: impl IntoIterator<Item = Vec<u32>>, end_of_text: u32, seq: usize) -> TokenBatch {
    let mut ids = Vec::new();
    for document in documents {
        ids.extend(document);
        ids.push(end_of_text);
    }
    ids.truncate(ids.len() - ids.len().checked_rem(seq).unwrap_or(ids.len()));
    TokenBatch { seq, ids }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static [&'static [u32]], usize, &'static [u32]);

    #[test]
    fn sequences_are_full_and_documents_end() {
        let table: [Case; 7] = [
            (&[], 4, &[]),
            (&[&[1, 2]], 4, &[]),
            (&[&[1, 2, 3]], 4, &[1, 2, 3, 0]),
            (&[&[1, 2], &[3]], 4, &[1, 2, 0, 3]),
            (&[&[1, 2], &[], &[3, 4, 5]], 4, &[1, 2, 0, 0, 3, 4, 5, 0]),
            (&[&[1, 2, 3, 4, 5, 6, 7]], 3, &[1, 2, 3, 4, 5, 6]),
            (&[&[1, 2]], 0, &[]),
        ];
        for (documents, seq, ids) in table {
            let packed = pack(documents.iter().map(|d| d.to_vec()), 0, seq);
            assert_eq!(packed, TokenBatch { seq, ids: ids.to_vec() }, "{documents:?} by {seq}");
        }
    }
}
