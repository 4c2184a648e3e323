//! The documents' onebox, word for word but for paths, endpoints and the registry: with PostgreSQL
//! and Redis as their images behave.

use crate::credentials::{PASSWORD, holding, lets_only_ann_in};
use crate::parts::{Registry, TestCluster, are_possible, copy_libraries};
use crate::place::Ran;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const DATABASE_PASSWORD: &str = "a horse with no name";

/// As the image of PostgreSQL does: it asks for a password, makes its data in an empty directory
/// alone, and runs as a user of its own.
const ENTRYPOINT: &str = "#!/bin/sh
set -e
if [ \"$(id -u)\" = 0 ]; then
    chown 999:999 \"$PGDATA\" && chmod 700 \"$PGDATA\"
    exec su -s /bin/sh postgres -c \"exec /entrypoint\"
fi
if [ ! -e \"$PGDATA/PG_VERSION\" ]; then
    [ -n \"$POSTGRES_PASSWORD\" ] || { echo 'no superuser password is given'; exit 1; }
    printf '%s\\n' \"$POSTGRES_PASSWORD\" >/tmp/pw
    BIN/initdb --auth=scram-sha-256 --pwfile=/tmp/pw --username=postgres
    rm /tmp/pw
fi
exec BIN/postgres -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp
";

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/environments.md");
    fs::read_to_string(path).expect("the document")
}

/// The fenced block that has this text in it.
#[track_caller]
pub fn block(document: &str, has: &str) -> String {
    let found = document.split("```").skip(1).step_by(2).find(|block| block.contains(has));
    let found = found.unwrap_or_else(|| panic!("no block of the document has {has}"));
    found.split_once('\n').expect("a first line").1.to_owned()
}

/// The newest PostgreSQL of this machine: its programs, and what they read.
fn postgres() -> (PathBuf, PathBuf) {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("`tests/parts.sh` installs it");
    let dir = versions.flatten().map(|entry| entry.path()).max().expect("a version");
    let share = Path::new("/usr/share/postgresql").join(dir.file_name().expect("a version"));
    (dir, share)
}

/// Put the images into the registry, by the names that the document has.
fn push_images(parts: &TestCluster, registry: &Registry) {
    let (programs, share) = postgres();
    let bin = programs.join("bin");
    let root = parts.root("postgres", &["busybox"]);
    for program in ["initdb", "postgres", "psql"] {
        copy_libraries(&bin.join(program), &root);
    }
    // Its own encodings and dictionaries are libraries too, linked with nothing more.
    for dir in [&bin, &programs.join("lib"), &share] {
        let to = root.join(dir.strip_prefix("/").expect("it is absolute"));
        fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
        let copied = Command::new("cp").args(["-a"]).args([dir, &to]).status().expect("cp");
        assert!(copied.success());
    }
    let zones = root.join("usr/share");
    let copied = Command::new("cp").args(["-a", "/usr/share/zoneinfo"]).arg(&zones).status();
    assert!(copied.expect("cp").success());
    for applet in ["chmod", "chown", "id", "rm", "su"] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    let users = "root:x:0:0::/:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\n";
    fs::write(root.join("etc/passwd"), users).expect("a file");
    fs::write(root.join("etc/group"), "root:x:0:\npostgres:x:999:\n").expect("a file");
    let entrypoint = root.join("entrypoint");
    fs::write(&entrypoint, ENTRYPOINT.replace("BIN", &bin.display().to_string())).expect("a file");
    let open = Command::new("chmod").args(["755"]).arg(&entrypoint).status().expect("chmod");
    assert!(open.success());
    let opened = Command::new("chmod").args(["1777"]).arg(root.join("tmp")).status();
    assert!(opened.expect("chmod").success());
    let image = registry.image("postgres:16");
    let changes = [
        "ENTRYPOINT [\"/entrypoint\"]",
        "ENV PGDATA=/var/lib/postgresql/data",
        "VOLUME /var/lib/postgresql/data",
    ];
    let changes = changes.iter().flat_map(|change| ["-c", change]);
    let import: Vec<&str> = ["import"].into_iter().chain(changes).collect();
    let tar = parts.packed(&root);
    parts.a.docker(&[&import[..], &[&tar, &image]].concat());
    parts.a.docker(&["pull", &parts.image()]);
    parts.a.docker(&["tag", &parts.image(), &registry.image("redis:7")]);
    for image in [&image, &registry.image("redis:7"), &parts.image()] {
        if image != &parts.image() {
            parts.a.docker(&["push", image]);
        }
        parts.a.docker(&["rmi", image]);
    }
}

/// Run a line of the document in a shell.
pub fn run(parts: &TestCluster, line: &str) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_stepback"));
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = parts.command(&[]);
    let envs: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.map(Into::into))).collect();
    command = Command::new("sh");
    for (name, value) in envs {
        let value: Option<std::ffi::OsString> = value;
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let bin = program.parent().expect("a directory").display();
    command.env("PATH", format!("{bin}:{path}")).env_remove("STEPBACK_ENVIRONMENT");
    command.current_dir(parts.path("")).args(["-c", line]);
    let output = command.output().expect("a shell");
    parts.helpers_end();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stderr), text(&output.stdout));
    Ran { code: output.status.code(), said }
}

