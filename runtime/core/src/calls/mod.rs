//! The host functions: one typed call each, and the one table that tells what each means.
//!
//! [`Call`] is what a guest asks for, what the journal holds and what a provider is given. Each
//! host interface has a file here with an [`Entry`] for each of its functions, which says all that
//! the rest of the program must know of it: may it change anything, what does it touch, which
//! facts does it change, how is a lost answer settled, what takes it back.
//!
//! A new function is a line in its interface's list, its place among the interface's reads, waits
//! or effects, and an entry beside them; without these, or without one of the entry's fields,
//! nothing compiles.

mod ahead;
mod area;
pub mod bounds;
mod clock;
mod docker;
mod ebs;
mod ec2;
mod effects;
mod entry;
mod inverse;
mod load_balancer;
mod places;
mod plain;
mod shapes;

pub use ahead::{NOT_KNOWN_YET, is_not_known_yet};
pub use area::{Area, Beside};
pub use clock::ClockCall;
pub use docker::DockerCall;
pub use ebs::EbsCall;
pub use ec2::Ec2Call;
pub use effects::EffectsCall;
pub use entry::{
    Changes, Class, Entry, Sets, SettleMode, Sink, Sinks, Takes, Target, Touches, WrittenTags,
};
pub use inverse::{Inverse, Other, Reversal, Undo};
pub use load_balancer::{LoadBalancerCall, OnTimeout};
pub use places::ArgumentPlace;
pub use shapes::{ContainerSpec, Like, Mount, Performance, Tags, run_once_name};

use crate::ids::*;
use crate::interface::Interface;
use crate::resource::Resource;
use crate::texts::{Change, MapTexts};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

/// How long a last look at the world may take, in milliseconds.
const LAST_LOOK_MS: u64 = 5_000;

/// One interface's calls, with the names that the contract, `--inject` and the journal know.
macro_rules! functions {
    ($(#[$doc:meta])* $calls:ident of $interface:path {
        $($variant:ident $name:literal {
            $($(#[$attr:meta])* $field:ident : $type:ty),* $(,)?
        }),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(tag = "function", content = "arguments")]
        pub enum $calls {
            $(
                #[doc = concat!("`", $name, "` in the contract, in `--inject` and in the journal.")]
                #[serde(rename = $name)] $variant { $(
                    #[doc = concat!("An argument of `", $name, "`, so named in the journal too.")]
                    $(#[$attr])* $field: $type
                ),* }
            ),+
        }

        impl $calls {
            /// The interface that they are of.
            pub const INTERFACE: $crate::interface::Interface = $interface;
            /// Every function's name.
            pub const FUNCTIONS: &'static [&'static str] = &[$($name),+];

            /// A call of the function with nothing in its arguments.
            pub(super) fn blank(function: &str) -> Option<Self> {
                match function {
                    $($name => Some($calls::$variant { $($field: Default::default()),* }),)+
                    _ => None,
                }
            }

            /// `interface.function`.
            pub fn function(&self) -> &'static str {
                match self { $($calls::$variant { .. } => $name),+ }
            }

            /// The argument of this name, if it is a number of milliseconds.
            pub(super) fn milliseconds(&self, name: &str) -> Option<u64> {
                match self {
                    $($calls::$variant { $($field),* } => {
                        $(if stringify!($field) == name {
                            return ($field as &dyn std::any::Any).downcast_ref().copied();
                        })*
                    }),+
                }
                None
            }

            pub(super) fn milliseconds_mut(&mut self, name: &str) -> Option<&mut u64> {
                match self {
                    $($calls::$variant { $($field),* } => {
                        $(if stringify!($field) == name {
                            return ($field as &mut dyn std::any::Any).downcast_mut();
                        })*
                    }),+
                }
                None
            }
        }

        impl $crate::texts::MapTexts for $calls {
            fn map_texts(&self, _change: $crate::texts::Change<'_>) -> Self {
                match self {
                    $($calls::$variant { $($field),* } => $calls::$variant {
                        $($field: $crate::texts::MapTexts::map_texts($field, _change)),*
                    }),+
                }
            }
        }
    };
}
use functions;

