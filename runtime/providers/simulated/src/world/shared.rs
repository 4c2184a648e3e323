//! A part of a world that its copies have in common until one of them changes it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What a clone shares: it is copied when one of the two is about to be changed.
///
/// Every look at a world is at a copy of it, and a rehearsal keeps one of thousands of instants;
/// next to nothing changes from one to the next.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T: Clone> Shared<T> {
    /// Itself, copied if somebody else has it too.
    pub fn into_inner(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> From<T> for Shared<T> {
    fn from(whole: T) -> Self {
        Self(Arc::new(whole))
    }
}

impl<T: FromIterator<I>, I> FromIterator<I> for Shared<T> {
    fn from_iter<All: IntoIterator<Item = I>>(all: All) -> Self {
        T::from_iter(all).into()
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
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

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (**self).serialize(serializer)
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
    use std::collections::BTreeMap;

    #[test]
    fn what_one_copy_changes_the_other_has_as_it_was() {
        let mut one: Shared<BTreeMap<&str, Shared<Vec<u32>>>> =
            [("a", vec![1].into()), ("b", vec![2].into())].into_iter().collect();
        let other = one.clone();
        assert!(Arc::ptr_eq(&one.0, &other.0));
        one.get_mut("a").unwrap().push(7);
        assert_eq!((one["a"].as_slice(), other["a"].as_slice()), (&[1, 7][..], &[1][..]));
        assert_ne!(one, other);
        // What nobody touched they still have in common.
        assert!(Arc::ptr_eq(&one["b"].0, &other["b"].0));
        one.get_mut("a").unwrap().pop();
        assert_eq!(one, other);
        let written = serde_json::to_string(&one).unwrap();
        assert_eq!(written, r#"{"a":[1],"b":[2]}"#);
        assert_eq!(serde_json::from_str::<Shared<BTreeMap<&str, _>>>(&written).unwrap(), other);
        assert_eq!(other.into_inner()["b"], vec![2].into());
    }
}
