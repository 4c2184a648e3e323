//! What an engine tells that may be a password of somebody else, who declared no secret: it is
//! masked before anybody is told.
//!
//! An engine's errors have the options of volumes, and the program that it could not start.

use bollard::models::ContainerInspectResponse;
use stepback_provider::passwords::{MASK, is_password, marked, quoted_by_go, without_login};
use stepback_provider::volume_options::{shown_device, shown_mount_options};

/// A shorter piece of a command is in texts that have nothing to do with it.
const WORD_BYTES_MIN: usize = 8;

/// An engine's message without the values of such options, wherever they are in it.
pub(super) fn without_options(message: &str) -> String {
    let message = without_mount_data(&marked(message));
    // Whatever else a value may have in it, it has no blank.
    let is_end = char::is_whitespace;
    let is_name = |c: char| c.is_ascii_alphanumeric() || ['_', '-'].contains(&c);
    let (mut told, mut rest) = (String::with_capacity(message.len()), message.as_str());
    while let Some(at) = rest.find('=') {
        let (before, behind) = (&rest[..at], &rest[at + 1..]);
        let name = &before[before.trim_end_matches(is_name).len()..];
        let value = &behind[..behind.find(is_end).unwrap_or(behind.len())];
        told.push_str(before);
        told.push('=');
        match !value.is_empty() && is_password(name) {
            true => {
                told.push_str(MASK);
                rest = &behind[value.len()..];
            }
            false => rest = behind,
        }
    }
    told.push_str(rest);
    let word = |word: &str| match word.contains("//") || word.contains('@') {
        true => without_login(word),
        false => word.to_owned(),
    };
    told.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// A message without what a mount that failed was given, but for what is known to hold no
/// password: the engine tells it as `mount DEVICE:PATH, data: OPTIONS: ERROR`, or without the
/// options, and its own error has no colon. A device may have colons in it, and blanks.
fn without_mount_data(message: &str) -> String {
    const MOUNT: &str = "failed to mount local volume: mount ";
    const DATA: &str = ", data: ";
    let Some(at) = message.find(MOUNT).map(|at| at + MOUNT.len()) else {
        return message.to_owned();
    };
    let ends = message[at..].rfind(": ").map_or(message.len(), |found| at + found);
    let data = message[at..ends].rfind(DATA).map(|found| at + found);
    let given = &message[at..data.unwrap_or(ends)];
    let (device, path) = given.split_at(given.rfind(":/").unwrap_or(given.len()));
    let options = data.map(|data| shown_mount_options(&message[data + DATA.len()..ends]));
    let options = options.map(|options| format!("{DATA}{options}")).unwrap_or_default();
    format!("{}{}{path}{options}{}", &message[..at], shown_device(device), &message[ends..])
}

/// A message about a container without the pieces of its command: a command may hold passwords.
pub(super) fn without_command(message: &str, found: &ContainerInspectResponse) -> String {
    let config = found.config.as_ref();
    let given = config.map(|config| [&config.entrypoint, &config.cmd]);
    let given = given.into_iter().flatten().flatten().flatten();
    let mut words: Vec<&String> =
        found.path.iter().chain(found.args.iter().flatten()).chain(given).collect();
    words.retain(|word| word.len() >= WORD_BYTES_MIN);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let mut told = marked(message);
    for word in words {
        // In quotes it is written as Go writes it.
        let quoted = format!("{word:?}");
        told = told.replace(&quoted[1..quoted.len() - 1], MASK);
        for quoted in quoted_by_go(word) {
            told = told.replace(&quoted, MASK);
        }
        told = told.replace(word.as_str(), MASK);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ContainerConfig;
    use std::sync::Arc;
    use stepback_provider::passwords::marking;

    #[test]
    fn an_engines_message_tells_no_options_values() {
        for (message, wanted) in [
            (
                "failed to mount local volume: mount a:/:/x, data: name=u,SECRET=AQ==,r=1: denied",
                "failed to mount local volume: mount a:/:/x, data: name=u,SECRET=*** denied",
            ),
            (
                "failed to mount local volume: mount //nas/x:/v/x, data: user=ann%b c: d,b,ro: no",
                "failed to mount local volume: mount //nas/x:/v/x, data: user=***,***,ro: no",
            ),
            (
                "failed to mount local volume: mount //ann:Zq9 b@nas/x:/v/x, data: vers=3.0: no",
                "failed to mount local volume: mount //***@nas/x:/v/x, data: vers=3.0: no",
            ),
            (
                "failed to mount local volume: mount https://h/x?code=b#c:/v/x: no such device",
                "failed to mount local volume: mount https://h/x?***:/v/x: no such device",
            ),
            (
                "failed to mount local volume: mount -p b:/v/x: no such device",
                "failed to mount local volume: mount ***:/v/x: no such device",
            ),
            ("data: secret=AQ==: denied", "data: secret=*** denied"),
            (
                "Get \"https://auth.io/token?scope=a\": no",
                "Get \"https://auth.io/token?scope=a\": no",
            ),
            ("mount https://ann:b@h/x: no", "mount https://***@h/x: no"),
            ("mount //ann:b@h/x: no", "mount //***@h/x: no"),
            ("--password=a,b'c&d no", "--password=*** no"),
            ("a = b == c password= d", "a = b == c password= d"),
        ] {
            assert_eq!(without_options(message), wanted);
        }
    }

    /// What a mask cuts in two would be found by nobody afterwards.
    #[tokio::test]
    async fn a_declared_secret_is_marked_before_anything_is_cut() {
        let marks = Arc::new(crate::hidden::tests::One("pa@LEAK'ss"));
        let told = async {
            let words = ContainerInspectResponse {
                args: Some(vec!["X\": executable".to_owned()]),
                ..Default::default()
            };
            [
                without_options("mount //ann:pa@LEAK'ss@nas/x: --password=pa@LEAK'ss no"),
                without_command("exec: pa@LEAK'ssX\": executable no", &words),
            ]
        };
        for told in marking(marks, told).await {
            assert!(!told.contains("LEAK") && !told.contains("'ss"), "{told}");
        }
    }

    #[test]
    fn the_program_that_did_not_start_is_not_named() {
        let found = ContainerInspectResponse {
            path: Some("/bin/run:hun\"ter22".to_owned()),
            config: Some(ContainerConfig {
                cmd: Some(vec!["-x".to_owned(), "--password=b".to_owned()]),
                ..Default::default()
            }),
            ..Default::default()
        };
        let message = r#"exec: "/bin/run:hun\"ter22": stat /bin/run:hun"ter22: no -x --password=b"#;
        assert_eq!(without_command(message, &found), r#"exec: "***": stat ***: no -x ***"#);
    }
}
