//! Whatever secrets there are and whatever text holds them: none is passed on, each is put back.

mod written;

use super::forms::{BASE64_BYTES_MIN, COLUMNS};
use super::pieces::PIECE_BYTES_MIN;
use super::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;
use serde_json::json;
use stepback_core::calls::{DockerCall, EbsCall};
use stepback_core::cut;
use stepback_core::{Facts, StoreId};
use stepback_files::key::{KEY_BYTES, Key};

fn look() -> Call {
    Call::Docker(DockerCall::ListContainers { host: "i-1".into() })
}

fn seals() -> Seals {
    let key = Key::of_bytes(&[7; KEY_BYTES]).expect("a key");
    Seals::by_key(&key, StoreId("store".into()))
}

fn secrets(values: &[(&str, &str)]) -> Secrets {
    let found = values.iter().map(|(name, value)| ((*name).to_owned(), Ok((*value).to_owned())));
    Secrets::of(found.collect(), vec![], seals())
}

/// What is left of a text without its marks.
fn between_marks(text: &str) -> Vec<String> {
    text.split(EDGE).step_by(2).map(str::to_owned).collect()
}

/// Values of few letters, so that they overlap and hold one another; some have several lines.
fn values() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ab\n]{4,9}", 1..4)
}

fn of_values(values: &[String]) -> Secrets {
    let named = values.iter().enumerate();
    let found = named.map(|(nth, value)| (format!("S{nth}"), Ok(value.clone())));
    Secrets::of(found.collect(), vec![], seals())
}

/// A text in which they turn up whole, side by side, in pieces, and among others.
fn text_of(values: &[String], pieces: &[(usize, usize, bool)]) -> String {
    let mut text = String::new();
    for (which, cut, whole) in pieces {
        let value = &values[which % values.len()];
        let end = if *whole { value.len() } else { cut % (value.len() + 1) };
        text.push_str(&value[..end]);
        if cut % 3 == 0 {
            text.push_str(" x ");
        }
    }
    text
}

proptest! {
    #[test]
    fn no_secret_is_passed_on(
        values in values(),
        pieces in prop::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 0..8),
    ) {
        let secrets = of_values(&values);
        let redacted = secrets.redact_text(text_of(&values, &pieces));
        for text in between_marks(&redacted) {
            for value in &values {
                prop_assert!(!text.contains(value.as_str()), "{value:?} in {redacted:?}");
                let lines = value.lines().filter(|line| line.len() >= SECRET_BYTES_MIN);
                for line in lines {
                    prop_assert!(!text.contains(line), "{line:?} in {redacted:?}");
                }
            }
        }
        prop_assert_eq!(secrets.redact_text(redacted.clone()), redacted, "once is enough");
    }

    /// What is told of secrets that overlap can't be put back, and a call that holds it fails.
    #[test]
    fn what_is_put_back_is_what_was_there(
        values in values(),
        pieces in prop::collection::vec((any::<usize>(), any::<usize>(), any::<bool>()), 0..8),
    ) {
        let (secrets, text) = (of_values(&values), text_of(&values, &pieces));
        let call = |volume: &str| -> Call {
            EbsCall::Untag { volume: volume.into(), key: "k".into() }.into()
        };
        match secrets.reveal(&call(&secrets.redact_text(text.clone()))) {
            Ok(revealed) => prop_assert_eq!(revealed, call(&text)),
            Err(failure) => prop_assert_eq!(failure.code.as_deref(), Some("broken-secret")),
        }
    }

    /// A thing has one name, however much of it a step wrote as a mark.
    #[test]
    fn a_name_is_the_same_in_marks_and_in_text(
        before in "[x-z]{0,5}", value in "[a-c]{4,8}", after in "[x-z]{0,5}",
    ) {
        let secrets = secrets(&[("S", &value)]);
        let volume = |id: String| Resource::Volume { id: id.as_str().into() };
        let in_text = volume(format!("{before}{value}{after}"));
        let in_marks = volume(format!("{before}{}{after}", secret_placeholder("S")));
        prop_assert_eq!(secrets.canonical(&in_text), secrets.canonical(&in_marks));
        prop_assert_eq!(secrets.reveal_resource(&in_marks).unwrap(), in_text);
    }
}

#[test]
fn of_two_that_begin_alike_the_longer_one_is_hidden_whole() {
    let secrets = secrets(&[("user", "admin"), ("password", "admin-Zx81!")]);
    let told = secrets.redact_text("login admin with admin-Zx81!".into());
    let (user, password) = (secret_placeholder("user"), secret_placeholder("password"));
    assert_eq!(told, format!("login {user} with {password}"));
}

