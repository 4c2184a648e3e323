//! Who logs in at a registry, and what it tells of that.

use super::DockerSettings;
use super::errors::RequestError;
use super::hidden::Hidden;
use bollard::errors::Error;
use oci_client::secrets::RegistryAuth;
use std::fmt;
use stepback_provider::passwords::Text;

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
        let both = format!("{}:{}", self.username, self.password);
        Hidden::of([both.as_str(), &self.password]).taken_out_of(text, Text::Failure)
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
    use stepback_provider::passwords::MASK;

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
