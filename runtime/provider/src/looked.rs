//! Which containers were looked at by their names before an effect was permitted.
//!
//! How far a container reaches is read by its name, and so is what one like it is made of, later:
//! whoever renames another one in between would have that one's reach, or its volumes.

use std::collections::BTreeMap;
use stepback_core::resource::IDENTITY;
use stepback_core::{Facts, Failure, FailureClass};

/// The code of what is refused because a name is another container's by now.
pub const ANOTHER_ONE: &str = "another-one";

/// The ids that containers had, by their hosts and their names there, when they were looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Looked(BTreeMap<(String, String), String>);

impl Looked {
    /// What was read of these containers.
    pub fn at<'a>(seen: impl IntoIterator<Item = (&'a (String, String), &'a Facts)>) -> Self {
        let with_ids = seen.into_iter().filter_map(|(place, facts)| {
            let id = facts.get(IDENTITY)?.as_str()?;
            Some((place.clone(), id.to_owned()))
        });
        Self(with_ids.collect())
    }

    /// Whether the container of this name is still the one that was looked at, if one was.
    ///
    /// # Errors
    /// That it is another one.
    pub fn must_be(&self, host: &str, name: &str, id: &str) -> Result<(), Failure> {
        match self.0.get(&(host.to_owned(), name.to_owned())) {
            Some(wanted) if wanted != id => {
                let message = format!(
                    "container `{name}` on {host} is another one than what was held against the \
                     grants: somebody renamed it meanwhile"
                );
                Err(Failure::new(FailureClass::Denied, message).with_code(ANOTHER_ONE))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn another_container_of_the_name_is_not_the_one_that_was_looked_at() {
        let place = ("i-1".to_owned(), "web".to_owned());
        let facts = Facts::from_json(json!({ (IDENTITY): "one" }));
        let looked = Looked::at([(&place, &facts)]);
        assert_eq!(looked.must_be("i-1", "web", "one"), Ok(()));
        assert_eq!(looked.must_be("i-1", "other", "two"), Ok(()));
        let refused = looked.must_be("i-1", "web", "two").expect_err("another one");
        assert_eq!(refused.code.as_deref(), Some(ANOTHER_ONE));
        assert_eq!(Looked::default().must_be("i-1", "web", "two"), Ok(()));
    }
}
