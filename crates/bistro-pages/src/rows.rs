//! Where a text is cut into rows, and the row of a JSON line.

use std::ops::Range;

/// Ends of sentences, seen from the next word.
const SENTENCE: [&str; 3] = [". ", "! ", "? "];

/// The rows of `text`, end to end: together they are the whole text, each of at most `row_bytes` (at least 4) bytes of
/// whole characters. A row ends at the last paragraph, else line, else sentence, else word whose end stands in its second half.
pub fn cut(text: &str, row_bytes: usize) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        if rest.is_empty() {
            return None;
        }
        let row = start..start + row_len(rest, row_bytes);
        start = row.end;
        Some(row)
    })
}

/// The text of a JSON line, which stands in `column`; a missing value is an empty text. Else what is wrong, in words.
pub fn of_json(line: &str, column: &str) -> Result<String, String> {
    let mut object: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(line).map_err(|e| e.to_string())?;
    match object.remove(column) {
        Some(serde_json::Value::String(text)) => Ok(text),
        Some(serde_json::Value::Null) => Ok(String::new()),
        Some(_) => Err("it holds something else than text".into()),
        None => Err("there is none".into()),
    }
}

fn row_len(text: &str, row_bytes: usize) -> usize {
    if text.len() <= row_bytes {
        return text.len();
    }
    let limit = text.floor_char_boundary(row_bytes);
    let half = text.ceil_char_boundary(row_bytes / 2).min(limit);
    let window = &text[half..limit];
    let end_of = |mark: &str| window.rfind(mark).map(|at| half + at + mark.len());
    end_of("\n\n")
        .or_else(|| end_of("\n"))
        .or_else(|| SENTENCE.into_iter().filter_map(end_of).max())
        .or_else(|| end_of(" "))
        .unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows(text: &str, row_bytes: usize) -> Vec<&str> {
        cut(text, row_bytes).map(|range| &text[range]).collect()
    }

    #[test]
    fn the_best_boundary_of_the_second_half_wins() {
        let table: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("short", &["short"]),
            ("one. two three\n\nfour\nfive six", &["one. two three\n\n", "four\nfive six"]),
            ("a b c d e f\ng h. i j k l m n", &["a b c d e f\n", "g h. i j k l m n"]),
            ("one two six. four five", &["one two six. ", "four five"]),
            ("Why so? Now! one two three", &["Why so? Now! ", "one two three"]),
            ("\n\nabcdefghijklmnopqrstuvwxyz", &["\n\nabcdefghijklmnop", "qrstuvwxyz"]),
            ("one two three four five", &["one two three ", "four five"]),
        ];
        for (text, expected) in table {
            assert_eq!(rows(text, 18), expected, "{text:?}");
        }
    }

    #[test]
    fn characters_stay_whole() {
        assert_eq!(rows("ééééé", 5), ["éé", "éé", "é"]);
        assert_eq!(rows("🦀🦀🦀", 4), ["🦀", "🦀", "🦀"]);
    }

    proptest! {
        #[test]
        fn rows_are_the_text_and_no_longer_than_allowed(text in "(\\PC|[ .\\n]){0,400}", row_bytes in 4_usize..60) {
            let rows = rows(&text, row_bytes);
            prop_assert_eq!(rows.concat(), text.as_str());
            for (i, row) in rows.iter().enumerate() {
                prop_assert!(!row.is_empty() && row.len() <= row_bytes);
                // A character of up to four bytes may not fit at the cut.
                prop_assert!(i + 1 == rows.len() || row.len() * 2 + 6 >= row_bytes, "{row:?} is short");
            }
        }
    }
}