macro_rules! interfaces {
    ($($variant:ident $calls:ident),+ $(,)?) => {
        /// One host call with its arguments.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Call {
            $(
                #[doc = concat!("A call of one of the functions in [`", stringify!($calls), "`].")]
                $variant($calls)
            ),+
        }

        $(impl From<$calls> for Call {
            fn from(call: $calls) -> Self {
                Call::$variant(call)
            }
        })+

        impl Call {
            /// Every function's name.
            pub fn functions() -> impl Iterator<Item = &'static str> + Clone {
                [$($calls::FUNCTIONS),+].into_iter().flatten().copied()
            }

            /// What a function does to the world, by its name: its entry says it, whatever the
            /// arguments are.
            pub fn class_of(function: &str) -> Option<Class> {
                $(if let Some(call) = $calls::blank(function) {
                    return Some(Call::$variant(call).class());
                })+
                None
            }

            /// `interface.function`, as in the contract, in `--inject` and in the journal.
            pub fn function(&self) -> &'static str {
                match self { $(Call::$variant(call) => call.function()),+ }
            }

            /// The interface that the call is of.
            pub fn interface(&self) -> Interface {
                match self { $(Call::$variant(_) => $calls::INTERFACE),+ }
            }

            /// All that is to be known of its function.
            pub fn entry(&self) -> Entry<'_> {
                match self { $(Call::$variant(call) => call.entry()),+ }
            }

            fn milliseconds(&self, name: &str) -> Option<u64> {
                match self { $(Call::$variant(call) => call.milliseconds(name)),+ }
            }

            fn milliseconds_mut(&mut self, name: &str) -> Option<&mut u64> {
                match self { $(Call::$variant(call) => call.milliseconds_mut(name)),+ }
            }
        }

        impl MapTexts for Call {
            fn map_texts(&self, change: Change<'_>) -> Self {
                match self { $(Call::$variant(call) => call.map_texts(change).into()),+ }
            }
        }

        impl Serialize for Call {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Call::$variant(call) => call.serialize(serializer)),+ }
            }
        }

        impl<'de> Deserialize<'de> for Call {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(Deserialize)]
                struct Written {
                    function: String,
                    arguments: Value,
                }
                let Written { function, arguments } = Written::deserialize(deserializer)?;
                $(if $calls::FUNCTIONS.contains(&function.as_str()) {
                    let written = json!({ "function": function, "arguments": arguments });
                    let call: $calls = serde_json::from_value(written).map_err(D::Error::custom)?;
                    return Ok(call.into());
                })+
                Err(D::Error::custom(format!("there is no host function `{function}`")))
            }
        }
    };
}

interfaces! {
    Ec2 Ec2Call,
    Ebs EbsCall,
    Docker DockerCall,
    LoadBalancer LoadBalancerCall,
    Effects EffectsCall,
    Clock ClockCall,
}

impl Call {
    /// Whether the function reads, waits or changes the world.
    pub fn class(&self) -> Class {
        self.entry().class
    }

    /// Whether the call changes the world at all.
    pub fn is_effect(&self) -> bool {
        matches!(self.class(), Class::Effect | Class::Irreversible)
    }

    /// Every resource the call touches, what it mainly changes first; none for reads and waits.
    ///
    /// `token` names what is created until the result tells its own name.
    pub fn resources(&self, token: &Token) -> Vec<Resource> {
        self.entry().touches.resources(token)
    }

    /// The areas that an effect changes; none for reads and waits.
    ///
    /// `token` names what is created until the result tells its own name.
    pub fn areas(&self, token: &Token) -> Vec<Area> {
        let entry = self.entry();
        let touched = entry.touches.resources(token);
        let fact = |name: String| touched.first().map(|main| Area::Fact(main.clone(), name));
        match entry.changes {
            Changes::Nothing => vec![],
            Changes::Whole => touched.into_iter().map(Area::Resource).collect(),
            Changes::Facts(names) => {
                names.iter().filter_map(|name| fact((*name).to_owned())).collect()
            }
            Changes::Tag(key) => fact(format!("tags.{key}")).into_iter().collect(),
            Changes::Host(instance) => vec![Area::Host(instance.clone())],
        }
    }

    /// The fact that an effect sets, and what it is afterwards, where the call alone tells.
    pub fn leaves(&self) -> Option<(String, Option<Value>)> {
        self.entry().sets.fact()
    }

    /// Whether it removes what has a name that somebody else may give to another thing then.
    pub fn removes(&self) -> bool {
        matches!(
            self,
            Call::Docker(DockerCall::RemoveContainer { .. } | DockerCall::RemoveVolume { .. })
        )
    }

    /// The host whose Docker Engine the call is for.
    pub fn host(&self) -> Option<&InstanceId> {
        self.entry().host
    }