#[test]
fn the_onebox_of_the_documents_works_as_written() {
    if !are_possible() {
        return;
    }
    let parts = TestCluster::start();
    let dir = parts.path("private");
    let open = Registry::start(&dir);
    push_images(&parts, &open);
    drop(open);
    // The registry that the document logs in to, and a mirror that has nothing.
    let registry = lets_only_ann_in(&dir);
    let mirror = Registry::start(&parts.path("mirror"));
    parts.set("REGISTRY_PASSWORD", PASSWORD);
    parts.set("PW", DATABASE_PASSWORD);

    let document = document();
    let [own, other] = [&registry, &mirror].map(|one| format!("127.0.0.1:{}", one.port));
    let config = block(&document, "provider = \"onebox\"")
        .replace("/srv/stepback", &parts.path("onebox").display().to_string())
        .replace("unix:///run/docker.sock", &parts.a.host())
        .replace("unix:///run/docker-b.sock", &parts.b.host())
        .replace("docker.io", &own)
        .replace("mirror.example.com", &other);
    fs::write(parts.path("stepback.toml"), config).expect("a file");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../operations");
    std::os::unix::fs::symlink(root, parts.path("operations")).expect("a link");

    let lines = block(&document, "stepback env check box").replace("\\\n", " ");
    let lines = lines
        .replace("image=postgres:16", &format!("image={}", registry.image("postgres:16")))
        .replace("image=redis:7", &format!("image={}", registry.image("redis:7")));
    // Its server may still be at its first start, where it listens to nobody else.
    let psql = |host: &crate::parts::Engine| {
        let (bin, query) = (postgres().0.join("bin/psql"), "select count(*) from pg_database");
        let password = format!("PGPASSWORD={DATABASE_PASSWORD}");
        let psql = bin.display().to_string();
        let how = ["-h", "127.0.0.1", "-U", "postgres", "-Atc", query];
        let asked = [&["exec", "-e", &password, "orders", &psql][..], &how].concat();
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match host.try_docker(&asked) {
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(200)),
                answered => break answered.expect("the database answers"),
            }
        }
    };
    for line in lines.lines().filter(|line| !line.is_empty()) {
        let ran = run(&parts, line).exits(0);
        assert!(!ran.said.contains(DATABASE_PASSWORD), "{}", ran.said);
        if line.contains("database=orders -i instance") {
            assert_eq!(psql(&parts.a), "3", "it takes the password that was given");
        }
    }
    assert_eq!(psql(&parts.b), "3", "it has moved, with its data");
    assert_eq!(parts.a.docker(&["exec", "cache", "redis-cli", "ping"]), "PONG");
    let mut found = vec![];
    holding(&parts.path(".stepback"), &[DATABASE_PASSWORD], &mut found);
    assert_eq!(found, Vec::<String>::new(), "the password is in the state directory");
    // Without a password it does not start, and all is as it was.
    let without = "stepback run operations/provision-database.toml -e box -i database=two \
                   -i instance=i-a -i size_gib=1 -i device=/dev/sdi -i port=5434";
    let image = format!(" -i image={}", registry.image("postgres:16"));
    let ran = run(&parts, &(without.to_owned() + &image)).exits(3);
    ran.says("no superuser password").says("verdict: restored");
}
