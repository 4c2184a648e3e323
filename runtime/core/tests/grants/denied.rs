//! What is denied, as its author would read it: nothing touches it, and nothing frees it first.
//! What is not known may be it.

use crate::model::{
    Named, any_like, carries, docker_volume, docker_volumes, given, is_host, is_named, is_of_pools,
    kind_of, made, may_be_container_id, may_be_image_id, named, reaches, variables, written,
};
use crate::world::{Tags, World, container};
use serde_json::Value;

/// Whether an entry of `deny` speaks against a call.
pub fn is_denied(deny: &Value, function: &str, arguments: &Value, world: &World) -> bool {
    touches(deny, function, arguments, world) || frees(deny, function, arguments, world)
}

/// Whether the call is one of those that are denied, about what they are denied for.
fn touches(deny: &Value, function: &str, arguments: &Value, world: &World) -> bool {
    let (interface, name) = function.split_once('.').expect("a function");
    let Some(functions) = deny.get(interface) else { return false };
    let (is_named, is_root) = is_named(functions, name, function);
    let (reaches_host, _) = reaches(function, arguments);
    let containers = deny.get("containers").is_none_or(|patterns| {
        named(function, arguments).iter().any(|thing| match thing {
            Named::Container(name) => may_be_container_id(name) || any_like(patterns, name),
            Named::NewContainer(names) => names.iter().any(|name| any_like(patterns, name)),
            Named::Tagged(_) | Named::Image(_) => false,
        })
    });
    is_named
        && (!is_root || reaches_host)
        && is_where(deny, function, arguments, world)
        && containers
        && is_of_pools(deny, arguments)
        && is_of_docker_volumes(deny, function, arguments)
        && is_of_images(deny, function, arguments)
        && is_of_commands(deny, arguments)
        && is_of_variables(deny, arguments)
}

/// Whether one of the things of a call, or what it makes, has the tags, and one is of the hosts.
fn is_where(deny: &Value, function: &str, arguments: &Value, world: &World) -> bool {
    let (_, mounted) = reaches(function, arguments);
    let things = named(function, arguments).into_iter().filter_map(|thing| match thing {
        Named::Tagged(id) => Some(id),
        _ => None,
    });
    let things: Vec<String> = things.chain(mounted).collect();
    let made = made(function, arguments);
    let by_tags = deny.get("where").is_none_or(|w| {
        let has = |id: &String| world.tags(id).is_none_or(|tags| carries(&tags, &w["tags"]));
        things.iter().any(has) || made.iter().any(|(_, tags)| carries(tags, &w["tags"]))
    });
    let by_hosts = deny.get("hosts").and_then(Value::as_array).is_none_or(|hosts| {
        let is_one = |id: &String| {
            let tags = world.tags(id);
            tags.is_none() || hosts.iter().any(|host| is_host(Some(id), tags.as_ref(), host))
        };
        let is_made = |tags: &Tags| hosts.iter().any(|host| is_host(None, Some(tags), host));
        things.iter().filter(|id| kind_of(id) == "i").any(is_one)
            || made.iter().any(|(kind, tags)| *kind == "i" && is_made(tags))
    });
    by_tags && by_hosts
}

/// Whether an image of the call, or else that of the container to be like, is one of these.
fn is_of_images(deny: &Value, function: &str, arguments: &Value) -> bool {
    let Some(patterns) = deny.get("images") else { return true };
    let is_one = |image: &str| may_be_image_id(image) || any_like(patterns, image);
    let is_named = named(function, arguments).iter().any(|thing| match thing {
        Named::Image(image) => is_one(image),
        _ => false,
    });
    let (own, _) = given(arguments);
    let like = arguments["spec"]["like"]["container"].as_str().filter(|_| own.is_none());
    is_named || like.is_some_and(|name| container(name).is_none_or(|model| is_one(model.image)))
}

/// Whether a call is about one of these Docker volumes, or a container may get one.
fn is_of_docker_volumes(deny: &Value, function: &str, arguments: &Value) -> bool {
    let Some(patterns) = deny.get("docker_volumes") else { return true };
    let about = docker_volume(function, arguments);
    docker_volumes(function, arguments).is_none_or(|(mounted, _)| {
        mounted.iter().map(String::as_str).chain(about).any(|name| any_like(patterns, name))
    })
}

fn is_of_commands(deny: &Value, arguments: &Value) -> bool {
    let Some(patterns) = deny.get("commands") else { return true };
    let is_one = |command: &[&str]| !command.is_empty() && any_like(patterns, &command.join(" "));
    let (_, own) = given(arguments);
    let like = arguments["spec"]["like"]["container"].as_str();
    // What one that nobody could look at runs before its command may be anything.
    let of_model = |name: &str| container(name).is_none_or(|m| own.is_empty() && is_one(m.command));
    is_one(&own) || like.is_some_and(of_model)
}

fn is_of_variables(deny: &Value, arguments: &Value) -> bool {
    let Some(patterns) = deny.get("env") else { return true };
    let is_one = |names: &[&str]| names.iter().any(|name| any_like(patterns, name));
    let like = arguments["spec"]["like"]["container"].as_str();
    is_one(&variables(arguments))
        || like.is_some_and(|name| container(name).is_none_or(|model| is_one(model.env)))
}

/// Whether what is denied for a thing would not be after the call.
fn frees(deny: &Value, function: &str, arguments: &Value, world: &World) -> bool {
    match function {
        "ec2.tag" | "ec2.untag" => {
            let id = arguments["instance"].as_str().expect("text");
            loses(deny, id, arguments, world)
        }
        "ebs.tag" | "ebs.untag" => {
            let id = arguments["volume"].as_str().expect("text");
            deny.get("ec2").is_none() && loses(deny, id, arguments, world)
        }
        "docker.rename-container" => {
            let Some(patterns) = deny.get("containers") else { return false };
            let (from, to) = (arguments["container"].as_str(), arguments["to"].as_str());
            let (from, to) = (from.expect("text"), to.expect("text"));
            let is_one = may_be_container_id(from) || any_like(patterns, from);
            is_one && !any_like(patterns, to) && is_where(deny, function, arguments, world)
        }
        _ => false,
    }
}

/// Whether a thing would not have the tags any more, or not be one of the hosts. Where its tags are
/// not known it is tried with all by which it could be.
fn loses(deny: &Value, id: &str, arguments: &Value, world: &World) -> bool {
    let hosts = deny.get("hosts").and_then(Value::as_array);
    let hosts: Vec<&Value> = hosts.into_iter().flatten().filter(|_| kind_of(id) == "i").collect();
    let wanted = deny.get("where").map(|w| &w["tags"]);
    let table = |tags: &Value| serde_json::from_value::<Tags>(tags.clone()).expect("tags");
    let could_be: Vec<Tags> = match world.tags(id) {
        Some(tags) => vec![tags],
        None => {
            let by_host = hosts.iter().map(|host| match host.as_str() {
                Some(glob) => Tags::from([("Name".to_owned(), glob.replace('*', ""))]),
                None => table(host),
            });
            wanted.map(table).into_iter().chain(by_host).collect()
        }
    };
    could_be.into_iter().any(|before| {
        let after = written(before.clone(), arguments);
        let is_one = |tags: &Tags| hosts.iter().any(|host| is_host(Some(id), Some(tags), host));
        let has = |tags: &Tags| wanted.is_some_and(|wanted| carries(tags, wanted));
        has(&before) && !has(&after) || is_one(&before) && !is_one(&after)
    })
}
