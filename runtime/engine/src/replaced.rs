//! Parts of the world that are not what they were when the operation began (R14).
//!
//! An account, a region or a Docker Engine that is another one by now is not asked and not changed
//! for an operation that knew the old one: the same names mean other things there. What else there
//! is can still be put back.

use serde_json::Value;
use std::collections::BTreeMap;
use stepback_core::{Call, Failure, FailureClass, InstanceId, Resource};

/// What must not be asked or changed, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplacedParts {
    /// By host: its engine is another one.
    engines: BTreeMap<String, String>,
    /// Everything that is no engine's: the account or the region is another one.
    cloud: Option<String>,
    /// All of it: a simulated world that was lost and has begun anew.
    whole: Option<String>,
}

/// The key under which a world's identity has its engines, by host.
const ENGINES: &str = "engines";
/// The key under which a world that is kept on disk has a name of its own, and the one for a
/// record of a cloud. A world that did not tell it then is of an older Stepback.
const WORLD: &str = "world";
const LEDGER: &str = "ledger";
/// The key of the directory that a ledger and what it is about are in.
const ROOT: &str = "root";

/// The keys of a load balancer's pools, by name, and of where instances are.
const POOLS: &str = "pools";
const ADDRESSES: &str = "addresses";
/// Of these there may be more than there were, and the world is the same.
const GROWS: [&str; 3] = [ENGINES, POOLS, ADDRESSES];

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or_default()
}

/// Whether a path of an identity leads to an engine.
fn is_engines(path: &str) -> bool {
    path.split('.').any(|part| part == ENGINES)
}

impl ReplacedParts {
    /// What differs between the world as it was and as it is. What did not answer, then or now, is
    /// `null` and taken for the same: it keeps nothing else from being put right.
    pub(crate) fn between(then: &Value, now: &Value) -> Self {
        let mut replaced = Self::default();
        replaced.compare(then, now, "");
        replaced
    }

    fn compare(&mut self, then: &Value, now: &Value, path: &str) {
        match (then, now) {
            (Value::Null, _) | (_, Value::Null) => {}
            (Value::Object(then), Value::Object(now)) => {
                // The ledger tells which it is, wherever it was moved to.
                let is_moved = then.contains_key(LEDGER) && then.get(LEDGER) == now.get(LEDGER);
                for key in then.keys().chain(now.keys().filter(|key| !then.contains_key(*key))) {
                    let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    match (then.get(key), now.get(key)) {
                        _ if is_moved && key == ROOT => {}
                        (Some(then), Some(now)) => self.compare(then, now, &at),
                        (Some(then), None) => self.is_gone(then, &at),
                        (None, Some(_)) if [WORLD, LEDGER].contains(&key.as_str()) => {}
                        // The operation knew of none there, nor of what has come since.
                        (None, Some(_)) if GROWS.contains(&last(path)) => {}
                        (None, Some(_)) if GROWS.contains(&key.as_str()) => {}
                        (None, Some(now)) if now.get(POOLS).is_some() => {}
                        (None, Some(now)) => self.note(&at, "not there", &now.to_string()),
                        (None, None) => {}
                    }
                }
            }
            (then, now) if then == now => {}
            // An older Stepback knew an engine by less.
            (Value::String(then), Value::String(now))
                if is_engines(path)
                    && now
                        .strip_prefix(then.as_str())
                        .is_some_and(|more| more.starts_with('/')) => {}
            (then, now) => self.note(path, &then.to_string(), &now.to_string()),
        }
    }

    /// Of what is not there any more, each part is another one: the engines of a provider that the
    /// environment has no more, too.
    fn is_gone(&mut self, then: &Value, path: &str) {
        match then {
            Value::Object(parts) if !parts.is_empty() => {
                for (key, part) in parts {
                    self.is_gone(part, &format!("{path}.{key}"));
                }
            }
            then => self.note(path, &then.to_string(), "not there"),
        }
    }

    fn note(&mut self, path: &str, then: &str, now: &str) {
        match path.split_once(&format!("{ENGINES}.")) {
            Some((_, host)) => {
                let why = format!("the Docker Engine of {host} was {then} and is {now}");
                self.engines.insert(host.to_owned(), why);
            }
            None if path.rsplit('.').next() == Some(WORLD) => {
                let why = format!(
                    "the world was {then} and is {now}: it was lost or put in another's place, and \
                     begun anew"
                );
                self.whole.get_or_insert(why);
            }
            None => {
                let why = format!("{path} of the environment was {then} and is {now}");
                self.cloud.get_or_insert(why);
            }
        }
    }

