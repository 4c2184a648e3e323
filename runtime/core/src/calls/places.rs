//! Every text of a call, with the place that it has in it.
//!
//! What a text may hold depends on where it goes. A place is told by the call's form in JSON, in
//! which each argument has its name: a new function, or a new field of one, needs nothing here.

use super::{Call, Sink, Sinks};
use serde_json::Value;

/// Where a text of a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentPlace {
    /// As people read it: `value`, `spec.command[1]`, `a key of tags`.
    pub name: String,
    /// What it is, if a secret may be put there.
    pub sink: Option<Sink>,
}

impl Call {
    /// The same call with each of its texts changed, keys of maps included, by the place it has.
    ///
    /// # Errors
    /// A change that leaves no such call.
    pub fn map_places(
        &self,
        change: &mut dyn FnMut(&ArgumentPlace, &str) -> String,
    ) -> Result<Self, serde_json::Error> {
        let mut written = serde_json::to_value(self)?;
        let sinks = self.entry().sinks;
        if let Some(arguments) = written.get_mut("arguments") {
            in_value(arguments, sinks, &mut vec![], change);
        }
        serde_json::from_value(written)
    }
}

fn in_value(
    value: &mut Value,
    sinks: Sinks,
    path: &mut Vec<String>,
    change: &mut dyn FnMut(&ArgumentPlace, &str) -> String,
) {
    match value {
        Value::String(text) => {
            let place = ArgumentPlace { name: name(path), sink: sinks.at(path) };
            *text = change(&place, text);
        }
        Value::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                path.push(format!("[{index}]"));
                in_value(item, sinks, path, change);
                path.pop();
            }
        }
        Value::Object(map) => {
            // Nothing tells a record's own names, which nobody changes, from the keys of a map.
            let key_of = ArgumentPlace { name: format!("a key of {}", name(path)), sink: None };
            for (key, mut item) in std::mem::take(map) {
                let changed = change(&key_of, &key);
                path.push(key);
                in_value(&mut item, sinks, path, change);
                path.pop();
                map.insert(changed, item);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn name(path: &[String]) -> String {
    let mut name = String::new();
    for part in path {
        if !name.is_empty() && !part.starts_with('[') {
            name.push('.');
        }
        name.push_str(part);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{ContainerSpec, DockerCall};

    #[test]
    fn each_text_of_a_call_has_its_place() {
        let mut spec = ContainerSpec { image: "db:1".into(), ..ContainerSpec::default() };
        spec.command = vec!["run".into()];
        spec.env.insert("PW".into(), "x".into());
        spec.labels.insert("team".into(), "data".into());
        let (host, container) = ("i-1".into(), "main".into());
        let call = Call::Docker(DockerCall::CreateContainer { host, container, spec });
        let mut told = vec![];
        let same = call.map_places(&mut |place, text| {
            told.push(format!("{}={text} {:?}", place.name, place.sink));
            text.to_owned()
        });
        assert_eq!(same.expect("the same call"), call);
        for wanted in [
            "host=i-1 None",
            "spec.image=db:1 None",
            "spec.command[0]=run Some(Command)",
            "spec.env.PW=x Some(Environment)",
            "a key of spec.env=PW None",
            "spec.labels.team=data None",
            "a key of spec.labels=team None",
        ] {
            assert!(told.iter().any(|one| one == wanted), "{wanted} is not in {told:?}");
        }
    }
}
