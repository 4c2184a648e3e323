//! What a grant says, as its author would read it. It knows calls by their JSON alone, patterns as
//! regular expressions, and nothing of the program.

use crate::world::{HOST_PATH, OWN_VOLUME, Tags, World, container};
use regex::Regex;
use serde_json::Value;
use std::sync::LazyLock;
use stepback_core::{Call, Class};

/// A pattern of a grant as a regular expression.
pub fn is_like(pattern: &str, text: &str) -> bool {
    let parts: Vec<String> = pattern.split('*').map(regex::escape).collect();
    whole(&parts.join(".*")).is_match(text)
}

pub fn each(patterns: &Value) -> impl Iterator<Item = &str> {
    patterns.as_array().into_iter().flatten().map(|one| one.as_str().expect("text"))
}

pub fn any_like(patterns: &Value, text: &str) -> bool {
    each(patterns).any(|pattern| is_like(pattern, text))
}

/// One thing that a call names.
#[derive(Debug)]
pub enum Named {
    Tagged(String),
    Container(String),
    Image(String),
    /// A container whose name nobody knows yet: it may get any of these.
    NewContainer(Vec<String>),
}

/// What a call names, by the names of its arguments.
pub fn named(function: &str, arguments: &Value) -> Vec<Named> {
    let text = |name: &str| arguments[name].as_str().map(str::to_owned);
    let is_docker = function.starts_with("docker.");
    let mut all: Vec<Named> = vec![];
    all.extend(["instance", "host", "snapshot"].iter().filter_map(|n| text(n)).map(Named::Tagged));
    if !function.ends_with("-volume") || !is_docker {
        all.extend(text("volume").map(Named::Tagged));
    }
    if is_docker {
        all.extend(["container", "to"].iter().filter_map(|name| text(name)).map(Named::Container));
        all.extend(["image", "digest"].iter().filter_map(|name| text(name)).map(Named::Image));
    }
    let spec = &arguments["spec"];
    all.extend(spec["image"].as_str().filter(|i| !i.is_empty()).map(|i| Named::Image(i.into())));
    if let Some(like) = spec["like"].as_object() {
        all.push(Named::Tagged(like["host"].as_str().expect("text").to_owned()));
        all.push(Named::Container(like["container"].as_str().expect("text").to_owned()));
    }
    if function == "docker.run-once" {
        let names = ["0", "7", "f"].map(|digit| format!("stepback-{}", digit.repeat(20)));
        all.push(Named::NewContainer(names.to_vec()));
    }
    all
}

/// Whether an image is one of a pattern: a `*` in a tag reaches over no slash, and one before it
/// over none behind a registry.
pub fn is_image(pattern: &str, image: &str) -> bool {
    static REGISTRY: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("^[^/]*[.:][^/]*/").expect("one"));
    let registry = |text: &str| REGISTRY.find(text).map(|found| found.as_str().to_owned());
    pattern == "*" || registry(pattern) == registry(image) && is_like(pattern, image)
}

/// Whether a container's name may be the id of another one.
pub fn may_be_container_id(name: &str) -> bool {
    static ID: LazyLock<Regex> = LazyLock::new(|| whole("[0-9a-fA-F]{12,}"));
    ID.is_match(name)
}

/// Whether an image's name may be an id, or the beginning of one.
pub fn may_be_image_id(name: &str) -> bool {
    static ID: LazyLock<Regex> = LazyLock::new(|| whole("sha256:.*|[0-9a-fA-F]+"));
    ID.is_match(name)
}

fn whole(pattern: &str) -> Regex {
    Regex::new(&format!("^(?s:{pattern})$")).expect("a pattern")
}

/// An EBS volume of which nobody knows which one it is.
const ANY: &str = "vol-any";