    /// Why the world is not the one it was; nothing if it is.
    pub(crate) fn reasons(&self) -> Vec<&str> {
        let parts = self.cloud.iter().chain(self.engines.values());
        self.whole.iter().chain(parts).map(String::as_str).collect()
    }

    /// Whether a call may be made.
    ///
    /// # Errors
    /// It is for a part of the world that is another one by now.
    pub(crate) fn must_allow(&self, call: &Call) -> Result<(), Failure> {
        let why = self.why(call.host().map(InstanceId::as_str));
        why.map_or(Ok(()), |why| Err(another(call.function(), why)))
    }

    /// Whether a resource may be looked at.
    ///
    /// # Errors
    /// It is in a part of the world that is another one by now.
    pub(crate) fn must_allow_look(&self, resource: &Resource) -> Result<(), Failure> {
        let why = self.why(resource.host());
        why.map_or(Ok(()), |why| Err(another(&resource.to_string(), why)))
    }

    /// The engines that are others, by host, and why.
    pub(crate) fn engines(&self) -> impl Iterator<Item = (&String, &String)> {
        self.engines.iter()
    }

    /// Why everything that is no engine's is another one, if it is.
    pub(crate) fn cloud(&self) -> Option<&String> {
        self.cloud.as_ref()
    }

    /// Whether a search of the world tells anything.
    ///
    /// # Errors
    /// All of it is another one by now.
    pub(crate) fn must_allow_search(&self) -> Result<(), Failure> {
        let why = self.whole.as_ref();
        why.map_or(Ok(()), |why| Err(another("searching for what was made", why)))
    }

    /// Why an engine, or what is no engine's, is another one by now.
    fn why(&self, host: Option<&str>) -> Option<&String> {
        let part = match host {
            Some(host) => self.engines.get(host),
            None => self.cloud.as_ref(),
        };
        self.whole.as_ref().or(part)
    }
}