/// No name that the world gives may be one that nothing turns back: what has it would be left.
#[test]
fn what_overlaps_is_put_back() {
    let whole = "0123456789abcdef";
    let pieces: Vec<String> = (0..9).map(|at| whole[at..at + 6].to_owned()).collect();
    for (secrets, text) in [
        (of_values(&pieces), whole),
        (secrets(&[("pw", "0000")]), "vol-0000000000a000001"),
        (secrets(&[("a", "aba"), ("b", "ababa")]), "xabababab"),
        (secrets(&[("a", "b\u{e4}b\u{e4}")]), "b\u{e4}b\u{e4}b\u{e4}"),
    ] {
        let told = secrets.redact_text(text.to_owned());
        assert_ne!(told, text);
        assert_eq!(secrets.redact_text(told.clone()), told, "once is enough");
        let volume = |id: &str| Resource::Volume { id: id.into() };
        assert_eq!(secrets.reveal_resource(&volume(&told)), Ok(volume(text)), "{told:?}");
    }
}

/// Whoever writes a text is not told whether it is a piece of a secret.
#[test]
fn what_a_guest_wrote_is_as_it_wrote_it() {
    let secrets = secrets(&[("url", "postgres://u:pw@db/x")]);
    let long = "x".repeat(1_024);
    let failure = |message: String| Failure::new(FailureClass::Precondition, message);
    for guess in ["postgres://u", "postgres://v"] {
        let name = format!("{long}{guess}");
        let told = failure(format!("there is no volume {name}"));
        assert_eq!(secrets.redact_failure(told.clone()), told, "{guess}");
        let cut = failure(format!("there is no volume {guess}\u{2026}"));
        assert_eq!(secrets.redact_failure(cut.clone()), cut, "{guess}");
        // More of it than was written is none of the guest's, where a command printed it.
        let more = failure(format!("{long}{guess}:pw@"));
        assert_eq!(secrets.redact_failure(more.clone()), more, "a name");
        let (host, container) = ("i-1".into(), "main".into());
        let command = vec!["echo".to_owned(), name];
        let exec = Call::Docker(DockerCall::Exec { host, container, command, timeout_ms: 1 });
        let hidden = secrets.redact_noted(Some(&exec), more.message.clone());
        assert_eq!(hidden == more.message, guess.ends_with('v'), "{hidden:?}");
        let written = format!("\u{2026}{guess}\u{2026}");
        assert_eq!(secrets.redact_written(written.clone()), written);
    }
    let told = secrets.redact_written("at postgres://u:pw@db/x".to_owned());
    assert_eq!(told, format!("at {}", secret_placeholder("url")));
}

#[test]
fn a_key_is_hidden_line_by_line() {
    let key = "-----BEGIN KEY-----\nMIIEvQIBADAN\n\tBgkqhkiG9w0B\n-----END KEY-----\n";
    let secrets = secrets(&[("key", key)]);
    for line in key.lines() {
        for shown in [line.to_owned(), format!("out: {line}"), line.trim().to_owned()] {
            let told = secrets.redact_text(shown.clone());
            assert!(!told.contains(line.trim()), "{shown:?} is told as {told:?}");
        }
    }
}

/// In whatever line, at either end, within a character, and among a sentence.
#[test]
fn what_was_cut_in_a_secret_tells_no_piece_of_it() {
    let value = "correct horse bätt\u{20ac}ry staple";
    let secrets = secrets(&[("password", value)]);
    let is_told = |told: &str| {
        let mut at = value.char_indices().map(|(at, _)| at);
        at.any(|at| {
            value[at..].len() >= 8 && told.contains(&value[at..value.ceil_char_boundary(at + 8)])
        })
    };
    for at in PIECE_BYTES_MIN..value.len() - PIECE_BYTES_MIN {
        let first = cut::beginning_of_bytes(&value.as_bytes()[..=at], at);
        let last = cut::end_of_bytes(&value.as_bytes()[at..]);
        let broken = String::from_utf8_lossy(&value.as_bytes()[..at]).into_owned();
        let long = format!("{}{broken}", "x".repeat(1024));
        let lost = String::from_utf8_lossy(&value.as_bytes()[at..]).into_owned();
        for text in [
            first.clone(),
            format!("one\n{first}\ntwo"),
            format!("AWS says: {first} (Code)"),
            last.clone(),
            format!("one\n{last}\ntwo"),
            format!("{first} and {last}{first}"),
            format!("{last}\n{}", "x".repeat(1024)),
            long,
            format!("{lost}{}", "x".repeat(1024)),
        ] {
            let told = secrets.redact_text(text.clone());
            // Within a character a few bytes less than the least may be left.
            assert!(
                at < 12 || value.len() - at < 12 || !is_told(&told),
                "{at}: {text:?}: {told:?}"
            );
            assert_eq!(secrets.redact_text(told.clone()), told, "once is enough");
            let call = Call::Ebs(EbsCall::Untag { volume: "v".into(), key: told });
            let back = Call::Ebs(EbsCall::Untag { volume: "v".into(), key: text });
            assert_eq!(secrets.reveal(&call), Ok(back));
        }
    }
}

