//! Grants as they are written: in `stepback.toml`, and in an operation's first event.
//!
//! In the configuration the plain name of an interface is the whole of it, but no root of a host. A
//! journal's plain name is the whole of it without any limit, as those of older journals were.

use super::{CommandPattern, DockerVolumes, Functions, Glob, Grant, HostPattern, short_name};
use crate::calls::{Call, Tags};
use crate::diagnostic::suggest;
use crate::image::odd_in;
use crate::interface::Interface;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

/// What is wrong with a grant as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What is wrong, as one sentence without a full stop.
    pub message: String,
    /// The word in question, by which its place can be found.
    pub word: Option<String>,
    /// What to write instead.
    pub help: String,
}

fn mistake<T>(
    word: Option<&str>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Result<T, Mistake> {
    let word = word.map(str::to_owned);
    Err(Mistake { message: message.into(), word, help: help.into() })
}

/// The words that stand for more than one function.
const ALL: &str = "all";
const READ: &str = "read";
const ROOT: &str = "root";

/// The key that older journals do not have.
const DOCKER_VOLUMES: &str = "docker_volumes";

/// The keys that narrow `docker` alone.
const OF_DOCKER: [&str; 5] = ["containers", DOCKER_VOLUMES, "images", "commands", "env"];

/// The key that narrows `load-balancer` alone.
const POOLS: &str = "pools";

/// The keys of a grant beside those that name interfaces.
const KEYS: [&str; 8] =
    ["where", "hosts", "containers", DOCKER_VOLUMES, "images", "commands", "env", POOLS];

/// Reads one entry of `grants`, `allow` or `deny`: a grant for each interface that it names.
///
/// # Errors
/// The first thing in it that can't be taken, or that no name could ever be like.
pub fn read(written: &Value) -> Result<Vec<Grant>, Mistake> {
    let grants = read_kept(written)?;
    for grant in &grants {
        names_of(POOLS, &grant.pools, is_of_name, NAME)?;
        let DockerVolumes::Named(volumes) = &grant.docker_volumes else { continue };
        names_of("containers", &grant.containers, is_of_name, NAME)?;
        // Drivers other than Docker's own have paths for names.
        names_of(DOCKER_VOLUMES, volumes, |c| is_of_name(c) || c == '/', NAME)?;
        images_of(&grant.images)?;
        commands_of(&grant.commands)?;
        names_of(
            "env",
            &grant.env,
            |c| c.is_ascii_graphic() && !['=', '$', '{', '}', ','].contains(&c),
            "name variables without their values; `*` stands for any text, `?` for one character",
        )?;
    }
    Ok(grants)
}

const NAME: &str = "a name has letters, digits, `_`, `.` and `-` only; `*` stands for any text, \
                    `?` for one character";

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['_', '.', '-', '*', '?'].contains(&c)
}

/// A pattern that can be no name's would be taken for a limit, and deny nothing.
fn names_of(
    key: &str,
    patterns: &[Glob],
    is_part: impl Fn(char) -> bool,
    help: &str,
) -> Result<(), Mistake> {
    let is_odd = |pattern: &&Glob| {
        !pattern.0.chars().all(&is_part) || pattern.0.starts_with(['-', '.', '/', ':', '@'])
    };
    match patterns.iter().find(is_odd) {
        Some(Glob(odd)) => {
            // What is behind a sign is a value, and somebody's password perhaps.
            let sign = odd.find(['=', ':']).filter(|at| *at > 0);
            let told = sign.map_or(odd.clone(), |at| format!("{}…", &odd[..=at]));
            mistake(Some(odd), format!("nothing in `{key}` can be called `{told}`"), help)
        }
        None => Ok(()),
    }
}

/// A pattern that is of no image would be taken for a limit, and deny nothing.
fn images_of(patterns: &[Glob]) -> Result<(), Mistake> {
    // An engine takes it for a repository of the default registry.
    let alone = |text: &str| {
        let is_host = text.contains('.') && !text.contains(['/', ':', '*', '?', '@']);
        is_host.then_some("a registry alone is none; all of it is `HOST/*`")
    };
    let why = |text: &str| odd_in(text, true).or_else(|| alone(text));
    let odd = patterns.iter().find_map(|Glob(text)| Some((text, why(text)?)));
    match odd {
        Some((odd, why)) => mistake(
            Some(odd),
            format!("no image can be called `{odd}`: {why}"),
            "such as `postgres:16`, `registry.example:5000/team/*` or `*@sha256:…`",
        ),
        None => Ok(()),
    }
}