fn another(what: &str, why: &str) -> Failure {
    let message = format!("{what}: {why}; what was done there can't be taken back from here");
    Failure::new(FailureClass::Precondition, message).with_code("another-world")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use stepback_core::calls::{DockerCall, EbsCall};

    fn replaced(then: &Value, now: &Value) -> Vec<String> {
        ReplacedParts::between(then, now).reasons().into_iter().map(str::to_owned).collect()
    }

    /// A pool more, or an instance, is nothing to an operation that knew of none; one that is
    /// elsewhere is another.
    #[test]
    fn a_world_that_has_more_than_it_had_is_the_same() {
        let of = |address: &str, pools: Value| {
            let onebox = json!({ "ledger": "l", "addresses": { "i-a": address } });
            json!({ "onebox": onebox, "haproxy": { "provider": "haproxy", "pools": pools } })
        };
        let web = |backend: &str| json!({ "web": { "backend": backend } });
        let then = of("127.0.0.1", web("web"));
        let mut more = of("127.0.0.1", web("web"));
        more["haproxy"]["pools"]["api"] = json!({ "backend": "api" });
        more["onebox"]["addresses"]["i-b"] = "127.0.0.2".into();
        assert_eq!(replaced(&then, &more), [""; 0]);
        let none = json!({ "onebox": { "ledger": "l" } });
        assert_eq!(replaced(&none, &then), [""; 0], "it knew of none");
        assert_eq!(replaced(&then, &of("127.0.0.1", web("other"))).len(), 1);
        let moved = replaced(&then, &of("127.0.0.2", web("web")));
        assert!(moved[0].contains("127.0.0.2"), "{moved:?}");
        assert_eq!(replaced(&then, &none).len(), 1, "it is gone");
    }

    #[test]
    fn a_world_is_the_same_as_far_as_it_told() {
        let then =
            json!({ "aws": { "account": "1" }, "docker": { "engines": { "a": "A", "b": null } } });
        let now = |account: &str, a: Value, b: Value| {
            let engines = json!({ "engines": { "a": a, "b": b } });
            json!({ "aws": { "account": account }, "docker": engines })
        };
        assert_eq!(replaced(&then, &then), [""; 0]);
        assert_eq!(
            replaced(&then, &now("1", json!("A"), json!("B"))),
            [""; 0],
            "it did not tell then"
        );
        assert_eq!(
            replaced(&then, &now("1", Value::Null, Value::Null)),
            [""; 0],
            "it can't tell now"
        );
        assert_eq!(replaced(&then, &now("1", json!("C"), Value::Null)).len(), 1, "another engine");
        assert_eq!(
            replaced(&then, &now("2", json!("C"), Value::Null)).len(),
            2,
            "another account too"
        );
        let whole = |id: &str| now("1", json!(id), Value::Null);
        assert_eq!(replaced(&then, &whole("A/none")), [""; 0], "an older Stepback knew less");
        assert_eq!(replaced(&then, &whole("AB")).len(), 1, "it only begins alike");
        assert_eq!(replaced(&whole("A/none"), &whole("A/other")).len(), 1, "another data-root");
        let gone = json!({ "aws": { "account": "1" }, "docker": { "engines": { "a": "A" } } });
        assert_eq!(
            replaced(&now("1", json!("A"), json!("B")), &gone).len(),
            1,
            "no engine any more"
        );
        assert_eq!(replaced(&gone, &now("1", json!("A"), json!("B"))), [""; 0], "one more engine");
        let other = json!({ "provider": "simulated", "world": "x" });
        let of_other = ReplacedParts::between(&then, &other);
        let engine = Resource::Container { host: "a".into(), name: "db".into() };
        assert!(of_other.must_allow_look(&engine).is_err(), "another provider");
        let onebox = |root: &str, ledger: &str| {
            let one = json!({ "provider": "onebox", "root": root, "ledger": ledger });
            json!({ "onebox": one })
        };
        assert_eq!(replaced(&onebox("/a", "x"), &onebox("/b", "x")), [""; 0], "it was moved");
        assert_eq!(replaced(&onebox("/a", "x"), &onebox("/a", "y")).len(), 1, "it began anew");
    }

    /// Its containers have the names of those that are gone, on hosts of the same names.
    #[test]
    fn of_a_world_that_began_anew_nothing_is_asked() {
        let world = |id: Value| json!({ "provider": "simulated", "world": id });
        let older = json!({ "provider": "simulated" });
        for (then, now) in [
            (&world(json!("a")), &world(json!("a"))),
            (&world(Value::Null), &world(json!("b"))),
            (&older, &world(json!("b"))),
        ] {
            assert_eq!(replaced(then, now), [""; 0]);
        }
        let anew = ReplacedParts::between(&world(json!("a")), &world(json!("b")));
        let stop =
            Call::Docker(DockerCall::InspectContainer { host: "h".into(), container: "c".into() });
        let detach = Call::Ebs(EbsCall::Detach { volume: "vol-1".into(), instance: "i-a".into() });
        assert!(anew.must_allow(&stop).is_err() && anew.must_allow(&detach).is_err());
        let container = Resource::Container { host: "h".into(), name: "c".into() };
        assert!(anew.must_allow_look(&container).is_err());
        assert_eq!(anew.reasons().len(), 1);
    }

    #[test]
    fn only_what_was_replaced_is_refused() {
        let world = |account: &str, a: &str| {
            let engines = json!({ "engines": { "i-a": a } });
            json!({ "aws": { "account": account }, "docker": engines })
        };
        let start = |host: &str| {
            Call::Docker(DockerCall::StartContainer { host: host.into(), container: "db".into() })
        };
        let detach = Call::Ebs(EbsCall::Detach { volume: "vol-1".into(), instance: "i-a".into() });
        let allowed = |replaced: &ReplacedParts, call: &Call| replaced.must_allow(call).is_ok();
        let engine = ReplacedParts::between(&world("1", "A"), &world("1", "B"));
        assert!(!allowed(&engine, &start("i-a")));
        assert!(allowed(&engine, &start("i-b")) && allowed(&engine, &detach));
        let account = ReplacedParts::between(&world("1", "A"), &world("2", "A"));
        assert!(allowed(&account, &start("i-a")) && !allowed(&account, &detach));
        let volume = Resource::Volume { id: "vol-1".into() };
        assert!(
            account.must_allow_look(&volume).is_err() && engine.must_allow_look(&volume).is_ok()
        );
    }
}
