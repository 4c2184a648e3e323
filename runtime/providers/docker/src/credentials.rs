//! Who logs in at a registry, and what it tells of that.

use super::DockerSettings;
use super::errors::RequestError;
use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bollard::errors::Error;
use oci_client::secrets::RegistryAuth;
use std::fmt;
use stepback_provider::decoded;
use stepback_provider::passwords::{MASK, own_in_base64};

/// Less of base64 turns up by chance.
const BASE64_BYTES_MIN: usize = 8;

/// A user name and a password, which is never shown.
#[derive(Clone)]
pub struct Credentials {
    /// Shown in messages, as the password never is.
    pub username: String,
    /// The value itself; a configuration has only a reference to it.
    pub password: String,
}

impl Credentials {
    /// A text without them: a registry may repeat what it was given (RFC 7617 has its form), and
    /// whoever tells it writes it into JSON, an address or quotes, one into the other.
    pub(super) fn taken_out_of(&self, text: &str) -> String {
        let forms = self.forms();
        let Ok(finder) = AhoCorasick::new(&forms) else { return MASK.to_owned() };
        let plain = finder.find_overlapping_iter(text).map(|one| (one.start(), one.end()));
        let mut found: Vec<(usize, usize)> = plain.collect();
        let in_one_line = decoded::in_one_line(text);
        for way in decoded::ways(text).into_iter().chain(in_one_line) {
            let read = finder.find_overlapping_iter(way.bytes());
            found.extend(read.map(|one| way.written(one.start(), one.end())));
        }
        found.sort_unstable();
        let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
        for (start, end) in found {
            // A character that a part of was found is taken out whole.
            let (start, end) = (text.floor_char_boundary(start), text.ceil_char_boundary(end));
            if start >= at {
                masked.push_str(&text[at..start]);
                masked.push_str(MASK);
            }
            at = at.max(end);
        }
        masked.push_str(&text[at..]);
        masked
    }

    /// The password as it is, with the user, and both in base64, as a piece of something longer
    /// too.
    fn forms(&self) -> Vec<String> {
        let both = format!("{}:{}", self.username, self.password);
        let mut forms = vec![both.clone(), self.password.clone()];
        for text in [&both, &self.password] {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                forms.push(engine.encode(text));
                let of = |before| own_in_base64(engine, text, before);
                forms.extend((0..3).map(of).filter(|own| own.len() >= BASE64_BYTES_MIN));
            }
        }
        forms.retain(|form| !form.is_empty());
        forms
    }

    pub(super) fn as_auth(&self) -> RegistryAuth {
        RegistryAuth::Basic(self.username.clone(), self.password.clone())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What an engine told of a source, without what that was given.
pub(super) fn without_login(error: Error, settings: &DockerSettings, source: &str) -> Error {
    let own = settings.registries.get(source).and_then(|own| own.credentials.as_ref());
    let Some(own) = own else { return error };
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            Error::DockerResponseServerError { status_code, message: own.taken_out_of(&message) }
        }
        Error::DockerStreamError { error } => {
            Error::DockerStreamError { error: own.taken_out_of(&error) }
        }
        other => other,
    }
}

/// What a source told, without what it was given.
pub(super) fn without_credentials(
    told: RequestError,
    settings: &DockerSettings,
    source: &str,
) -> RequestError {
    let own = settings.registries.get(source).and_then(|own| own.credentials.as_ref());
    match own {
        Some(own) => told.saying(|message| own.taken_out_of(message)),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_as_an_engine_quotes_it() {
        for (password, said) in [
            ("Reg\"LEAK77long", r#"denied: "no such login ann:Reg\"LEAK77long""#),
            ("Reg\u{a0}LEAK77", r#"denied: "ann:Reg\u00a0LEAK77""#),
            ("Reg-LEAK_77/long", "is:Reg-LEAK_77%2Flong"),
            ("Reg\\LEAK77", r#"{"login": "Reg\\LEAK77"}"#),
            ("Reg\\LEAK77\"", r#"{"login": "Reg\\LEAK77\""}"#),
            ("Reg\"LEAK77", r#""{\"detail\": \"ann:Reg\\\"LEAK77\"}""#),
            ("Reg&LEAK77", r#""no such \"ann:Reg\\u0026LEAK77\"""#),
            ("Reg/LEAK77", "is:Reg%2fLEAK77"),
            ("Reg LEAK!77", "Reg+LEAK%2177 Reg%20LEAK!77"),
        ] {
            let (username, password) = ("ann".to_owned(), password.to_owned());
            let told = Credentials { username, password }.taken_out_of(said);
            assert!(!told.contains("LEAK"), "{told}");
        }
    }

    #[test]
    fn a_registry_that_repeats_what_it_was_given_tells_nobody() {
        let (username, password) = ("ann".to_owned(), "Reg/LEAK 77".to_owned());
        let own = Credentials { username, password };
        for said in [
            "no: ann:Reg/LEAK 77",
            "no: Basic YW5uOlJlZy9MRUFLIDc3",
            "no: UmVnL0xFQUsgNzc=",
            // Docker's own `{"username":"ann","password":"…"}`.
            "X-Registry-Auth: eyJ1c2VybmFtZSI6ImFubiIsInBhc3N3b3JkIjoiUmVnL0xFQUsgNzcifQ==",
            "Head \"http://h/?login=ann:Reg%2FLEAK%2077\"",
        ] {
            let told = own.taken_out_of(said);
            assert!(!told.contains("LEAK") && !told.contains("TEVBS"), "{told}");
            assert!(told.contains(MASK), "{told}");
        }
    }
}
