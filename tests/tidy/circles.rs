//! Files that import each other in a circle are one subject cut in two, or two that are mixed.

use std::collections::{BTreeMap, BTreeSet};
use syn::visit::Visit;

/// A file's place in its crate: `docker/pull.rs` is `[docker, pull]`, the root is `[]`.
type Place = Vec<String>;

/// The crate's files, each with what it imports of the others.
type Imports = BTreeMap<Place, BTreeSet<Place>>;

fn place_of(path: &str) -> Place {
    let mut parts: Place = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// Collects the paths that a file names, from its crate's root.
struct Names<'a> {
    own: &'a Place,
    found: Vec<Place>,
}

impl Names<'_> {
    /// What `crate`, `self` and `super` mean here, in front of the rest.
    fn add(&mut self, path: &[String]) {
        let (mut from, mut rest): (Place, &[String]) = match path.first().map(String::as_str) {
            Some("crate") => (vec![], &path[1..]),
            Some("self") => (self.own.clone(), &path[1..]),
            Some("super") => (self.own.clone(), path),
            _ => return,
        };
        while rest.first().is_some_and(|name| name == "super") {
            from.pop();
            rest = &rest[1..];
        }
        from.extend(rest.iter().cloned());
        self.found.push(from);
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.add(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.add(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|one| self.tree(before, one));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|one| one.ident.to_string()).collect();
        self.add(&names);
        syn::visit::visit_path(self, path);
    }

    /// What a file's own tests import makes no circle.
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }
}

/// What each file of a crate imports; a file and what it is cut into are one subject.
pub fn imports(files: &[(String, String)]) -> Imports {
    let places: BTreeSet<Place> = files.iter().map(|(path, _)| place_of(path)).collect();
    let mut all = Imports::new();
    for (path, text) in files {
        let own = place_of(path);
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut names = Names { own: &own, found: vec![] };
        names.visit_file(&parsed);
        let file_of = |name: &Place| {
            let beginnings = (1..=name.len()).rev().map(|end| name[..end].to_vec());
            beginnings.into_iter().find(|place| places.contains(place))
        };
        let others = names.found.iter().filter_map(file_of);
        let others = others.filter(|place| !own.starts_with(place) && !place.starts_with(&own));
        all.entry(own.clone()).or_default().extend(others);
    }
    all
}

/// The files from which the way leads back to them, by their names.
pub fn circles(imports: &Imports) -> Vec<String> {
    let leads_back = |start: &Place| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(place) = next.pop() {
            for other in imports.get(place).into_iter().flatten() {
                if other == start {
                    return true;
                }
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        false
    };
    imports.keys().filter(|place| leads_back(place)).map(|place| place.join("/")).collect()
}
