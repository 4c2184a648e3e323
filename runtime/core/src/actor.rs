//! Who did something: what is told of them, and whose account it was.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who did something. In a journal its two fields stand beside those of the event, where older
/// ones have the first alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// For people, such as `ann@box (uid 1000)`. Nothing is decided by it: in a journal of
    /// somebody else's it may say anything.
    #[serde(rename = "actor")]
    pub name: String,
    /// The account on the machine, by the system: whoever called `sudo`, where it was called so.
    /// It alone counts where it matters who it was; `None` where it is not known.
    #[serde(rename = "actor_uid", default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Somebody whose account is not known.
impl From<&str> for Actor {
    fn from(name: &str) -> Self {
        name.to_owned().into()
    }
}

/// Somebody whose account is not known.
impl From<String> for Actor {
    fn from(name: String) -> Self {
        Self { name, uid: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn a_journal_has_the_account_beside_the_name_and_an_older_one_has_none() {
        let old = r#"{"event":"cancel-requested","actor":"ann@box (uid 1000)","reason":null}"#;
        let read: Event = serde_json::from_str(old).expect("an old event");
        let Event::CancelRequested { actor, .. } = &read else { panic!("{read:?}") };
        assert_eq!(*actor, Actor::from("ann@box (uid 1000)"));
        assert_eq!(serde_json::to_string(&read).expect("an event"), old);

        let actor = Actor { name: "root@box (uid 0)".into(), uid: Some(1000) };
        let event = Event::RollbackResumed { actor };
        let new = r#"{"event":"rollback-resumed","actor":"root@box (uid 0)","actor_uid":1000}"#;
        assert_eq!(serde_json::to_string(&event).expect("an event"), new);
        assert_eq!(serde_json::from_str::<Event>(new).expect("it is read"), event);
    }
}
