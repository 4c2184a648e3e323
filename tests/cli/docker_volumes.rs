//! Whose data a plugin gets at: the Docker volumes that its grant names, and no others.

use crate::harness::Ran;
use crate::narrowed::Granted;
use serde_json::{Value, json};

/// A container's data is got at by mounting it in another one, by a command, and by throwing it
/// away.
#[test]
fn a_plugin_gets_at_the_docker_volumes_of_its_grant_alone() {
    let image = json!({ "call": "container", "container": "new", "image": "postgres:16" });
    let on = |volume: &str| with(&image, "volume", volume);
    let like = json!({ "call": "container", "container": "new", "like": "main" });
    let exec = json!({ "call": "exec", "container": "main", "command": ["psql", "-l"] });
    let make = |name: &str| json!({ "call": "volume", "volume": name, "options": {} });
    let given = "images = [\"postgres:*\"], commands = [\"psql *\"]";
    let none = format!("{{ docker = \"all\", {given} }}");
    let of_main = format!("{{ docker = \"all\", {given}, containers = [\"main\", \"new\"] }}");
    let of_app = format!("{{ docker = \"all\", {given}, docker_volumes = [\"app-*\"] }}");
    let all = format!("{{ docker = \"all\", {given}, docker_volumes = [\"*\"] }}");
    let root = "{ docker = \"root\" }".to_owned();
    for (grant, call, refused) in [
        (&none, on("vol-db-main"), Some("it names none, and a container is given `vol-db-main`")),
        (&none, like.clone(), None),
        // At another place, and to be written: a model has it as it has it.
        (&none, with(&like, "volume", "vol-db-main"), Some("is given `vol-db-main`")),
        (&none, with(&like, "volume", "of-web"), Some("is given `of-web`")),
        (&none, exec.clone(), None),
        (&none, make("other"), None),
        (&of_main, make("other"), Some("for some containers and names none of their `other`")),
        (&of_main, like.clone(), None),
        (&of_app, make("app-1"), None),
        (&of_app, make("other"), Some("`other` is none of them")),
        (&of_app, like.clone(), Some("`vol-db-main` is none of them")),
        (&of_app, on("vol-db-main"), Some("`vol-db-main` is none of them")),
        (&of_app, exec.clone(), Some("`vol-db-main` is none of them")),
        (&all, on("vol-db-main"), None),
        (&all, exec.clone(), None),
        (&root, on("vol-db-main"), None),
    ] {
        let granted = Granted::new(&format!("{grant}, \"ebs\", \"ec2\""), "");
        let ran = run(&granted, &call);
        match refused {
            None => drop(ran.exits(0)),
            Some(why) => {
                let told = ran.says("`docker_volumes` of the grant").says(why).exits(3);
                told.lacks("\"event\":\"call-started\"");
            }
        }
    }
}

/// The same for everybody: what is denied is denied by whichever way it is got at.
#[test]
fn nobody_gets_at_a_docker_volume_that_is_denied() {
    let deny = "deny = [{ docker = \"all\", docker_volumes = [\"vol-db-*\"] }]";
    for (call, code) in [
        (json!({ "call": "container", "container": "new", "like": "main" }), 3),
        (
            json!({ "call": "container", "container": "new", "image": "postgres:16",
                    "volume": "vol-db-main" }),
            3,
        ),
        (json!({ "call": "exec", "container": "main", "command": ["psql"] }), 3),
        (json!({ "call": "volume", "volume": "vol-db-new", "options": {} }), 3),
        (json!({ "call": "volume", "volume": "app", "options": {} }), 0),
        (json!({ "call": "inspect", "container": "main" }), 0),
    ] {
        let granted = Granted::new("{ docker = \"root\" }, \"ebs\", \"ec2\"", deny);
        let ran = run(&granted, &call).exits(code);
        if code == 3 {
            ran.says("it is denied there");
        }
    }
}