#[test]
fn a_piece_that_nothing_is_lost_beside_stays() {
    let secrets = secrets(&[("url", "postgres://u:pw@db/x")]);
    for text in ["postgres://other", "pw@db/x", "postgres://\n…", "… pw@db/x"] {
        assert_eq!(secrets.redact_text(text.to_owned()), text);
    }
}

/// Another secret, or a line of its own, may stand whole in what is left of one.
#[test]
fn a_piece_is_known_whatever_stands_whole_in_it() {
    let url = "postgres://app_owner:Zq9xKwLeak77S3cretPw@db.internal:5432/prod";
    let two = secrets(&[("user", "app_owner"), ("url", url)]);
    for text in [
        format!("000 {}…", &url[..40]),
        format!("…{} 000", &url[5..]),
        format!("{} {}", "0".repeat(1500), &url[..40]),
        format!("{} {}", &url[5..], "0".repeat(1500)),
    ] {
        let told = two.redact_text(text.clone());
        assert!(!told.contains("Leak77"), "{text}: {told}");
    }
    let lines = secrets(&[("pw", "app1\napp1-Zq9xKwLeak77S3cretPassword")]);
    let told = lines.redact_text("000app1-Zq9xKwLeak77S3cretPas…".to_owned());
    assert!(!told.contains("Leak77"), "{told}");
}

#[test]
fn pieces_that_overlap_are_not_told_and_not_put_back() {
    let secrets = secrets(&[("a", "0123456789abcdef"), ("b", "89abcdefghijklmnop")]);
    let told = secrets.redact_text("…456789abcdefghij…".to_owned());
    assert_eq!(told, "…\u{1}secret:a>16 and others\u{1}…");
    let call = EbsCall::Untag { volume: "v".into(), key: told };
    secrets.reveal(&call.into()).unwrap_err();
}

#[test]
fn the_keys_of_maps_are_data_and_those_of_records_are_not() {
    let secrets = secrets(&[("s", "tags"), ("k", "hunter22")]);
    let answer = json!({ "tags": { "hunter22": "tags" }, "state": "hunter22" });
    let mark = secret_placeholder;
    let told = json!({ "tags": { mark("k"): mark("s") }, "state": mark("k") });
    assert_eq!(secrets.redact_given(answer), told);
}

/// Of operations that have no secrets, too: they are somebody else's.
#[test]
fn labels_are_sealed_in_answers() {
    let labels = |team: &str| json!({ "team": team, "stepback.helper": "reads" });
    let answer = json!({ "name": "main", "labels": labels("hunter22") });
    for secrets in [secrets(&[]), secrets(&[("pw", "hunter22")])] {
        let sealed = secrets.taken_in(&look(), json!([answer, answer]));
        assert_eq!(sealed[0], sealed[1]);
        assert_eq!(sealed[0]["labels"]["stepback.helper"], "reads");
        let seal = sealed[0]["labels"]["team"].as_str().expect("a text");
        assert!(seal.starts_with("sealed:2:"), "{seal}");
        let other = secrets.taken_in(&look(), json!({ "labels": labels("hunter23") }));
        assert_ne!(other["labels"]["team"], seal, "it tells whether it is another one");
    }
}

#[test]
fn an_output_is_hidden_in_its_keys_but_for_those_of_its_schema() {
    let secrets = secrets(&[("k", "hunter22"), ("s", "size_gib")]);
    let schema = json!({ "anyOf": [{ "properties": { "size_gib": {} } }] });
    let output = json!({ "size_gib": "size_gib", "x-hunter22": [{ "hunter22": 1 }] });
    let told = secrets.of_output(output, &schema);
    let mark = |name: &str| secret_placeholder(&format!("{name}#told"));
    let (k, s) = (mark("k"), mark("s"));
    assert_eq!(told, json!({ "size_gib": s, format!("x-{k}"): [{ k: 1 }] }));
}

