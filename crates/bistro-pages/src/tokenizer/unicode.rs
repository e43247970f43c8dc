//! Letters, numbers and white space, from the tables of the regular expressions that the reference tokenizer runs on: both
//! always know the same version of Unicode.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// What a character is to the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// None of the others: punctuation, marks, symbols, what is not assigned.
    Other,
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
}

/// The kind of every character, by its number.
static KINDS: LazyLock<Box<[Kind]>> = LazyLock::new(|| {
    let mut kinds = vec![Kind::Other; char::MAX as usize + 1];
    for (class, kind) in [(r"\p{L}", Kind::Letter), (r"\p{N}", Kind::Number), (r"\s", Kind::Space)] {
        // The expressions are constants; `ids_are_the_references` would fail were one not a class.
        let Ok(hir) = regex_syntax::parse(class) else { continue };
        if let HirKind::Class(Class::Unicode(class)) = hir.kind() {
            for range in class.ranges() {
                kinds[range.start() as usize..=range.end() as usize].fill(kind);
            }
        }
    }
    kinds.into_boxed_slice()
});

/// The table, for many look-ups.
pub fn kinds() -> &'static [Kind] {
    &KINDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_unicodes() {
        for (character, kind) in [
            ('a', Kind::Letter),
            ('é', Kind::Letter),
            ('漢', Kind::Letter),
            ('7', Kind::Number),
            ('½', Kind::Number),
            ('٣', Kind::Number),
            (' ', Kind::Space),
            ('\u{a0}', Kind::Space),
            ('\u{2028}', Kind::Space),
            ('\u{200b}', Kind::Other),
            ('\u{301}', Kind::Other),
            ('🦀', Kind::Other),
            ('\0', Kind::Other),
        ] {
            assert_eq!(kinds()[character as usize], kind, "{character:?}");
        }
        // The standard library has its own tables, of its own version; of the oldest part of Unicode they agree.
        for number in 0..0x500_u32 {
            let Some(c) = char::from_u32(number) else { continue };
            assert_eq!(kinds()[number as usize] == Kind::Space, c.is_whitespace(), "{c:?}");
            assert_eq!(kinds()[number as usize] == Kind::Number, c.is_numeric(), "{c:?}");
        }
    }
}
