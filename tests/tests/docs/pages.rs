//! The pages that people read, and what is in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// One page.
pub(crate) struct Page {
    /// Relative to the root.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A fenced block.
pub(crate) struct Block {
    /// What follows the fence: `json`, or nothing for a shell's lines.
    pub(crate) language: String,
    pub(crate) text: String,
}

/// All pages: those of the root, and of docs.
pub(crate) fn all() -> Vec<Page> {
    let root = root();
    let mut files = Vec::new();
    markdown(&root, false, &mut files);
    markdown(&root.join("docs"), true, &mut files);
    files.sort();
    let page = |path: PathBuf| Page {
        name: path.strip_prefix(&root).unwrap().display().to_string(),
        text: fs::read_to_string(&path).unwrap(),
        path,
    };
    files.into_iter().map(page).collect()
}

fn markdown(dir: &Path, deep: bool, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && deep {
            markdown(&path, deep, files);
        } else if path.extension().is_some_and(|e| e == "md") {
            files.push(path);
        }
    }
}

impl Page {
    /// The fenced blocks, in order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let mut parts = self.text.split("\n```");
        let mut blocks = Vec::new();
        parts.next();
        while let Some(part) = parts.next() {
            let (language, text) = part.split_once('\n').unwrap_or((part, ""));
            blocks.push(Block { language: language.trim().to_owned(), text: text.to_owned() });
            parts.next();
        }
        blocks
    }

    /// What stands outside of fenced blocks.
    pub(crate) fn prose(&self) -> String {
        self.text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
    }

    /// Spans of code in the prose.
    pub(crate) fn spans(&self) -> Vec<String> {
        self.prose()
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    }

    /// Headings as links name them.
    pub(crate) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings = prose
            .lines()
            .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#')));
        headings.map(anchor).collect()
    }
}

/// As GitHub makes them: lower case, spaces become hyphens, and of the rest only letters, digits, hyphens and underscores stay.
pub(crate) fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

#[test]
fn a_page_is_cut_into_prose_and_blocks() {
    let text = "# One `Two`: three?\n\nSay `a b`.\n\n```json\n{}\n```\n\nThen\n`c\nd`.\n\n```\nls\n```\n".to_owned();
    let page = Page { name: String::new(), path: PathBuf::new(), text };
    let blocks: Vec<_> = page.blocks().into_iter().map(|b| (b.language, b.text)).collect();
    assert_eq!(blocks, [("json".to_owned(), "{}".to_owned()), (String::new(), "ls".to_owned())]);
    assert_eq!(page.spans(), ["Two", "a b", "c d"]);
    assert_eq!(page.anchors(), ["one-two-three"]);
}
