//! Values that nobody is to read, taken out of what an engine or a registry tells.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bollard::models::ContainerInspectResponse;
use stepback_provider::decoded;
use stepback_provider::passwords::{MASK, is_password, login_password, marked, own_in_base64};

/// Less of base64 turns up by chance.
const BASE64_BYTES_MIN: usize = 8;
/// A shorter value of a variable is in texts that have nothing to do with it.
const VALUE_BYTES_MIN: usize = 6;

/// What finds them.
#[derive(Debug, Default)]
pub(super) enum Hidden {
    /// There are none.
    #[default]
    None,
    /// As they are, in base64, and in whatever way that is written.
    These(AhoCorasick),
    /// They can't be looked for.
    All,
}

impl Hidden {
    /// These values, also as a piece of something longer in base64.
    pub(super) fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let forms = values.into_iter().filter(|value| !value.is_empty()).flat_map(forms_of);
        let forms: Vec<String> = forms.collect();
        match (forms.is_empty(), AhoCorasick::new(&forms)) {
            (true, _) => Self::None,
            (false, Ok(finder)) => Self::These(finder),
            (false, Err(_)) => Self::All,
        }
    }

    /// What a container was given that may be a password: by the name of its variable, or in an
    /// address. Whoever declared it finds it by himself, and tells which one it is.
    pub(super) fn given_to(found: &ContainerInspectResponse) -> Self {
        let env = found.config.iter().flat_map(|config| config.env.iter().flatten());
        let of = |variable: &str| -> Vec<String> {
            let Some((name, value)) = variable.split_once('=') else { return vec![] };
            let whole = is_password(name).then(|| value.to_owned());
            let read = login_password(value).into_iter().flat_map(|password| {
                let ways = decoded::ways(password);
                let read = ways.iter().filter_map(|way| str::from_utf8(way.bytes()).ok());
                read.map(str::to_owned).chain([password.to_owned()]).collect::<Vec<_>>()
            });
            let all: Vec<String> = whole.into_iter().chain(read).collect();
            // What prints it may do so line by line.
            all.iter().flat_map(|value| value.lines().map(str::to_owned)).collect()
        };
        let mut values: Vec<String> = env.flat_map(|variable| of(variable)).collect();
        values.retain(|value| value.len() >= VALUE_BYTES_MIN && marked(value) == *value);
        Self::of(values.iter().map(String::as_str))
    }

    /// A text without them.
    pub(super) fn taken_out_of(&self, text: &str) -> String {
        let finder = match self {
            Self::None => return text.to_owned(),
            Self::All => return MASK.to_owned(),
            Self::These(finder) => finder,
        };
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
}

/// As it is and in base64.
fn forms_of(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        forms.push(engine.encode(value));
        let pieces = (0..3).map(|before| own_in_base64(engine, value, before));
        forms.extend(pieces.filter(|own| own.len() >= BASE64_BYTES_MIN));
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ContainerConfig;
    use std::sync::Arc;
    use stepback_provider::passwords::marking;

    fn given(env: &[&str]) -> ContainerInspectResponse {
        let env = Some(env.iter().map(|one| (*one).to_owned()).collect());
        let config = Some(ContainerConfig { env, ..Default::default() });
        ContainerInspectResponse { config, ..Default::default() }
    }

    /// Somebody else gave it to the container, months ago perhaps.
    #[tokio::test]
    async fn what_a_container_prints_of_its_own_passwords_is_masked() {
        let found = given(&[
            "PGDATA=/var/lib/postgresql/data",
            "POSTGRES_PASSWORD=Old-Secret/77",
            "DATABASE_URL=postgres://app:p%40ss-Secret88@db:5432/main",
            "TLS_KEY=-----BEGIN\nZq9xLineOfIt\n",
            "API_TOKEN=short",
            "SESSION_SECRET=declared-Secret99",
        ]);
        let marks = |text: &str| text.replace("declared-Secret99", "<secret s>");
        let told = async {
            let hidden = Hidden::given_to(&found);
            move |text: &str| hidden.taken_out_of(text)
        };
        let told = marking(Arc::new(marks), told).await;
        for (printed, wanted) in [
            ("FATAL: Old-Secret/77 is wrong", "FATAL: *** is wrong"),
            ("?pw=Old-Secret%2F77&x", "?pw=***&x"),
            ("T2xkLVNlY3JldC83Nw==", "***=="),
            ("postgres://app:p%40ss-Secret88@db", "postgres://app:***@db"),
            ("user app, p@ss-Secret88", "user app, ***"),
            ("Zq9xLineOfIt", "***"),
            // Not long enough, no password, and one that is found elsewhere.
            ("short /var/lib/postgresql/data", "short /var/lib/postgresql/data"),
            ("is declared-Secret99", "is declared-Secret99"),
        ] {
            assert_eq!(told(printed), wanted, "{printed}");
        }
        assert!(matches!(Hidden::given_to(&given(&["A=b"])), Hidden::None));
    }
}
