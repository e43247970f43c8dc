//! The files of a folder, in an order that is the same on every machine.

use std::path::{Path, PathBuf};

use crate::error::PagesError;

/// What a folder's rows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderKind {
    /// `.txt`: plain text, cut into rows.
    Text,
    /// `.jsonl`: a JSON object a line, a row each.
    JsonLines,
    /// `.parquet`: tables.
    Parquet,
}

const KINDS: [(FolderKind, &str); 3] =
    [(FolderKind::Text, "txt"), (FolderKind::JsonLines, "jsonl"), (FolderKind::Parquet, "parquet")];

/// Files: path from the top with parts joined by `/` on every system, and where it is. Sorted by the former.
pub type Files = Vec<(String, PathBuf)>;

/// The one kind of files that a folder has, and these files.
pub fn files(folder: &Path) -> Result<(FolderKind, Files), PagesError> {
    if !folder.is_dir() {
        return Err(PagesError::NoFolder(folder.into()));
    }
    let mut found: Option<(FolderKind, &'static str, Files)> = None;
    for (kind, extension) in KINDS {
        let files = walk(folder, &[extension])?;
        match &found {
            _ if files.is_empty() => {}
            Some((_, other, _)) => return Err(PagesError::Mixed(folder.into(), other, extension)),
            None => found = Some((kind, extension, files)),
        }
    }
    let (kind, _, files) = found.ok_or_else(|| PagesError::NoText(folder.into()))?;
    Ok((kind, files))
}

/// All files with one of the extensions, in the order of their paths. Links to folders are not followed, so the walk ends.
pub fn walk(folder: &Path, extensions: &[&str]) -> Result<Files, PagesError> {
    let mut found = Vec::new();
    walk_into(folder, "", extensions, &mut found)?;
    found.sort();
    Ok(found)
}

fn walk_into(folder: &Path, prefix: &str, extensions: &[&str], found: &mut Files) -> Result<(), PagesError> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let is_folder = entry.file_type()?.is_dir();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let is_wanted = extension.is_some_and(|extension| extensions.contains(&extension)) && path.is_file();
        if !is_folder && !is_wanted {
            continue;
        }
        let name = entry.file_name().into_string().map_err(|_| PagesError::Name(path.clone()))?;
        let name = format!("{prefix}{name}");
        if is_folder {
            walk_into(&path, &format!("{name}/"), extensions, found)?;
        } else {
            found.push((name, path));
        }
    }
    Ok(())
}