/// A later step's text could put the pieces together.
#[test]
fn an_output_holds_no_piece_of_a_mark() {
    let secrets = secrets(&[("pw", "hunter22")]);
    for (output, told) in [
        ("\u{1}secret:p", "\u{fffd}secret:p"),
        ("w\u{1}", "w\u{fffd}"),
        ("\u{1}\u{1}secret:pw\u{1}\u{1}", "\u{fffd}\u{1}secret:pw#told\u{1}\u{fffd}"),
        ("\u{1}hunter22\u{1}", "\u{fffd}\u{1}secret:pw#told\u{1}\u{fffd}"),
        ("\u{1}secret:x\u{1}secret:pw\u{1}", "\u{1}secret:x\u{1}secret:pw\u{fffd}"),
    ] {
        assert_eq!(secrets.of_output(json!(output), &Value::Null), json!(told), "{output:?}");
    }
}

/// What programs make of a value when they pass it on.
#[test]
fn a_secret_is_hidden_in_the_forms_that_programs_write_it_in() {
    let value = "p\u{e4}ss/w\"rd+ 9?&~x";
    let secrets = secrets(&[("password", value)]);
    for (form, text) in [
        ("JSON", "{\"p\":\"p\u{e4}ss/w\\\"rd+ 9?&~x\"}"),
        ("JSON, escaped", "p\\u00e4ss/w\\\"rd+ 9?&~x"),
        ("JSON, with a slash escaped", "p\u{e4}ss\\/w\\\"rd+ 9?&~x"),
        ("JSON, as Go has it", "p\u{e4}ss/w\\\"rd+ 9?\\u0026~x"),
        ("JSON, as PHP has it", "p\\u00e4ss\\/w\\\"rd+ 9?&~x"),
        ("JSON, as .NET has it", "p\\u00E4ss/w\\u0022rd\\u002B 9?\\u0026~x"),
        ("an address", "?p=p%C3%A4ss%2Fw%22rd%2B%209%3F%26~x&q"),
        ("an address, in small letters", "p%c3%a4ss%2fw%22rd%2b%209%3f%26~x"),
        ("a form", "p=p%C3%A4ss%2Fw%22rd%2B+9%3F%26%7Ex"),
        ("base64", "cMOkc3MvdyJyZCsgOT8mfng="),
        // Of `user:` and it, `me:` and it, `x:` and it and a line's end.
        ("base64", "Basic dXNlcjpww6Rzcy93InJkKyA5PyZ+eA=="),
        ("base64", "Basic bWU6cMOkc3MvdyJyZCsgOT8mfng="),
        ("base64", "eDpww6Rzcy93InJkKyA5PyZ+eAo="),
        ("base64 for addresses", "Basic dXNlcjpww6Rzcy93InJkKyA5PyZ-eA"),
    ] {
        let told = secrets.redact_text(text.to_owned());
        assert!(told.contains("\u{1}secret:password"), "{form}: {told}");
        let left: usize = between_marks(&told).iter().map(String::len).sum();
        // What is around it, and of it no more than the neighbours share a letter with.
        assert!(left <= 16, "{form}: {told}");
        let back = secrets
            .reveal(&EbsCall::Untag { volume: told.as_str().into(), key: "k".into() }.into());
        assert_eq!(
            back.expect("it is whole"),
            EbsCall::Untag { volume: text.into(), key: "k".into() }.into()
        );
    }
    let short = self::secrets(&[("pin", "1234")]);
    assert_ne!(short.redact_text("MTIzNA==".into()), "MTIzNA==");
    assert_eq!(short.redact_text("xMTIz".into()), "xMTIz", "by chance");
}

#[test]
fn a_secret_is_hidden_in_json_that_is_safe_in_html() {
    let secrets = secrets(&[("s", "<a>&='\u{2028}")]);
    for text in ["\\u003ca\\u003e\\u0026='\\u2028", "\\u003ca\\u003e\\u0026\\u003d\\u0027\\u2028"] {
        let told = secrets.redact_text(text.to_owned());
        assert_eq!(between_marks(&told), ["", ""], "{told}");
    }
}

/// Each line of a base64 text, with the place of its first letter.
fn lines_of(encoded: &str, columns: usize) -> impl Iterator<Item = (usize, &str)> {
    let begins = (0..encoded.len()).step_by(columns);
    begins.map(move |at| (at, &encoded[at..encoded.len().min(at + columns)]))
}