/// One table of several interfaces: what narrows containers leaves the others as they are, in what
/// is denied and in the journal.
#[test]
fn what_narrows_containers_says_nothing_of_other_interfaces() {
    for key in ["containers", "docker_volumes", "images", "commands", "env"] {
        let table = format!("ebs = [\"describe\", \"tag\"], docker = \"all\", {key} = [\"x\"]");
        let describe = json!([{ "call": "describe", "volume": "vol-web" }]);
        let denied =
            Granted::new("\"ebs\", \"docker\", \"ec2\"", &format!("deny = [{{ {table} }}]"));
        let manifest = denied.manifest(std::slice::from_ref(&describe), true);
        denied.0.run(&["run", &manifest]).exits(3).says("it is denied there: [ebs:");
        let granted = Granted::new(&format!("{{ {table} }}, \"ec2\""), "");
        let manifest = granted.manifest(&[describe], true);
        granted.0.run(&["run", &manifest]).exits(0);
        granted.0.run(&["show", "1"]).exits(0);
    }
}

/// What is written can be read again: inputs are as deep as a journal takes them, or refused.
#[test]
fn inputs_are_no_deeper_than_a_journal_takes() {
    let granted = Granted::new("\"ebs\"", "");
    let manifest = granted.0.write(
        "deep.toml",
        "schema = 1\n[operation]\nname = \"deep\"\n[inputs]\nx = { type = \"list\" }\n\
         [[steps]]\nid = \"s\"\nuses = \"core/assert\"\n\
         with = { condition = \"{{ inputs.x is not none }}\", message = \"no\" }\n",
    );
    for (levels, code) in [(64, 0), (65, 2), (126, 2)] {
        let value = format!("x={}{}", "[".repeat(levels), "]".repeat(levels));
        let ran = granted.0.run(&["run", &manifest, "-i", &value]).exits(code);
        if code == 2 {
            ran.says("is nested deeper than 64 levels");
        }
    }
    granted.0.run(&["show", "1"]).exits(0);
}

/// Nor is what a step goes through, or what the operation gives, deeper or larger than that.
#[test]
fn what_a_step_goes_through_is_no_more_than_a_journal_takes() {
    let granted = Granted::new("\"ebs\"", "");
    let manifest = |name: &str, more: &str, rest: &str| {
        let text = format!(
            "schema = 1\n[operation]\nname = \"deep\"\n[inputs]\nx = {{ type = \"{more}\" }}\n\
             [[steps]]\nid = \"s\"\nuses = \"core/assert\"\n\
             with = {{ condition = true, message = \"no\" }}\n{rest}"
        );
        granted.0.write(name, text)
    };
    let deep = |levels: usize| format!("x={}{}", "[".repeat(levels), "]".repeat(levels));
    let each = format!("for_each = \"{{{{ {}inputs.x{} }}}}\"\n", "[".repeat(10), "]".repeat(10));
    let each = manifest("each.toml", "list", &each);
    // The outermost list is what it goes through.
    granted.0.run(&["run", &each, "-i", &deep(55)]).exits(0);
    let ran = granted.0.run(&["run", &each, "-i", &deep(60)]).exits(2);
    ran.says("what it goes through is nested deeper than 64 levels");
    granted.0.run(&["show", "1"]).exits(0);
    let long = format!("x={}", "a".repeat(100_000));
    let each = "for_each = \"{{ product([inputs.x], range(200)) }}\"\n";
    let each = manifest("many.toml", "string", each);
    let ran = granted.0.run(&["run", &each, "-i", &long]).exits(2);
    ran.says("what it goes through has more than 16 MiB");
    let outputs = "[outputs]\nlittle = \"{{ inputs.x }}\"\n\
                   much = \"{{ product([inputs.x], range(200)) }}\"\n";
    let outputs = manifest("outputs.toml", "string", outputs);
    let ran = granted.0.run(&["run", &outputs, "-i", &long]).exits(0);
    ran.says("it has more than 16 MiB");
}