/// No shell reads a pattern: a quote would be held against a quote.
fn commands_of(patterns: &[CommandPattern]) -> Result<(), Mistake> {
    let is_quoted = |text: &str| {
        let opens = |word: &str| word.chars().next().filter(|c| ['\'', '"'].contains(c));
        let mut words = text.split_whitespace();
        words.find_map(opens).is_some_and(|quote| text.matches(quote).count() > 1)
    };
    match patterns.iter().find(|pattern| is_quoted(&pattern.0)) {
        Some(CommandPattern(odd)) => mistake(
            Some(odd),
            "a pattern of a command has no quotes: each of its words is one argument",
            "write `?` for each blank within an argument, as in `sh -c rm?-rf?*`",
        ),
        None => Ok(()),
    }
}

/// The same as a journal keeps it.
fn read_kept(written: &Value) -> Result<Vec<Grant>, Mistake> {
    match written {
        Value::String(name) => Ok(vec![Grant::whole(interface(name)?)]),
        Value::Object(table) => read_table(table),
        _ => mistake(
            None,
            "a grant is an interface's name or a table",
            "such as `\"ebs\"`, or `{ ebs = [\"describe\", \"tag\"], where = { tags = { team = \
             \"db\" } } }`",
        ),
    }
}

fn interface(name: &str) -> Result<Interface, Mistake> {
    let granted = || Interface::ALL.into_iter().filter(|one| one.needs_grant());
    let names = granted().map(Interface::name);
    match Interface::from_name(name) {
        Some(interface) => Ok(interface),
        None => {
            mistake(Some(name), format!("there is no interface `{name}`"), suggest(name, names))
        }
    }
}

fn read_table(table: &Map<String, Value>) -> Result<Vec<Grant>, Mistake> {
    let mut grants = vec![];
    for (key, value) in table.iter().filter(|(key, _)| !KEYS.contains(&key.as_str())) {
        let Some(interface) = Interface::from_name(key) else {
            let interfaces = Interface::ALL.into_iter().filter(|one| one.needs_grant());
            let names = interfaces.map(Interface::name).chain(KEYS);
            let help = match key.as_str() {
                "volumes" => "EBS volumes go by `where`, Docker volumes by `docker_volumes`".into(),
                other => suggest(other, names),
            };
            let message = format!("a grant has no `{key}`, and there is no such interface");
            return mistake(Some(key), message, help);
        };
        let (functions, root) = functions(interface, value)?;
        grants.push(Grant { functions, root, ..Grant::whole(interface) });
    }
    if grants.is_empty() {
        let help = "such as `ebs = [\"describe\"]`, `ec2 = \"read\"` or `docker = \"all\"`";
        return mistake(None, "the grant names no interface", help);
    }
    let text = |name: &str| texts(name, table.get(name));
    let globs = |name: &str| text(name).map(|all| all.into_iter().map(Glob).collect::<Vec<_>>());
    let (containers, images, env) = (globs("containers")?, globs("images")?, globs("env")?);
    let (docker_volumes, pools) = (globs(DOCKER_VOLUMES)?, globs(POOLS)?);
    let commands: Vec<CommandPattern> = text("commands")?.into_iter().map(CommandPattern).collect();
    let (tags, hosts) = (tags_of(table.get("where"))?, hosts(table.get("hosts"))?);
    let narrowing = [
        ("containers", Interface::Docker, containers.is_empty()),
        (DOCKER_VOLUMES, Interface::Docker, docker_volumes.is_empty()),
        ("images", Interface::Docker, images.is_empty()),
        ("commands", Interface::Docker, commands.is_empty()),
        ("env", Interface::Docker, env.is_empty()),
        (POOLS, Interface::LoadBalancer, pools.is_empty()),
    ];
    let is_of = |interface: Interface| grants.iter().any(|grant| grant.interface == interface);
    let mut odd = narrowing.into_iter().filter(|(_, of, is_empty)| !is_empty && !is_of(*of));
    if let Some((name, of, _)) = odd.next() {
        let help = format!("name `{of}` in the same table, or leave it out");
        return mistake(Some(name), format!("`{name}` narrows `{of}` alone"), help);
    }
    let narrowed = |grant: Grant| match grant.interface {
        Interface::Docker => Grant {
            containers: containers.clone(),
            docker_volumes: DockerVolumes::Named(docker_volumes.clone()),
            images: images.clone(),
            commands: commands.clone(),
            env: env.clone(),
            ..grant
        },
        Interface::LoadBalancer => Grant { pools: pools.clone(), ..grant },
        _ => grant,
    };
    let everywhere = |grant| Grant { tags: tags.clone(), hosts: hosts.clone(), ..narrowed(grant) };
    Ok(grants.into_iter().map(everywhere).collect())
}

