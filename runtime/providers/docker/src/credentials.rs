//! Who logs in at a registry, and what it tells of that.

use super::DockerSettings;
use super::errors::RequestError;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bollard::errors::Error;
use oci_client::secrets::RegistryAuth;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;
use stepback_provider::passwords::{MASK, quoted_by_go};

/// What an address need not escape is left as it is (RFC 3986, *2.3*).
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A user name and a password, which is never shown.
#[derive(Clone)]
pub struct Credentials {
    /// Shown in messages, as the password never is.
    pub username: String,
    /// The value itself; a configuration has only a reference to it.
    pub password: String,
}

impl Credentials {
    /// A text without them: a registry may repeat what it was given (RFC 7617 has its form).
    pub(super) fn taken_out_of(&self, text: &str) -> String {
        let both = format!("{}:{}", self.username, self.password);
        let mut forms = vec![both.clone(), self.password.clone()];
        for kept in [NON_ALPHANUMERIC, &UNRESERVED] {
            forms.push(utf8_percent_encode(&self.password, kept).to_string());
        }
        // As an engine quotes what it was told, and as JSON does.
        forms.extend(quoted_by_go(&self.password));
        let json = serde_json::Value::from(self.password.as_str()).to_string();
        forms.push(json[1..json.len() - 1].to_owned());
        for text in [&both, &self.password] {
            for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                forms.push(engine.encode(text));
            }
        }
        forms.retain(|form| !form.is_empty());
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.iter().fold(text.to_owned(), |text, form| text.replace(form.as_str(), MASK))
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
            "Head \"http://h/?login=ann:Reg%2FLEAK%2077\"",
        ] {
            let told = own.taken_out_of(said);
            assert!(!told.contains("LEAK") && !told.contains("TEVBS"), "{told}");
            assert!(told.contains(MASK), "{told}");
        }
    }
}