/// A share's volume as somebody made it is the one that is asked for; what is masked of it is
/// nothing that could be asked for.
#[test]
fn a_shares_volume_with_the_same_options_is_the_same() {
    let granted = Granted::new("\"ec2\", \"ebs\", { docker = \"root\" }", "");
    let demo = std::fs::read_to_string(granted.0.path("world.toml")).expect("a world");
    let nas = "[engines.i-db-1.volumes.nas]\noptions = { type = \"cifs\", device = \"//nas/x\", \
               o = \"username=u,password=hunter2,vers=3.0\" }\n";
    granted.0.write("world.toml", format!("{demo}\n{nas}"));
    let volume = |o: &str| {
        granted.0.write(
            "volume.toml",
            format!(
                "schema = 1\n[operation]\nname = \"volume\"\n[[steps]]\nid = \"s\"\n\
                 uses = \"docker/create-volume\"\nwith = {{ host = \"i-db-1\", volume = \"nas\", \
                 options = {{ type = \"cifs\", device = \"//nas/x\", o = \"{o}\" }} }}\n"
            ),
        )
    };
    granted.0.run(&["run", &volume("username=u,password=hunter2,vers=3.0")]).exits(0);
    let ran = granted.0.run(&["run", &volume("username=u,password=hunter2,vers=2.0")]).exits(2);
    ran.says("is there with other options (`o`)").lacks("hunter2");
    // A copy of what is told of it would be a volume with that for its password.
    let call = json!([{ "call": "volume", "host": "i-db-1", "volume": "copy",
        "options": { "o": "username=u,password=***" } }]);
    let manifest = granted.manifest(&[call], true);
    granted.0.run(&["run", &manifest]).exits(3).says("stands for what is not shown");
}

/// What a container is to have is looked for, and counted, before anything is done.
#[test]
fn a_containers_volumes_are_looked_for_before_anything_is_done() {
    let granted = Granted::new("\"ebs\"", "");
    let container = |mounts: &str| {
        granted.0.write(
            "container.toml",
            format!(
                "schema = 1\n[operation]\nname = \"container\"\n[[steps]]\nid = \"s\"\n\
                 uses = \"docker/create-container\"\nwith = {{ host = \"i-db-1\", \
                 container = \"new\", image = \"postgres:16\", mounts = [{mounts}] }}\n"
            ),
        )
    };
    let mount = |n: usize| format!("{{ volume = \"vol-db-main\", target = \"/d{n}\" }}");
    let many = |count: usize| (0..count).map(mount).collect::<Vec<_>>().join(", ");
    granted.0.run(&["plan", &container(&many(64))]).exits(0);
    granted.0.run(&["plan", &container(&many(65))]).exits(2).says("a container has 64 at most");
    let ran = granted.0.run(&["plan", &container("{ volume = \"none\", target = \"/d\" }")]);
    ran.exits(2).says("there is no Docker volume `none` on i-db-1");
}

/// A grant for some containers that names no Docker volumes covers none, whatever it is called.
#[test]
fn what_no_grant_can_cover_is_refused_before_anything_is_done() {
    let allow = "allow = [\"ec2\", \"ebs\", { docker = \"all\", containers = [\"main\"], \
                 images = [\"*\"], env = [\"*\"] }]";
    let granted = Granted::new("\"ebs\"", allow);
    let manifest = granted.0.write(
        "made.toml",
        "schema = 1\n[operation]\nname = \"made\"\n[[steps]]\nid = \"disk\"\n\
         uses = \"ebs/create-volume\"\n\
         with = { zone = \"us-east-1a\", size_gib = 1, tags = { a = \"b\" } }\n\
         [[steps]]\nid = \"s\"\nuses = \"docker/create-volume\"\nneeds = [\"disk\"]\n\
         with = { host = \"i-db-1\", volume = \"{{ steps.disk.id }}\", filesystem = \"ext4\" }\n",
    );
    let ran = granted.0.run(&["run", &manifest]).exits(2);
    ran.says("it is for some containers and names no Docker volume of theirs");
}