fn functions(interface: Interface, value: &Value) -> Result<(Functions, bool), Mistake> {
    let words = match value {
        Value::String(word) => vec![word.clone()],
        other => texts(interface.name(), Some(other))?,
    };
    if words.is_empty() {
        let help = format!("such as `{interface} = [\"read\"]`; leave it out to grant none");
        return mistake(Some(interface.name()), format!("`{interface}` has no functions"), help);
    }
    let (mut reads, mut named, mut root, mut all) = (false, vec![], false, false);
    for word in words {
        match word.as_str() {
            ALL => all = true,
            READ => reads = true,
            ROOT if interface == Interface::Docker => root = true,
            ROOT => {
                let help = "write `docker = \"root\"`, or leave it out";
                return mistake(Some(ROOT), format!("`{interface}` has no `root`"), help);
            }
            other => named.push(function(interface, other)?),
        }
    }
    // Alone, it stands for all of them.
    let is_all = all || root && !reads && named.is_empty();
    let functions = if is_all { Functions::All } else { Functions::Some { reads, named } };
    Ok((functions, root))
}

fn function(interface: Interface, word: &str) -> Result<Glob, Mistake> {
    let of = move |name: &&str| name.split_once('.').is_some_and(|(of, _)| of == interface.name());
    let names = Call::functions().filter(of).map(short_name);
    let glob = Glob(word.to_owned());
    if names.clone().any(|name| glob.matches(name)) {
        return Ok(glob);
    }
    let root = (interface == Interface::Docker).then_some(ROOT);
    mistake(
        Some(word),
        format!("`{interface}` has no function `{word}`"),
        suggest(word, names.chain([ALL, READ]).chain(root)),
    )
}

fn texts(name: &str, value: Option<&Value>) -> Result<Vec<String>, Mistake> {
    let bad = || {
        let help = format!("such as `{name} = [\"…\"]`");
        mistake(Some(name), format!("`{name}` is a list of texts"), help)
    };
    match value {
        None => Ok(vec![]),
        Some(Value::Array(list)) if !list.is_empty() => {
            let texts: Option<Vec<String>> =
                list.iter().map(|one| one.as_str().map(str::to_owned)).collect();
            match texts {
                Some(texts) if texts.iter().all(|text| !text.trim().is_empty()) => Ok(texts),
                Some(_) | None => bad(),
            }
        }
        // A list of nothing would look as if it covered nothing.
        Some(Value::Array(_)) => {
            mistake(Some(name), format!("`{name}` is empty"), "leave it out, or name some")
        }
        Some(_) => bad(),
    }
}

fn tags_of(value: Option<&Value>) -> Result<Tags, Mistake> {
    let help = "such as `where = { tags = { team = \"db\" } }`";
    match value {
        None => Ok(Tags::new()),
        Some(Value::Object(table)) => {
            if let Some(other) = table.keys().find(|key| *key != "tags") {
                return mistake(Some(other), format!("`where` has no `{other}`"), help);
            }
            plain_tags("tags", table.get("tags").unwrap_or(&Value::Null), help)
        }
        Some(_) => mistake(Some("where"), "`where` is a table", help),
    }
}

fn plain_tags(name: &str, value: &Value, help: &str) -> Result<Tags, Mistake> {
    let tags = value.as_object().map(|table| {
        let tag = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
        table.iter().map(tag).collect::<Option<Tags>>()
    });
    match tags.flatten() {
        Some(tags) if !tags.is_empty() => Ok(tags),
        Some(_) | None => mistake(Some(name), format!("`{name}` has a text for each tag"), help),
    }
}

