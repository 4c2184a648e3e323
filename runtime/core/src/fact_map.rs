//! The facts of one resource by name, of which a copy costs nothing.
//!
//! They are in every record of an effect, in the state, the baselines and the undo's past, and
//! hardly ever changed: all of those have the same one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::{BTreeMap, btree_map};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Facts by name. Whoever changes a copy has one of their own from then on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FactMap(Arc<BTreeMap<String, Value>>);

impl Deref for FactMap {
    type Target = BTreeMap<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for FactMap {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl From<BTreeMap<String, Value>> for FactMap {
    fn from(map: BTreeMap<String, Value>) -> Self {
        Self(Arc::new(map))
    }
}

impl<const N: usize> From<[(String, Value); N]> for FactMap {
    fn from(all: [(String, Value); N]) -> Self {
        BTreeMap::from(all).into()
    }
}

impl FromIterator<(String, Value)> for FactMap {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(all: I) -> Self {
        all.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl IntoIterator for FactMap {
    type Item = (String, Value);
    type IntoIter = btree_map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl fmt::Debug for FactMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for FactMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FactMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_the_same_until_it_is_changed() {
        let one = FactMap::from([("a".to_owned(), Value::from(1))]);
        let mut other = one.clone();
        assert!(Arc::ptr_eq(&one.0, &other.0));
        other.insert("a".to_owned(), Value::from(2));
        assert_eq!((one["a"].clone(), other["a"].clone()), (1.into(), 2.into()));
        let text = serde_json::to_string(&other).unwrap();
        assert_eq!(text, r#"{"a":2}"#);
        assert_eq!(serde_json::from_str::<FactMap>(&text).unwrap(), other);
    }
}
