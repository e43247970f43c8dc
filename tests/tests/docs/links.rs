//! Links between pages.

use crate::pages::{self, Page};

/// Targets of links in the prose: `[words](target)`.
fn targets(page: &Page) -> Vec<String> {
    let prose = page.prose();
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    let pages = pages::all();
    let mut dead = Vec::new();
    let mut followed = 0;
    for page in &pages {
        for target in targets(page).into_iter().filter(|t| !t.starts_with("http")) {
            let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(f, a)| (f, Some(a)));
            let path = if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(file) };
            let there = path.canonicalize().ok();
            let heading = |anchor: &str| {
                let found = pages.iter().find(|p| Some(&p.path) == there.as_ref());
                found.is_none_or(|p| p.anchors().iter().any(|a| a == anchor))
            };
            if there.is_none() || anchor.is_some_and(|a| !heading(a)) {
                dead.push(format!("{}: {target}", page.name));
            }
            followed += 1;
        }
    }
    assert!(dead.is_empty(), "these lead nowhere:\n{}", dead.join("\n"));
    assert!(followed > 50, "only {followed} links were found: is the reader of pages broken?");
}