fn left_of(told: &str) -> usize {
    between_marks(told).iter().map(String::len).sum()
}

/// A log has each line by itself.
#[test]
fn a_secret_is_hidden_in_every_line_of_its_base64() {
    let key: String = (0..301_u32).filter_map(|n| char::from_u32(33 + n * 7 % 90)).collect();
    let secrets = secrets(&[("key", &key)]);
    for (engine, columns) in
        [STANDARD, URL_SAFE].iter().flat_map(|engine| COLUMNS.map(|columns| (engine, columns)))
    {
        for text in [key.clone(), format!("{key}\n"), format!("{key}\r\n")] {
            for (_, line) in lines_of(&engine.encode(text), columns) {
                let told = secrets.redact_text(format!("  {line}"));
                // What the end of the line has a part in, and what fills up the last group.
                assert!(left_of(&told) <= 2 + 4, "{line}: {told}");
            }
        }
    }
}

/// Of a text that has it in it somewhere.
#[test]
fn a_short_secret_is_hidden_where_a_line_of_base64_ends_in_it() {
    for value in
        ["correct horse battery staple", "forty-eight bytes are sixty-four letters of them"]
    {
        let secrets = secrets(&[("password", value)]);
        for (before, columns) in (0..160).flat_map(|n| COLUMNS.map(|columns| (n, columns))) {
            let text = format!("{}{value}{}", "x".repeat(before), "y".repeat(90));
            let (begin, end) = ((before * 8).div_ceil(6), (before + value.len()) * 8 / 6);
            for (at, line) in lines_of(&STANDARD.encode(text), columns) {
                let own = end.min(at + line.len()).saturating_sub(begin.max(at));
                let told = secrets.redact_text(line.to_owned());
                let hidden = line.len() - left_of(&told);
                assert!(own < BASE64_BYTES_MIN || hidden >= own, "{before}: {line}: {told}");
                assert!(own > 0 || hidden == 0, "{before}: {line}: {told}");
            }
        }
    }
}

#[test]
fn a_missing_secret_fails_only_the_call_that_needs_it() {
    let gone = Err("GONE is not set".to_owned());
    let found = BTreeMap::from([("s".to_owned(), gone)]);
    let secrets = Secrets::of(found, vec![], seals());
    let call = |key: &str| Call::Ebs(EbsCall::Untag { volume: "vol-1".into(), key: key.into() });
    assert_eq!(secrets.reveal(&call("k")).unwrap(), call("k"));
    let failure = secrets.reveal(&call(&secret_placeholder("s"))).unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("secret-missing"));
    assert!(failure.message.contains("GONE is not set"), "{}", failure.message);
}

/// Decisions are made by these, whatever a secret is called.
#[test]
fn the_contracts_own_words_are_no_secret() {
    let found = [("p".to_owned(), Ok("running".to_owned()))];
    let secrets = Secrets::of(found.into_iter().collect(), vec![], seals());
    let facts = |tag: &str| {
        Facts::from_json(serde_json::json!({ "state": "running", "tags": { "is": tag } }))
    };
    assert_eq!(secrets.seal(facts("running")), facts(&secret_placeholder("p")));
}

/// It could not be told from a mark of ours when it is put back.
#[test]
fn a_mark_that_the_world_has_is_not_known() {
    let found = [("p".to_owned(), Ok("hunter22".to_owned()))];
    let secrets = Secrets::of(found.into_iter().collect(), vec![], seals());
    let tags = serde_json::json!({ "tags": { "pw": secret_placeholder("p") } });
    assert!(matches!(secrets.seal(Facts::from_json(tags)), Facts::Unknown(_)));
}

/// The one that it was changed to is nobody's to read either.
#[test]
fn a_secret_that_was_changed_is_kept_out_by_both_its_values() {
    let also = vec![("p#another".to_owned(), "newpass99".to_owned())];
    let found = [("p".to_owned(), Err("it is another one".to_owned()))];
    let secrets = Secrets::of(found.into_iter().collect(), also, seals());
    let met = [("p".to_owned(), "hunter22".to_owned())].into_iter().collect();
    let secrets = secrets.with_met(met);
    let redacted = secrets.redact_text("hunter22 and newpass99".to_owned());
    assert!(!redacted.contains("hunter22") && !redacted.contains("newpass99"), "{redacted}");
    assert!(secrets.missing().contains_key("p"), "going forward it is missing still");
}