/// Whether a Docker volume or a container reaches what only root may, and of which EBS volume it
/// is, or may be.
pub fn reaches(function: &str, arguments: &Value) -> (bool, Vec<String>) {
    let of_volume = |name: &str| match name {
        "of-vol-1" => (false, vec!["vol-1".to_owned()]),
        "two-devices" => (true, vec!["vol-1".to_owned(), ANY.to_owned()]),
        "of-host" | "unread" => (true, vec![ANY.to_owned()]),
        _ => (false, vec![]),
    };
    // With what it reaches by its volume, and that is of.
    let of_container = |name: &str| match container(name) {
        Some(one) => (one.is_privileged, one.volume.map_or((false, vec![]), of_volume)),
        None => (true, (true, vec![ANY.to_owned()])),
    };
    // One that is privileged reaches every disk of its host.
    let by_privilege = |is_privileged: bool| is_privileged.then(|| ANY.to_owned()).into_iter();
    match function {
        "docker.create-volume" => match arguments["options"]["device"].as_str() {
            None => (false, vec![]),
            Some(HOST_PATH) => (true, vec![ANY.to_owned()]),
            Some(_) => match arguments["options"]["o"].as_str() {
                None => (false, vec!["vol-2".to_owned()]),
                Some(_) => (true, vec!["vol-2".to_owned(), ANY.to_owned()]),
            },
        },
        "docker.exec" => {
            let (is_privileged, (by_volume, volumes)) =
                of_container(arguments["container"].as_str().expect("text"));
            (is_privileged || by_volume, by_privilege(is_privileged).chain(volumes).collect())
        }
        // They reach nothing of their host; but whose volume it is counts.
        "docker.remove-volume" | "docker.inspect-volume" => {
            let name = arguments["volume"].as_str().expect("text");
            match name {
                OWN_VOLUME => (false, vec![OWN_VOLUME.to_owned()]),
                _ => (false, vec![ANY.to_owned()]),
            }
        }
        "docker.create-container" | "docker.run-once" => {
            let spec = &arguments["spec"];
            let mounts = spec["mounts"].as_array().cloned().unwrap_or_default();
            let like = spec["like"]["container"].as_str().map(of_container);
            let mounted: Vec<_> =
                mounts.iter().map(|one| of_volume(one["volume"].as_str().expect("text"))).collect();
            let is_privileged = like.as_ref().is_some_and(|one| one.0);
            let of_like = like.map(|one| one.1).filter(|_| mounts.is_empty());
            let all = || mounted.iter().chain(&of_like);
            let by_volume = all().any(|one| one.0);
            let volumes = all().flat_map(|one| one.1.clone());
            let volumes = by_privilege(is_privileged).chain(volumes).collect();
            (is_privileged || by_volume, volumes)
        }
        _ => (false, vec![]),
    }
}

pub fn carries(tags: &Tags, wanted: &Value) -> bool {
    let mut wanted = wanted.as_object().expect("a table").iter();
    wanted.all(|(key, value)| tags.get(key).map(String::as_str) == value.as_str())
}

pub fn is_host(id: Option<&str>, tags: Option<&Tags>, host: &Value) -> bool {
    let Some(glob) = host.as_str() else { return tags.is_some_and(|tags| carries(tags, host)) };
    let name = tags.and_then(|tags| tags.get("Name")).map(String::as_str);
    [id, name].into_iter().flatten().any(|text| is_like(glob, text))
}

/// Tags after a call that writes one of them.
pub fn written(mut tags: Tags, arguments: &Value) -> Tags {
    match (arguments["key"].as_str(), arguments["value"].as_str()) {
        (Some(key), Some(value)) => drop(tags.insert(key.to_owned(), value.to_owned())),
        (Some(key), None) => drop(tags.remove(key)),
        (None, _) => {}
    }
    tags
}

/// What a call makes, with the tags that it gets.
pub fn made(function: &str, arguments: &Value) -> Option<(&'static str, Tags)> {
    let kind = match function {
        "ec2.run-instance" => "i",
        "ebs.create-volume" | "ebs.create-snapshot" => "vol",
        _ => return None,
    };
    Some((kind, serde_json::from_value(arguments["tags"].clone()).expect("tags")))
}

pub fn kind_of(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}

/// Whether a grant lets a call through.
pub fn lets_through(grant: &Value, function: &str, arguments: &Value, world: &World) -> bool {
    let (interface, name) = function.split_once('.').expect("a function");
    let Some(functions) = grant.get(interface) else { return false };
    let (is_named, is_root) = is_named(functions, name, function);
    let fits = |id: Option<&str>, tags: Option<&Tags>, kind: &str| {
        let by_tags =
            grant.get("where").is_none_or(|w| tags.is_some_and(|tags| carries(tags, &w["tags"])));
        let hosts = grant.get("hosts").filter(|_| kind == "i").and_then(Value::as_array);
        by_tags && hosts.is_none_or(|all| all.iter().any(|host| is_host(id, tags, host)))
    };
    let of_id = |id: &str| {
        let (before, kind) = (world.tags(id), kind_of(id));
        let after = match arguments["key"].is_string() {
            true => Some(written(before.clone().unwrap_or_default(), arguments)),
            false => before.clone(),
        };
        fits(Some(id), before.as_ref(), kind) && fits(Some(id), after.as_ref(), kind)
    };
    let is_one_of = |list: &str, text: &str, is_id: bool| {
        grant.get(list).is_none_or(|patterns| match is_id {
            true => each(patterns).any(|pattern| pattern == text || pattern == "*"),
            false if list == "images" => each(patterns).any(|pattern| is_image(pattern, text)),
            false => any_like(patterns, text),
        })
    };
    let things = named(function, arguments).into_iter().all(|thing| match thing {
        Named::Tagged(id) => of_id(&id),
        Named::Container(name) => is_one_of("containers", &name, may_be_container_id(&name)),
        Named::Image(image) => is_one_of("images", &image, may_be_image_id(&image)),
        Named::NewContainer(names) => {
            let covered = |pattern: &str| names.iter().all(|name| is_like(pattern, name));
            grant.get("containers").is_none_or(|patterns| each(patterns).any(covered))
        }
    });
    let made = made(function, arguments);
    let made_fits = made.is_none_or(|(kind, tags)| fits(None, Some(&tags), kind));
    let (needs_root, volumes) = reaches(function, arguments);
    is_named
        && things
        && is_of_pools(grant, arguments)
        && made_fits
        && volumes.iter().all(|id| of_id(id))
        && (is_root || !needs_root)
        && may_run(grant, arguments, is_root)
        && may_have_volumes(grant, function, arguments, is_root)
}

