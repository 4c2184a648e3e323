//! In whatever way a secret is written, and whatever of it is still known.

use super::*;
use stepback_core::calls::ContainerSpec;

/// Each program escapes what it likes, and one escapes what another has escaped.
#[test]
fn a_secret_is_known_in_whatever_way_it_is_written() {
    for (value, text) in [
        ("correct horse!", "u=correct+horse!&x"),
        ("S3cret-pass_word", "S3cret%2Dpass%5fword"),
        ("Kq7/pass word", "Kq7%252Fpass%2520word"),
        ("a\"b-c", r#"\\\"a\\\\\\\"b-c"#),
        ("pa\u{308}sse\u{a0}mot", "\"pa\u{308}sse\\u00a0mot\""),
        (">>>>>>ab", "is Pj4%2BPj4%2BYWI%3D"),
        ("??????ab", r"is Pz8\/Pz8\/YWI="),
        ("a&b<c>d", "a&amp;b&lt;c&#62;d"),
        ("p\u{e4}sse-Wort9", r"p\xe4sse-Wort9"),
        ("p\u{e4}sse-Wort9", "p&auml;sse-Wort9"),
        // It has an escape of its own, which stays, where others are made.
        ("Kq%41 pass-Wort9", "Kq%41%20pass%2DWort9"),
        ("Kq\\n-p\u{20ac}sse", r"Kq\n-p\u20acsse"),
    ] {
        let secrets = secrets(&[("pw", value)]);
        let told = secrets.redact_text(text.to_owned());
        assert!(told.contains("secret:pw") && !told.contains("S3"), "{value}: {told}");
        assert_eq!(between_marks(&told).concat().matches("%2").count(), 0, "{value}: {told}");
        assert_eq!(secrets.redact_text(text.to_owned()), told, "two looks tell the same");
    }
    let secrets = secrets(&[("pw", "Kq/7-Secret x")]);
    let (one, other) = ("Kq%2f7%2DSecret+x", "Kq/7%2DSecret x");
    let [one, other] = [one, other].map(|text| secrets.redact_text(text.to_owned()));
    assert_ne!(one, other, "two ways to write it are two texts");
    // It goes into nothing again: nobody knows in which way it was written.
    let call = Call::Ebs(EbsCall::Untag { volume: "vol-1".into(), key: one });
    assert_eq!(secrets.reveal(&call).unwrap_err().code.as_deref(), Some("broken-secret"));
}

/// What a cut left of it, too.
#[test]
fn a_piece_is_known_in_whatever_way_it_is_written() {
    let secrets = secrets(&[("pw", "Kq!7-Secret-of-long~words")]);
    let told = secrets.redact_text("u=Kq%217%2DSecret%2Dof-lo…".to_owned());
    assert!(!told.contains("Secret"), "{told}");
    // The cut goes through an escape, and leaves half of it.
    let secrets = self::secrets(&[("pw", "Kq7passWort9&Secret-of-it")]);
    for half in ["&am", r"\x2"] {
        let told = secrets.redact_text(format!("is Kq7passWort9{half}\u{2026}"));
        assert!(!told.contains("passWort9"), "{told}");
    }
    let long = format!("{} Kq7passWort9&am", "x".repeat(1100));
    assert!(!secrets.redact_text(long).contains("passWort9"));
}

/// What a command was given that nobody knows any more can't be taken out of what it prints.
#[test]
fn nothing_is_told_of_what_commands_print_where_a_secret_is_gone() {
    let logs = Call::Docker(DockerCall::Logs {
        host: "i-1".into(),
        container: "main".into(),
        tail_lines: 9,
    });
    let exec = Call::Docker(DockerCall::Exec {
        host: "i-1".into(),
        container: "main".into(),
        command: vec!["true".into()],
        timeout_ms: 1,
    });
    let gone = Err("GONE is not set".to_owned());
    let found = BTreeMap::from([("pw".to_owned(), gone)]);
    let secrets = Secrets::of(found, vec![], seals());
    let why = "not told: it may hold the secret `pw`, and nobody knows any more what to take out";
    assert_eq!(secrets.taken_in(&logs, json!(["a", "b"])), json!([why]));
    assert_eq!(secrets.taken_in(&logs, json!([])), json!([]));
    let ended = json!({ "exit_code": 3, "output": "hunter22" });
    let told = json!({ "exit_code": 3, "output": why });
    assert_eq!(secrets.taken_in(&exec, ended.clone()), told);
    assert_eq!(secrets.redact_noted(Some(&exec), "hunter22".to_owned()), why);
    // Where it was met again it is taken out.
    let secrets = secrets.with_met([("pw".to_owned(), "hunter22".to_owned())].into());
    let told = json!({ "exit_code": 3, "output": secret_placeholder("pw") });
    assert_eq!(secrets.taken_in(&exec, ended), told);
}

/// A mark in a call is not what the guest wrote.
#[test]
fn a_line_that_is_in_a_marks_own_text_is_no_guests() {
    let secrets = secrets(&[("pw", "first line\nsecret:pw\nlast line")]);
    let spec = ContainerSpec {
        env: [("PW".to_owned(), secret_placeholder("pw"))].into(),
        ..ContainerSpec::default()
    };
    let (host, timeout_ms) = ("i-1".into(), 1);
    let once = Call::Docker(DockerCall::RunOnce { host, spec, timeout_ms });
    let told = secrets.taken_in(&once, json!({ "exit_code": 0, "output": "| secret:pw" }));
    assert_ne!(told["output"], "| secret:pw");
}
