//! What copies have in common until one of them is changed, so that a copy costs nothing.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What a clone shares; whoever changes a clone has one of their own from then on.
#[derive(Default, PartialEq, Eq)]
pub struct Shared<T>(Arc<T>);

/// The facts of one resource by name.
///
/// They are in every record of an effect, in the state, the baselines and the undo's past, and
/// hardly ever changed: all of those have the same one.
pub type FactMap = Shared<BTreeMap<String, Value>>;

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> From<T> for Shared<T> {
    fn from(whole: T) -> Self {
        Self(Arc::new(whole))
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Shared<BTreeMap<K, V>> {
    fn from(all: [(K, V); N]) -> Self {
        BTreeMap::from(all).into()
    }
}

impl<T: FromIterator<I>, I> FromIterator<I> for Shared<T> {
    fn from_iter<All: IntoIterator<Item = I>>(all: All) -> Self {
        T::from_iter(all).into()
    }
}

impl<T: IntoIterator + Clone> IntoIterator for Shared<T> {
    type Item = T::Item;
    type IntoIter = T::IntoIter;

    fn into_iter(self) -> T::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Shared<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&**self).into_iter()
    }
}

impl<'a, T: Clone> IntoIterator for &'a mut Shared<T>
where
    &'a mut T: IntoIterator,
{
    type Item = <&'a mut T as IntoIterator>::Item;
    type IntoIter = <&'a mut T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&mut **self).into_iter()
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
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
        assert_eq!(other.into_iter().next(), Some(("a".to_owned(), 2.into())));
    }

    #[test]
    fn of_what_is_shared_in_parts_only_the_part_that_changes_is_copied() {
        type Parts = Shared<BTreeMap<&'static str, Shared<Vec<u32>>>>;
        let mut one: Parts = [("a", vec![1].into()), ("b", vec![2].into())].into();
        let other = one.clone();
        for (name, part) in &mut one {
            if *name == "a" {
                part.push(7);
            }
        }
        assert_eq!((one["a"].as_slice(), other["a"].as_slice()), (&[1, 7][..], &[1][..]));
        assert!(Arc::ptr_eq(&one["b"].0, &other["b"].0));
        assert_ne!(one, other);
    }
}
