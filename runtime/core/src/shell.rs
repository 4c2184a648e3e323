//! Words of commands that people paste into a shell.

/// A name as one word of a shell; one that is plain as it is. None begins an option.
pub fn word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    match !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => quoted(name),
    }
}

/// One word of a shell, whatever is in it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_word_a_shell_takes_it_as_one() {
        let table = [
            ("database/main", "database/main"),
            ("", "''"),
            ("--reason", "'--reason'"),
            ("/tmp/x; touch y #", "'/tmp/x; touch y #'"),
            ("Ann's", r"'Ann'\''s'"),
        ];
        for (name, wanted) in table {
            assert_eq!(word(name), wanted);
        }
    }
}
