//! Tags as EC2 takes them (Amazon EC2 User Guide, *Tag restrictions*).

use std::collections::BTreeMap;

const TAGS_MAX: usize = 50;
const KEY_CHARS_MAX: usize = 128;
const VALUE_CHARS_MAX: usize = 256;
/// What an operation creates carries two of its own.
const STAMPS: usize = 2;

/// Why something new can't be given these tags.
pub fn unfit_tags(tags: &BTreeMap<String, String>) -> Option<String> {
    let most = TAGS_MAX - STAMPS;
    if tags.len() > most {
        let count = tags.len();
        return Some(format!("{count} tags are too many: there is room for {most}"));
    }
    tags.iter().find_map(|(key, value)| unfit_tag(key, value))
}

/// Why what has these tags can't be given one more.
pub fn no_room_for(key: &str, tags: &BTreeMap<String, String>) -> Option<String> {
    let is_full = tags.len() >= TAGS_MAX && !tags.contains_key(key);
    is_full.then(|| format!("it has {TAGS_MAX} tags, and there is no room for `{key}`"))
}

/// Why nothing can have this tag.
pub fn unfit_tag(key: &str, value: &str) -> Option<String> {
    if key.is_empty() {
        return Some("a tag's key can't be empty".to_owned());
    }
    if key.chars().count() > KEY_CHARS_MAX {
        return Some(format!("a tag's key has at most {KEY_CHARS_MAX} characters: `{key}`"));
    }
    let is_long = value.chars().count() > VALUE_CHARS_MAX;
    is_long.then(|| format!("the tag `{key}` has more than {VALUE_CHARS_MAX} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_as_many_and_as_long_as_ec2_takes_them() {
        let many = |count: usize| -> BTreeMap<String, String> {
            (0..count).map(|n| (format!("k{n}"), String::new())).collect()
        };
        assert_eq!(unfit_tags(&many(48)), None);
        assert!(unfit_tags(&many(49)).is_some());
        assert_eq!(no_room_for("k1", &many(50)), None, "it is replaced");
        assert!(no_room_for("other", &many(50)).is_some());
        assert_eq!(no_room_for("other", &many(49)), None);
        let text = |count: usize| "ä".repeat(count);
        assert_eq!(unfit_tag(&text(128), &text(256)), None, "characters, not bytes");
        for (key, value) in [(0, 1), (129, 1), (1, 257)] {
            assert!(unfit_tag(&text(key), &text(value)).is_some(), "{key} {value}");
        }
    }
}
