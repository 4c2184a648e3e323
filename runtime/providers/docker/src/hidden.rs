//! Values that nobody is to read, taken out of what an engine or a registry tells.

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bollard::models::ContainerInspectResponse;
use std::ops::Range;
use stepback_provider::decoded;
use stepback_provider::passwords::{
    CUT_BYTES_MIN, MASK, Text, is_password, own_in_base64, passwords_in, places,
};

/// Less of base64 turns up by chance.
const BASE64_BYTES_MIN: usize = 7;
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
    /// address.
    pub(super) fn given_to(found: &ContainerInspectResponse) -> Self {
        let env = found.config.iter().flat_map(|config| config.env.iter().flatten());
        let of = |variable: &str| -> Vec<String> {
            let Some((name, value)) = variable.split_once('=') else { return vec![] };
            let whole = is_password(name).then(|| value.to_owned());
            let read = passwords_in(value).into_iter().flat_map(|password| {
                let ways = decoded::ways(password);
                let read = ways.iter().filter_map(|way| str::from_utf8(way.bytes()).ok());
                read.map(str::to_owned).chain([password.to_owned()]).collect::<Vec<_>>()
            });
            let all: Vec<String> = whole.into_iter().chain(read).collect();
            // What prints it may do so line by line.
            all.iter().flat_map(|value| value.lines().map(str::to_owned)).collect()
        };
        let mut values: Vec<String> = env.flat_map(|variable| of(variable)).collect();
        values.retain(|value| value.len() >= VALUE_BYTES_MIN);
        Self::of(values.iter().map(String::as_str))
    }

    /// A text without them. Whoever declared a secret finds it by himself, and tells which one it
    /// is: of that nothing is taken away, or nobody would find the rest.
    pub(super) fn taken_out_of(&self, text: &str, what: Text) -> String {
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
        if found.is_empty() {
            return text.to_owned();
        }
        // A character that a part of was found is taken out whole.
        let whole = |(start, end)| text.floor_char_boundary(start)..text.ceil_char_boundary(end);
        let found = joined(found.into_iter().map(whole).collect());
        let declared = joined(places(text, what));
        let left = found.iter().cloned().filter_map(|one| left_by(&declared, one));
        let masked = without(text, left);
        // In a shorter text nobody looks for what a cut has left of a declared one.
        match text.len() >= CUT_BYTES_MIN && masked.len() < CUT_BYTES_MIN {
            true => without(text, joined([found, declared].concat()).into_iter()),
            false => masked,
        }
    }
}

/// A text with masks in these places, none of which overlaps another.
fn without(text: &str, places: impl Iterator<Item = Range<usize>>) -> String {
    let (mut masked, mut at) = (String::with_capacity(text.len()), 0);
    for one in places {
        masked.push_str(&text[at..one.start]);
        masked.push_str(MASK);
        at = one.end;
    }
    masked.push_str(&text[at..]);
    masked
}

/// The places that overlap as one.
fn joined(mut places: Vec<Range<usize>>) -> Vec<Range<usize>> {
    places.sort_unstable_by_key(|one| one.start);
    let mut joined: Vec<Range<usize>> = vec![];
    for one in places {
        match joined.last_mut() {
            Some(last) if one.start < last.end => last.end = last.end.max(one.end),
            _ => joined.push(one),
        }
    }
    joined
}

