//! Documents to sequences.

use bistro_core::tokens::{PAD, Packing, TokenBatch};

/// Makes sequences of `seq` tokens out of documents.
pub fn pack(
    packing: Packing,
    documents: impl IntoIterator<Item = Vec<u32>>,
    end_of_text: u32,
    seq: usize,
) -> TokenBatch {
    match packing {
        Packing::Join => join(documents, end_of_text, seq),
        Packing::Pad => pad(documents, seq),
    }
}

/// Joins documents, each followed by `end_of_text`, and cuts the whole into sequences of `seq` tokens without padding.
/// What is left over at the end, less than one sequence, is dropped.
pub fn join(documents: impl IntoIterator<Item = Vec<u32>>, end_of_text: u32, seq: usize) -> TokenBatch {
    let mut ids = Vec::new();
    for document in documents {
        ids.extend(document);
        ids.push(end_of_text);
    }
    ids.truncate(ids.len() - ids.len().checked_rem(seq).unwrap_or(ids.len()));
    TokenBatch { seq, ids }
}

/// Begins a sequence with each document, and fills its last one up with [`PAD`]: the original's way. A sequence of a single
/// token has nothing to predict and is left out, so no sequence is padding alone.
pub fn pad(documents: impl IntoIterator<Item = Vec<u32>>, seq: usize) -> TokenBatch {
    let mut ids = Vec::new();
    for document in documents {
        for part in document.chunks(seq.max(1)).filter(|part| part.len() > 1) {
            ids.extend_from_slice(part);
            ids.extend(std::iter::repeat_n(PAD, seq - part.len()));
        }
    }
    TokenBatch { seq, ids }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case = (&'static [&'static [u32]], usize, &'static [u32]);

    #[test]
    fn joined_sequences_are_full_and_documents_end() {
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
            let packed = pack(Packing::Join, documents.iter().map(|d| d.to_vec()), 0, seq);
            assert_eq!(packed, TokenBatch { seq, ids: ids.to_vec() }, "{documents:?} by {seq}");
        }
    }

    #[test]
    fn padded_sequences_begin_with_a_document_and_have_something_to_predict() {
        const P: u32 = PAD;
        let table: [Case; 6] = [
            (&[], 4, &[]),
            (&[&[], &[1]], 4, &[]),
            (&[&[1, 2], &[3, 4, 5, 6]], 4, &[1, 2, P, P, 3, 4, 5, 6]),
            (&[&[1, 2, 3, 4, 5], &[6, 7]], 4, &[1, 2, 3, 4, 6, 7, P, P]),
            (&[&[1, 2, 3, 4, 5, 6]], 4, &[1, 2, 3, 4, 5, 6, P, P]),
            (&[&[1, 2]], 0, &[]),
        ];
        for (documents, seq, ids) in table {
            let packed = pack(Packing::Pad, documents.iter().map(|d| d.to_vec()), 0, seq);
            assert_eq!(packed, TokenBatch { seq, ids: ids.to_vec() }, "{documents:?} by {seq}");
            assert!(packed.chunks(1).all(|sequence| !sequence.is_empty()));
        }
    }
}
