//! Names of containers and images, which a Docker Engine also takes ids for.
//!
//! A pattern is one of names: `main*` is no container whose id begins so, whatever it is called.

use super::Glob;
use super::images::is_image;
use crate::resource::ResourceKind;

/// So much of a container's id is shown as its name; only the whole of it is ever taken for one.
const SHOWN: usize = 12;

/// Whether a name may be the id of something that has another name, too. Of an image an engine
/// takes any beginning of its id that no other image has (Docker docs, *docker image inspect*).
pub(super) fn may_be_id(kind: ResourceKind, name: &str) -> bool {
    let is_hex = !name.is_empty() && name.chars().all(|c| c.is_ascii_hexdigit());
    match kind {
        ResourceKind::Image => name.starts_with("sha256:") || is_hex,
        // Its environment names it.
        ResourceKind::Pool => false,
        _ => is_hex && name.len() >= SHOWN,
    }
}

/// Whether a pattern is one of this name. An id is only what the pattern spells, or what stands for
/// anything.
pub(super) fn is_name(pattern: &Glob, kind: ResourceKind, name: &str) -> bool {
    match may_be_id(kind, name) {
        true => pattern.is_any() || pattern.0 == name,
        false if kind == ResourceKind::Image => is_image(pattern, name),
        false => pattern.matches(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_of_names_is_none_of_ids() {
        let id = &"d0".repeat(32);
        let of_image = &format!("sha256:{id}");
        for (pattern, kind, name, wanted) in [
            ("d*", ResourceKind::Container, "db", true),
            ("d*", ResourceKind::Container, id.as_str(), false),
            ("*", ResourceKind::Container, id, true),
            (id, ResourceKind::Container, id, true),
            ("d*", ResourceKind::Image, "db:16", true),
            ("d*", ResourceKind::Image, "d0d0", false),
            ("d*", ResourceKind::Image, "d", false),
            ("sha*", ResourceKind::Image, of_image, false),
            ("*", ResourceKind::Image, "d0d0", true),
            (of_image, ResourceKind::Image, of_image, true),
        ] {
            assert_eq!(is_name(&Glob(pattern.to_owned()), kind, name), wanted, "{pattern} {name}");
        }
    }
}