/// What of a place is in none of the others that begin before it or end behind it; those that lie
/// within it go with it.
fn left_by(others: &[Range<usize>], mut place: Range<usize>) -> Option<Range<usize>> {
    for other in others {
        if other.start <= place.start && place.end <= other.end {
            return None;
        }
        if other.start < place.start {
            place.start = place.start.max(other.end);
        }
        if other.end > place.end {
            place.end = place.end.min(other.start);
        }
    }
    Some(place)
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
pub(super) mod tests {
    use super::*;
    use bollard::models::ContainerConfig;
    use std::sync::Arc;
    use stepback_provider::passwords::{Declared, marking};

    /// One who declared this.
    pub(crate) struct One(pub &'static str);

    impl Declared for One {
        fn marked(&self, text: &str) -> String {
            text.replace(self.0, "<secret s>")
        }

        fn places(&self, printed: &str, _: Text) -> Vec<Range<usize>> {
            printed.match_indices(self.0).map(|(at, one)| at..at + one.len()).collect()
        }
    }

    async fn told(declared: &'static str, env: &[&str], printed: &str) -> String {
        let hidden = Hidden::given_to(&given(env));
        marking(Arc::new(One(declared)), async { hidden.taken_out_of(printed, Text::Printed) })
            .await
    }

    fn given(env: &[&str]) -> ContainerInspectResponse {
        let env = Some(env.iter().map(|one| (*one).to_owned()).collect());
        let config = Some(ContainerConfig { env, ..Default::default() });
        ContainerInspectResponse { config, ..Default::default() }
    }

    /// Somebody else gave it to the container, months ago perhaps.
    #[tokio::test]
    async fn what_a_container_prints_of_its_own_passwords_is_masked() {
        let env = [
            "PGDATA=/var/lib/postgresql/data",
            "POSTGRES_PASSWORD=Old-Secret/77",
            "DATABASE_URL=postgres://app:p%40ss-Secret88@db:5432/main",
            "TLS_KEY=-----BEGIN\nZq9xLineOfIt\n",
            "API_TOKEN=short",
            "SESSION_SECRET=declared-Secret99",
            "SHORTEST_KEY=Zq9xK!",
        ];
        for (printed, wanted) in [
            ("FATAL: Old-Secret/77 is wrong", "FATAL: *** is wrong"),
            ("?pw=Old-Secret%2F77&x", "?pw=***&x"),
            ("T2xkLVNlY3JldC83Nw==", "***=="),
            ("Authorization: Basic YXBwOlpxOXhLIQ==", "Authorization: Basic YXBwOl***Q=="),
            ("postgres://app:p%40ss-Secret88@db", "postgres://app:***@db"),
            ("user app, p@ss-Secret88", "user app, ***"),
            ("Zq9xLineOfIt", "***"),
            // Not long enough, no password, and one that is found elsewhere.
            ("short /var/lib/postgresql/data", "short /var/lib/postgresql/data"),
            ("is declared-Secret99", "is declared-Secret99"),
        ] {
            assert_eq!(told("declared-Secret99", &env, printed).await, wanted, "{printed}");
        }
        assert!(matches!(Hidden::given_to(&given(&["A=b"])), Hidden::None));
    }

    /// What is left of it would be found by nobody.
    #[tokio::test]
    async fn a_declared_secret_is_left_whole_for_whoever_finds_it() {
        let dsn = "postgres://app:New-Zq9x-Secret@db:5432/main";
        for (declared, own, printed, wanted) in [
            (dsn, "POSTGRES_PASSWORD=postgres", dsn, dsn),
            (dsn, "DSN=postgres://app:New-Zq9x-Secret@db:5432/main", dsn, dsn),
            ("sk_live_Zq9x51HxAb", "KEY_PREFIX=sk_live_", "is sk_live_Zq9x51HxAb", ""),
            ("Secret-Zq9x", "KEY=at-Secret", "at-Secret-Zq9x", "***Secret-Zq9x"),
            ("Zq9x-Secret", "KEY=Secret-at", "Zq9x-Secret-at", "Zq9x-Secret***"),
            // Within one of its own it goes with that.
            ("orders", "PASSWORD=orders-Xk29vvvQ", "is orders-Xk29vvvQ, orders", "is ***, orders"),
        ] {
            let wanted = if wanted.is_empty() { printed } else { wanted };
            assert_eq!(told(declared, &[own], printed).await, wanted, "{own}");
        }
    }

    /// One of whom a cut left a piece, which is looked for in a long text alone.
    struct Cut;

    impl Declared for Cut {
        fn marked(&self, text: &str) -> String {
            text.to_owned()
        }

        fn places(&self, printed: &str, _: Text) -> Vec<Range<usize>> {
            let is_long = printed.len() >= CUT_BYTES_MIN;
            let piece = printed.find("declared-Se").filter(|_| is_long);
            piece.map(|at| at..printed.len()).into_iter().collect()
        }
    }

    /// A mask that makes a text short takes the piece as well.
    #[tokio::test]
    async fn a_piece_of_a_declared_secret_is_in_no_text_that_a_mask_made_short() {
        let own = "Own-Zq9x".repeat(10);
        let hidden = Hidden::given_to(&given(&[&format!("PASSWORD={own}")]));
        let told = async |printed: String| {
            let hidden = &hidden;
            marking(Arc::new(Cut), async move { hidden.taken_out_of(&printed, Text::Printed) })
                .await
        };
        let short = told(format!("{own} {} declared-Se", "y".repeat(950))).await;
        assert!(short.len() < CUT_BYTES_MIN && !short.contains("declared"), "{short}");
        // In one that stays long whoever declared it finds it.
        let long = told(format!("{own} {} declared-Se", "y".repeat(2_000))).await;
        assert!(long.starts_with("*** ") && long.ends_with(" declared-Se"), "{long}");
    }
}