    /// What it has in common with other effects, beside what it changes.
    pub fn shares(&self) -> Option<Area> {
        let nameless = Token(String::new());
        self.entry().shares.map(|target| Area::Resource(target.resource(&nameless)))
    }

    /// Whose changes its undo must come before the undos of.
    pub fn before(&self) -> Option<Area> {
        let nameless = Token(String::new());
        self.entry().before.map(|target| match target {
            Target::Instance(host) => Area::Host(host.clone()),
            other => Area::Resource(other.resource(&nameless)),
        })
    }

    /// What an effect changes beside its object.
    pub fn beside(&self) -> Option<Beside> {
        self.entry().beside
    }

    /// How a lost answer is settled (R3); `None` for reads and waits, which are just asked again.
    pub fn settle_mode(&self) -> Option<SettleMode> {
        self.entry().settle
    }

    /// Whether what it makes carries its stamp, so that it can be told from anything of that name.
    pub fn leaves_a_stamp(&self) -> bool {
        matches!(self.settle_mode(), Some(SettleMode::FindByStamp | SettleMode::ReissueSameToken))
    }

    /// How long, in milliseconds, the call itself says that it may take; 0 if it says nothing.
    pub fn own_ms(&self) -> u64 {
        let (Takes::UpTo(name) | Takes::Exactly(name)) = self.entry().takes else { return 0 };
        self.milliseconds(name).unwrap_or_default()
    }

    /// The same call after so much of its waiting; what is no wait is as it was.
    ///
    /// What waits for the world has the time left for one more look at least.
    pub fn after_waiting(mut self, waited_ms: u64) -> Call {
        let (class, takes) = (self.class(), self.entry().takes);
        let left = |of_ms: &mut u64, least_ms: u64| {
            *of_ms = of_ms.saturating_sub(waited_ms).max(least_ms.min(*of_ms));
        };
        match takes {
            Takes::UpTo(name) if class == Class::Wait => {
                self.milliseconds_mut(name).into_iter().for_each(|ms| left(ms, LAST_LOOK_MS));
            }
            Takes::Exactly(name) => {
                self.milliseconds_mut(name).into_iter().for_each(|ms| left(ms, 0))
            }
            Takes::UpTo(_) | Takes::Moments => {}
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(host: &str, name: &str) -> Resource {
        Resource::Container { host: host.into(), name: name.into() }
    }

    #[test]
    fn areas_overlap_where_one_holds_the_other() {
        let whole = Area::Resource(container("i-1", "db"));
        let running = Area::Fact(container("i-1", "db"), "running".into());
        let restart = Area::Fact(container("i-1", "db"), "restart".into());
        let host = |id: &str| Area::Host(id.into());
        for (one, two, wanted) in [
            (&whole, &running, true),
            (&running, &running, true),
            (&running, &restart, false),
            (&host("i-1"), &restart, true),
            (&host("i-2"), &restart, false),
            (&Area::Resource(container("i-2", "db")), &whole, false),
            (&host("i-1"), &Area::Resource(Resource::Instance { id: "i-1".into() }), true),
        ] {
            assert_eq!(one.overlaps(two), wanted, "{one} and {two}");
            assert_eq!(two.overlaps(one), wanted, "{two} and {one}");
        }
    }

    #[test]
    fn a_class_is_told_by_the_name_alone() {
        let class = |function: &str| Call::class_of(function);
        assert_eq!(class("docker.exec"), Some(Class::Irreversible));
        assert_eq!(class("ebs.tag"), Some(Class::Effect));
        assert_eq!(class("clock.sleep"), Some(Class::Wait));
        assert_eq!(class("ec2.find"), Some(Class::Read));
        assert_eq!(class("log.line"), None);
        assert!(Call::functions().all(|function| class(function).is_some()));
    }

    #[test]
    fn every_effect_on_something_that_is_there_names_what_it_changes() {
        let rename = Call::Docker(DockerCall::RenameContainer {
            host: "i-1".into(),
            container: "a".into(),
            to: "b".into(),
        });
        let both = ["a", "b"].map(|name| Area::Resource(container("i-1", name)));
        assert_eq!(rename.areas(&"t".into()), both);
        let stop = Call::Ec2(Ec2Call::Stop { instance: "i-1".into() });
        let on_it = Area::Fact(container("i-1", "a"), "running".into());
        assert!(stop.areas(&"t".into()).iter().any(|area| area.overlaps(&on_it)));
    }
}