fn hosts(value: Option<&Value>) -> Result<Vec<HostPattern>, Mistake> {
    let help = "such as `hosts = [\"i-db-*\", { role = \"db\" }]`: ids, names or tags";
    let Some(value) = value else { return Ok(vec![]) };
    let Some(list) = value.as_array().filter(|list| !list.is_empty()) else {
        return mistake(Some("hosts"), "`hosts` is a list that names some", help);
    };
    let host = |one: &Value| match one {
        Value::String(name) if !name.is_empty() => Ok(HostPattern::Named(Glob(name.clone()))),
        Value::Object(_) => plain_tags("hosts", one, help).map(HostPattern::Tagged),
        _ => mistake(Some("hosts"), "a host is a text, or a table of tags", help),
    };
    list.iter().map(host).collect()
}

fn written(grant: &Grant) -> Value {
    if grant.is_unlimited() {
        return Value::from(grant.interface.name());
    }
    let mut words: Vec<String> = vec![];
    match &grant.functions {
        Functions::All => words.push(ALL.to_owned()),
        Functions::Some { reads, named } => {
            words.extend(reads.then(|| READ.to_owned()));
            words.extend(named.iter().map(|glob| glob.0.clone()));
        }
    }
    words.extend(grant.root.then(|| ROOT.to_owned()));
    let mut table = Map::new();
    table.insert(grant.interface.name().to_owned(), words.into());
    let mut add = |name: &str, all: Vec<Value>| {
        if !all.is_empty() {
            table.insert(name.to_owned(), all.into());
        }
    };
    let text = |text: &String| Value::from(text.as_str());
    add("hosts", grant.hosts.iter().map(host_written).collect());
    add("containers", grant.containers.iter().map(|glob| text(&glob.0)).collect());
    add("images", grant.images.iter().map(|glob| text(&glob.0)).collect());
    add("commands", grant.commands.iter().map(|one| text(&one.0)).collect());
    add("env", grant.env.iter().map(|glob| text(&glob.0)).collect());
    add(POOLS, grant.pools.iter().map(|glob| text(&glob.0)).collect());
    // Written even where there are none: an older grant lacks it, and means any.
    if let (Interface::Docker, DockerVolumes::Named(globs)) =
        (grant.interface, &grant.docker_volumes)
    {
        let globs: Vec<Value> = globs.iter().map(|glob| text(&glob.0)).collect();
        table.insert(DOCKER_VOLUMES.to_owned(), globs.into());
    }
    if !grant.tags.is_empty() {
        table.insert("where".to_owned(), json!({ "tags": grant.tags }));
    }
    Value::Object(table)
}

fn host_written(host: &HostPattern) -> Value {
    match host {
        HostPattern::Named(glob) => Value::from(glob.0.as_str()),
        HostPattern::Tagged(tags) => json!(tags),
    }
}

impl Serialize for Grant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        written(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Grant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut written = Value::deserialize(deserializer)?;
        if let Value::String(name) = &written {
            let named = interface(name).map_err(|bad| D::Error::custom(bad.message))?;
            return Ok(Grant::unlimited(named));
        }
        let kept = written.get(DOCKER_VOLUMES).cloned();
        if kept.as_ref().and_then(Value::as_array).is_some_and(Vec::is_empty)
            && let Value::Object(table) = &mut written
        {
            table.remove(DOCKER_VOLUMES);
        }
        // Journals of before gave what narrows `docker` to all interfaces of a table.
        if let Value::Object(table) = &mut written
            && !table.contains_key(Interface::Docker.name())
        {
            table.retain(|key, _| !OF_DOCKER.contains(&key.as_str()));
        }
        let mut read = read_kept(&written).map_err(|bad| D::Error::custom(bad.message))?;
        match (read.pop(), read.is_empty()) {
            (Some(grant), true) if grant.interface == Interface::Docker && kept.is_none() => {
                Ok(Grant { docker_volumes: DockerVolumes::Any, ..grant })
            }
            (Some(grant), true) => Ok(grant),
            _ => Err(D::Error::custom("a kept grant is of one interface")),
        }
    }
}

#[cfg(test)]
mod tests;
