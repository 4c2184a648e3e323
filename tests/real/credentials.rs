//! A registry that asks who comes: with the right credentials, wrong ones, and none.

use crate::parts::{Registry, TestCluster, are_possible};
use crate::place::{Ran, operation};
use std::path::Path;

pub const PASSWORD: &str = "correct-horse-1";
/// The line of `ann` with that password, as htpasswd(1) makes it with bcrypt.
const HTPASSWD: &str = "ann:$2b$05$stepbackstepbackstepbekDPLldMbNsPHaYooOJ6xK.QP5ToEUfK\n";
/// `ann:` and the password in Base64, as a client sends them (RFC 7617).
const BASIC: &str = "YW5uOmNvcnJlY3QtaG9yc2UtMQ==";

/// A registry with the database's image, for `ann` alone.
fn private_registry(parts: &TestCluster) -> Registry {
    let dir = parts.path("private");
    let open = Registry::start(&dir);
    parts.a.docker(&["pull", &parts.image()]);
    parts.a.docker(&["tag", &parts.image(), &open.image("redis:7")]);
    parts.a.docker(&["push", &open.image("redis:7")]);
    drop(open);
    lets_only_ann_in(&dir)
}

/// A registry with what is in a directory, for `ann` alone.
pub fn lets_only_ann_in(dir: &Path) -> Registry {
    let file = dir.join("htpasswd");
    std::fs::write(&file, HTPASSWD).expect("a file");
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}", file.display());
    Registry::start_with(dir, &auth)
}

/// Every file below a directory that holds one of these texts.
pub fn holding(dir: &Path, texts: &[&str], found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("a type"));
        if kind.is_dir() {
            holding(&path, texts, found);
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let has = |text: &&str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
            if texts.iter().any(has) {
                found.push(path.display().to_string());
            }
        }
    }
}

#[test]
fn a_registry_that_lets_nobody_in_without_credentials_is_told_before_anything_is_changed() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let registry = private_registry(&parts);
    let name = format!("127.0.0.1:{}", registry.port);
    let login = |password: &str| {
        format!(
            "[environments.box.registries.\"{name}\"]\nusername = \"ann\"\n\
             password = \"{password}\"\n"
        )
    };
    let mut said = String::new();
    let mut hear = |ran: Ran| {
        assert!(!ran.said.contains(PASSWORD) && !ran.said.contains(BASIC), "{}", ran.said);
        said.push_str(&ran.said);
        ran
    };
    let image = format!("image={}", registry.image("redis:7"));
    let path = operation("provision-database");
    let mut provision = vec!["run", &path];
    for input in ["instance=i-b", "data_dir=/data", "size_gib=1", "database=main", &image] {
        provision.extend(["-i", input]);
    }
    std::fs::write(parts.path("password"), format!("{PASSWORD}\n")).expect("a file");
    parts.set("RIGHT", PASSWORD);
    parts.set("WRONG", "correct-horse-2");

    println!("without, and with wrong ones");
    parts.configure("");
    let refused = hear(parts.run(&provision)).exits(2);
    refused.says("step `pull-image`").says("give `username` and `password`").says(&name);
    parts.configure(&login("env:WRONG"));
    let refused = hear(parts.run(&provision)).exits(2);
    refused.says("step `pull-image`").says("check `username` and `password`").says(&name);
    let checked = hear(parts.run(&["env", "check"])).exits(2);
    checked.says("✗ registry").says("does not take the credentials of ann");
    parts.configure(&login("env:NOT_THERE"));
    hear(parts.run(&provision)).exits(2).says("the password of the registry").says("NOT_THERE");
    assert_eq!(parts.b.docker(&["images", "--quiet"]).lines().count(), 1, "only the helper");

    println!("with the right ones");
    for reference in ["env:RIGHT", "file:password"] {
        parts.configure(&login(reference));
        let checked = hear(parts.run(&["env", "check"])).exits(0);
        checked.says("takes the credentials of ann");
        let failing = [&provision[..], &["--inject", "docker.wait-healthy=refuse"]].concat();
        hear(parts.run(&failing)).exits(3).says("✓ pull-image").says("verdict: restored");
        parts.b.docker(&["rmi", &registry.image("redis:7")]);
    }
    hear(parts.run(&provision)).exits(0);
    assert_eq!(parts.b.redis(&["ping"]), "PONG");

    println!("nobody wrote the password down");
    for id in ["1", "2", "3", "4", "5"] {
        hear(parts.run(&["show", id, "--json"]));
        hear(parts.run(&["logs", id]));
    }
    let mut found = vec![];
    holding(&parts.path(".stepback"), &[PASSWORD, BASIC], &mut found);
    assert_eq!(found, Vec::<String>::new());
    // That they would be found is shown by the file that holds it.
    std::fs::create_dir_all(parts.path(".stepback/x")).expect("a directory");
    std::fs::copy(parts.path("password"), parts.path(".stepback/x/y")).expect("a copy");
    holding(&parts.path(".stepback"), &[PASSWORD, BASIC], &mut found);
    assert_eq!(found.len(), 1);
}
