//! What a deploy is to make of an app.

use crate::found::{App, Asked, Surveys, There, key, refused};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepback_sdk::{Check, Failure, Step};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SurveyInput {
    /// The app's name, which its containers have in the label `app`.
    app: String,
    /// The instances whose Docker Engines run it.
    hosts: Vec<String>,
    /// So many containers on each of them.
    replicas: u32,
    /// Where its traffic comes from.
    pool: String,
    /// The port that it listens on, in its containers.
    port: u16,
    /// Targets of the pool that are none of the app's: `refused`, or `kept` as they are.
    #[serde(default = "refused")]
    strangers: String,
    /// Running containers of the app that get no traffic from the pool: `refused`, or `stopped`
    /// with the others.
    #[serde(default = "refused")]
    outside: String,
}

/// A container that is to be made.
#[derive(Serialize, JsonSchema)]
pub struct New {
    pub host: String,
    pub container: String,
}

#[derive(Serialize, JsonSchema)]
pub struct Surveyed {
    #[serde(flatten)]
    pub there: There,
    /// What is to be made, by `CONTAINER.HOST`.
    pub new: BTreeMap<String, New>,
    /// How many targets must get traffic and be healthy all the time: as many as before, or as are
    /// asked for and stay if these are fewer.
    pub floor: u32,
}

pub struct Survey;

impl Step for Survey {
    type Input = SurveyInput;
    type Output = Surveyed;
    const NAME: &'static str = "survey";
    const DOC: &'static str = "Look at an app's containers and its pool: what is old, what is to \
                               be made, and how many must stay up.";

    fn check(input: &SurveyInput) -> Result<Check, Failure> {
        input.checked()
    }

    fn run(input: SurveyInput) -> Result<Surveyed, Failure> {
        input.found()
    }
}

impl Surveys for SurveyInput {
    type Found = Surveyed;

    fn asked(&self) -> Asked<'_> {
        let Self { app, hosts, pool, strangers, outside, .. } = self;
        Asked { app, hosts, pool, strangers, outside }
    }

    fn odd(&self) -> Option<String> {
        self.asked().odd().or_else(|| match (self.port, self.replicas) {
            (0, _) => Some("`port` is 0: give the one the app listens on".to_owned()),
            (_, 0) => Some("`replicas` is 0: a deploy does not take an app down".to_owned()),
            _ => None,
        })
    }

    fn of(&self, app: &App<'_>) -> Result<Surveyed, Failure> {
        let there = app.there()?;
        let mut new = BTreeMap::new();
        for host in &self.hosts {
            for number in 1..=self.replicas as usize {
                let one = New { host: host.clone(), container: app.name(number) };
                new.insert(key(host, &one.container), one);
            }
        }
        let floor = there.floor(new.len());
        Ok(Surveyed { there, new, floor })
    }
}