/// What a command's or a program's value is, is told neither by a world file nor by inputs.
#[test]
fn a_file_that_is_not_understood_is_told_by_its_place() {
    let granted = Granted::new("\"ebs\"", "");
    let demo = std::fs::read_to_string(granted.0.path("world.toml")).expect("a world");
    let manifest = granted.manifest(&[json!([])], true);
    for (old, new) in [
        ("env = { PGDATA", "env = { PW = \"hunter2\" x, PGDATA"),
        ("env = { PGDATA", "env = { PW = [\"hunter2\"], PGDATA"),
        ("restart = \"unless-stopped\"", "restart = \"unless-stopped\"\ncommand = \"hunter2\""),
    ] {
        assert!(demo.contains(old), "{old}");
        granted.0.write("world.toml", demo.replace(old, new));
        for verb in ["run", "plan"] {
            let ran = granted.0.run(&[verb, &manifest]).exits(2);
            ran.says("world.toml: the world file is not a world: ").lacks("hunter2");
        }
        let world = granted.0.path("world.toml").display().to_string();
        granted.0.run(&["rehearse", &manifest, "--world", &world]).exits(2).lacks("hunter2");
    }
    granted.0.write("world.toml", &demo);
    granted.0.write("in.toml", "a = 1\npw = hunter2\n");
    let inputs = granted.0.path("in.toml").display().to_string();
    let ran = granted.0.run(&["run", &manifest, "--inputs", &inputs]).exits(2);
    ran.says("in.toml holds no inputs: 2:6").lacks("hunter2");
}

/// A pattern that can be no name's would be taken for a limit.
#[test]
fn a_pattern_that_is_no_names_is_a_mistake() {
    for (key, bad) in [
        ("docker_volumes", "app-[ab]"),
        ("docker_volumes", "app:ro"),
        ("docker_volumes", "/srv/app"),
        ("containers", "{a,b}"),
        ("env", "PW=x"),
        ("env", " PW"),
        ("env", "$PW"),
        ("env", "{A,B}"),
    ] {
        let deny = format!("deny = [{{ docker = \"all\", {key} = [\"ok-*\", \"{bad}\"] }}]");
        let granted = Granted::new("\"ebs\"", &deny);
        let manifest = granted.manifest(&[json!([])], true);
        let ran = granted.0.run(&["plan", &manifest]).exits(2);
        // What is like no name may be a value, and somebody's password perhaps.
        let told = match (key, bad) {
            ("env", _) => "…",
            (_, "app:ro") => "app:…",
            _ => bad,
        };
        ran.says(&format!("nothing in `{key}` can be called `{told}`"));
    }
    for bad in [
        "https://evil/x",
        "evil/",
        "/evil:1",
        "evil::1",
        "@sha256:aa",
        "evil:",
        "post gres",
        "Evil:1",
        "evil:1:2",
        "evil@sha256:12",
    ] {
        let deny = format!("deny = [{{ docker = \"all\", images = [\"{bad}\"] }}]");
        let granted = Granted::new("\"ebs\"", &deny);
        let manifest = granted.manifest(&[json!([])], true);
        let ran = granted.0.run(&["plan", &manifest]).exits(2);
        ran.says(&format!("no image can be called `{bad}`"));
    }
    let deny = "deny = [{ docker = [\"start-container\"], docker_volumes = [\"billing-*\"] }]";
    let granted = Granted::new("\"ebs\"", deny);
    let manifest = granted.manifest(&[json!([])], true);
    let ran = granted.0.run(&["plan", &manifest]).exits(2);
    ran.says("this denies nothing: none of its functions has to do with `docker_volumes`");
    for nothing in ["clock", "log", "effects"] {
        let granted = Granted::new("\"ebs\"", &format!("deny = [\"ebs\", \"{nothing}\"]"));
        let manifest = granted.manifest(&[json!([])], true);
        let ran = granted.0.run(&["plan", &manifest]).exits(2);
        ran.says(&format!("`{nothing}` can't be denied"));
    }
}

fn with(call: &Value, key: &str, value: &str) -> Value {
    let mut call = call.clone();
    call[key] = value.into();
    call
}

fn run(granted: &Granted, call: &Value) -> Ran {
    let call = with(call, "host", "i-db-1");
    let manifest = granted.manifest(&[json!([call])], true);
    granted.0.run(&["run", &manifest, "--json"])
}