/// Whether the pool of a call, if it is of one, is one of these.
pub fn is_of_pools(grant: &Value, arguments: &Value) -> bool {
    let Some(patterns) = grant.get("pools") else { return true };
    arguments["pool"].as_str().is_some_and(|pool| any_like(patterns, pool))
}

/// The Docker volumes that a call reaches: those that it names; those that a container gets, or has
/// that a command is run in; and whether somebody has these already. None if nobody knows.
pub fn docker_volumes(function: &str, arguments: &Value) -> Option<(Vec<String>, Vec<String>)> {
    // On another host a volume of that name may be anybody's.
    let is_here = arguments["spec"]["like"]["host"] == arguments["host"];
    let own = |name: &str| container(name).map(|one| one.volume.map(str::to_owned));
    match function {
        "docker.create-container" | "docker.run-once" => {
            let spec = &arguments["spec"];
            let of_like = spec["like"]["container"].as_str().map(own);
            let mounts = spec["mounts"].as_array().expect("a list").iter();
            let mounts: Vec<String> =
                mounts.map(|one| one["volume"].as_str().expect("text").to_owned()).collect();
            // The one that has any has it at `/d`, to be read.
            let first = &spec["mounts"][0];
            let is_its = first["read_only"] == true && first["target"] != "/e" && is_here;
            match (of_like, mounts.is_empty()) {
                (None, _) => Some((mounts, vec![])),
                (Some(of_like), false) => {
                    let its = of_like.flatten().filter(|_| is_its);
                    Some((mounts, its.into_iter().collect()))
                }
                (Some(of_like), true) => {
                    let its: Vec<String> = of_like?.into_iter().collect();
                    Some((its.clone(), if is_here { its } else { vec![] }))
                }
            }
        }
        "docker.exec" => {
            let its = own(arguments["container"].as_str().expect("text"))?;
            let its: Vec<String> = its.into_iter().collect();
            Some((its.clone(), its))
        }
        _ => Some((vec![], vec![])),
    }
}

/// The Docker volume that a call is about.
pub fn docker_volume<'a>(function: &str, arguments: &'a Value) -> Option<&'a str> {
    let is_about = matches!(
        function,
        "docker.create-volume" | "docker.remove-volume" | "docker.inspect-volume"
    );
    arguments["volume"].as_str().filter(|_| is_about)
}

/// Whether the Docker volumes of a call are of those that the grant is for.
fn may_have_volumes(grant: &Value, function: &str, arguments: &Value, is_root: bool) -> bool {
    let (about, mounted) =
        (docker_volume(function, arguments), docker_volumes(function, arguments));
    match grant.get("docker_volumes") {
        Some(patterns) => mounted.is_some_and(|(mounted, _)| {
            let mut all = mounted.iter().map(String::as_str).chain(about);
            all.all(|name| any_like(patterns, name))
        }),
        None if is_root => true,
        None => {
            let changes = about.is_some() && function != "docker.inspect-volume";
            let is_new = mounted
                .is_some_and(|(mounted, before)| mounted.iter().any(|name| !before.contains(name)));
            !is_new && (!changes || grant.get("containers").is_none())
        }
    }
}

/// Whether the function is one of those that are written, and whether root is.
pub fn is_named(functions: &Value, name: &str, function: &str) -> (bool, bool) {
    let words: Vec<&str> = match functions {
        Value::String(word) => vec![word],
        list => each(list).collect(),
    };
    let class = Call::class_of(function).expect("a function");
    let is_named = words.iter().any(|word| match *word {
        "all" => true,
        "read" => matches!(class, Class::Read | Class::Wait),
        "root" => words.len() == 1,
        glob => is_like(glob, name),
    });
    (is_named, words.contains(&"root"))
}

/// The variables that a call gives a container.
pub fn variables(arguments: &Value) -> Vec<&str> {
    let env = arguments["spec"]["env"].as_object();
    env.into_iter().flat_map(|env| env.keys()).map(String::as_str).collect()
}

/// The image and the command that a call gives of its own.
pub fn given(arguments: &Value) -> (Option<&str>, Vec<&str>) {
    let spec = &arguments["spec"];
    let command = if spec.is_object() { &spec["command"] } else { &arguments["command"] };
    (spec["image"].as_str().filter(|image| !image.is_empty()), each(command).collect())
}

/// Whether the image, the command and the variables that a call gives of its own may be run.
fn may_run(grant: &Value, arguments: &Value, is_root: bool) -> bool {
    let (image, command) = given(arguments);
    let is_command = match grant.get("commands") {
        _ if command.is_empty() => true,
        None => is_root,
        Some(patterns) => any_like(patterns, &command.join(" ")),
    };
    let is_variable = match grant.get("env") {
        None => is_root || variables(arguments).is_empty(),
        Some(patterns) => variables(arguments).into_iter().all(|name| any_like(patterns, name)),
    };
    is_command && is_variable && (image.is_none() || is_root || grant.get("images").is_some())
}
