//! Where GPT-2 cuts a text into pieces, which are then encoded one by one: what the regular expression
//! `'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+$|\s+(?!\S)|\s` finds, by hand.

use super::unicode::{Kind, kinds};

/// Finds pieces in one text.
pub struct Scanner<'a> {
    text: &'a [u8],
    kinds: &'static [Kind],
}

impl<'a> Scanner<'a> {
    /// Over all of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), kinds: kinds() }
    }

    /// The end of the piece that starts at `start`, which is before the end of the text and at a character's beginning.
    #[inline]
    pub fn end(&self, start: usize) -> usize {
        let first = self.text[start];
        if first == b'\''
            && let Some(end) = self.contraction(start)
        {
            return end;
        }
        let body = if first == b' ' { start + 1 } else { start };
        match self.kind_at(body) {
            // Behind a space, or not behind one, a run of anything but white space; a space alone is white space itself.
            Some((kind, len)) if kind != Kind::Space => self.run(body + len, kind),
            _ => self.spaces(start),
        }
    }

    /// The end of an English contraction's tail, such as `'re`, at the apostrophe `start`.
    fn contraction(&self, start: usize) -> Option<usize> {
        match self.text.get(start + 1)? {
            b's' | b'd' | b'm' | b't' => Some(start + 2),
            first => match (first, self.text.get(start + 2)?) {
                (b'l', b'l') | (b'v' | b'r', b'e') => Some(start + 3),
                _ => None,
            },
        }
    }

    /// The end of the run of `kind` that goes on at `at`.
    #[inline]
    fn run(&self, mut at: usize, kind: Kind) -> usize {
        while let Some((found, len)) = self.kind_at(at) {
            if found != kind {
                break;
            }
            at += len;
        }
        at
    }

    /// The end of the piece that starts with white space at `start`: all of it at the end of the text; else all but its last
    /// character, which may belong to what follows, but at least one.
    fn spaces(&self, start: usize) -> usize {
        let (mut at, mut last) = (start, start);
        while let Some((Kind::Space, len)) = self.kind_at(at) {
            last = at;
            at += len;
        }
        if at == self.text.len() || last == start { at } else { last }
    }

    /// Kind and length of the character at `at`; `None` at the end.
    #[inline]
    fn kind_at(&self, at: usize) -> Option<(Kind, usize)> {
        let first = *self.text.get(at)?;
        if first < 0x80 {
            return Some((self.kinds[usize::from(first)], 1));
        }
        let (number, len) = self.decode(at, first);
        Some((self.kinds[number], len))
    }

    /// Number and length of the character of several bytes at `at`. The text is a `str`, so its bytes follow the rules.
    #[inline]
    fn decode(&self, at: usize, first: u8) -> (usize, usize) {
        let tail = |i: usize| usize::from(self.text[at + i] & 0x3f);
        let head = usize::from(first);
        match first {
            0..0xe0 => ((head & 0x1f) << 6 | tail(1), 2),
            0xe0..0xf0 => ((head & 0x0f) << 12 | tail(1) << 6 | tail(2), 3),
            _ => ((head & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<&str> {
        let scanner = Scanner::new(text);
        let mut start = 0;
        let mut pieces = Vec::new();
        while start < text.len() {
            let end = scanner.end(start);
            pieces.push(&text[start..end]);
            start = end;
        }
        pieces
    }

    #[test]
    fn pieces_are_cut_as_the_expression_says() {
        let table: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("We the people", &["We", " the", " people"]),
            ("I'll've 'tis it's", &["I", "'ll", "'ve", " '", "tis", " it", "'s"]),
            ("a  b", &["a", " ", " b"]),
            ("a \n b", &["a", " \n", " b"]),
            ("a\nb", &["a", "\n", "b"]),
            ("a\n\nb", &["a", "\n", "\n", "b"]),
            ("end  \n", &["end", "  \n"]),
            ("x1½ 23!? é漢", &["x", "1½", " 23", "!?", " é漢"]),
            ("\u{a0}word", &["\u{a0}", "word"]),
            (" \u{a0} word", &[" \u{a0}", " word"]),
            ("e\u{301}🦀'", &["e", "\u{301}🦀'"]),
        ];
        for (text, expected) in table {
            assert_eq!(pieces(text), expected, "{text:?}");
        }
    }
}
