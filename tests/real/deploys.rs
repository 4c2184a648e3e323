//! If the operation is interrupted at any time and for any reason, it still won't take your
//! application down: on two engines, behind HAProxy, under load.
//!
//! What is promised is counted apart (docs/apps.md): a request that may be repeated, and whose
//! answer has not begun, never fails while one target is healthy, whatever happens; others never
//! fail where nothing crashed.

use crate::haproxy::{self, HaProxy};
use crate::load::{Counts, Load};
use crate::parts::{Engine, TestCluster, are_possible, has};
use crate::place::{Ran, operation};
use std::path::PathBuf;
use std::process::Command;

const APP: &str = include_str!("app.pl");

/// A bridge of this machine, for one engine's containers.
struct Bridge(String);

impl Bridge {
    fn make(name: &str, number: u32) -> Self {
        let net = 16 + (std::process::id() + number) % 200;
        let address = format!("10.{net}.{}.1/24", std::process::id() % 250);
        let bridge = Self(name.to_owned());
        for arguments in [
            vec!["link", "add", name, "type", "bridge"],
            vec!["addr", "add", &address, "dev", name],
            vec!["link", "set", name, "up"],
        ] {
            let ran = Command::new("ip").args(&arguments).output().expect("`ip`");
            assert!(ran.status.success(), "{arguments:?}: {ran:?}");
        }
        bridge
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.0]).output();
    }
}

/// Two engines with an app each, HAProxy before them, and clients.
struct Shop {
    load: Load,
    haproxy: HaProxy,
    parts: TestCluster,
    _bridges: [Bridge; 2],
}

/// What is promised of a deploy: nobody whose request may be repeated is turned away, nor anybody
/// else where nothing crashed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Promised {
    Everybody,
    WhoMayRepeat,
}

impl Shop {
    fn open() -> Self {
        let parts = TestCluster::start();
        let bridges = [0, 1].map(|number| {
            Bridge::make(&format!("sb{}x{number}", std::process::id() % 100_000), number)
        });
        for (engine, bridge) in [(&parts.a, &bridges[0]), (&parts.b, &bridges[1])] {
            engine.restart_with(&[format!("--bridge={}", bridge.0), "--ip-masq=false".to_owned()]);
        }
        Self::make_images(&parts);
        let (a, b, front) = (haproxy::address(), haproxy::address(), haproxy::address());
        let front = format!("{front}:8080");
        let haproxy = HaProxy::start(&parts.path("haproxy"), &front, "");
        let text = format!(
            "[environments.box]\nprovider = \"onebox\"\nroot = \"onebox\"\n\
             [environments.box.instances.i-a]\ndocker = \"{}\"\naddress = \"{a}\"\n\
             [environments.box.instances.i-b]\ndocker = \"{}\"\naddress = \"{b}\"\n\
             [environments.box.docker]\nhelper_image = \"helper:1\"\n\
             [environments.box.pools.web]\nprovider = \"haproxy\"\nbackend = \"web\"\n\
             sockets = [\"unix://{}\"]\nmaster = \"unix://{}\"\nstate_file = \"{}\"\n",
            parts.a.host(),
            parts.b.host(),
            haproxy.admin().display(),
            haproxy.master().display(),
            haproxy.state_file().display(),
        );
        std::fs::write(parts.path("stepback.toml"), text).expect("a file");
        let deployed = deploy(&parts, "one", &[]);
        deployed.exits(0);
        let load = Load::start(&front);
        Self { load, haproxy, parts, _bridges: bridges }
    }

    /// Images `one`, `two` and `sick` of an app; each says its name.
    fn make_images(parts: &TestCluster) {
        let root = parts.root("app", &["perl", "busybox"]);
        for applet in ["wget", "true", "false", "kill"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        let base = PathBuf::from("/usr/lib/x86_64-linux-gnu/perl-base");
        let lib = root.join("usr/lib/x86_64-linux-gnu");
        std::fs::create_dir_all(&lib).expect("a directory");
        let copied = Command::new("cp").arg("-r").args([&base, &lib]).status().expect("cp");
        assert!(copied.success());
        std::fs::write(root.join("app.pl"), APP).expect("a file");
        let tar = parts.packed(&root);
        let command = "CMD [\"perl\",\"-I/usr/lib/x86_64-linux-gnu/perl-base\",\"/app.pl\"]";
        let healthy = "HEALTHCHECK --interval=1s --retries=2 --timeout=2s CMD wget -q -O /dev/null \
                       http://127.0.0.1/health";
        for (name, more) in [("one", ""), ("two", ""), ("sick", " SICK=1")] {
            let image = parts.registry.image(&format!("shop:{name}"));
            let env = format!("ENV NAME={name}{more}");
            parts.a.docker(&["import", "-c", command, "-c", healthy, "-c", &env, &tar, &image]);
            parts.a.docker(&["push", &image]);
        }
    }

    /// Do something while clients ask, and see that what is promised is kept.
    #[track_caller]
    fn during(&self, what: &str, promised: Promised, does: impl FnOnce(&Self)) {
        let before = self.load.counts();
        does(self);
        // Who is asked just now is told, too.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = self.load.counts();
        let [gets, posts, tunnels]: [Counts; 3] =
            std::array::from_fn(|at| now[at].since(before[at]));
        println!(
            "{what}: {} repeatable: {} failed, {} cut; {} others: {} failed, {} cut, {} closed; \
             tunnels: {} failed, {} ended",
            gets.answered,
            gets.failed,
            gets.cut,
            posts.answered,
            posts.failed,
            posts.cut,
            posts.closed,
            tunnels.failed,
            tunnels.cut
        );
        assert!(gets.answered > 50, "{what}: nobody asked");
        assert_eq!(gets.failed, 0, "{what}: {gets:?}");
        if promised == Promised::Everybody {
            assert_eq!(
                (posts.failed, posts.cut, gets.cut),
                (0, 0, 0),
                "{what}: {posts:?} {gets:?}"
            );
        }
    }

    /// The containers of both engines.
    fn containers(&self) -> Vec<String> {
        let of = |engine: &Engine| {
            let all = engine.docker(&["ps", "--all", "--format", "{{.Names}} {{.Image}}"]);
            all.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut all = [of(&self.parts.a), of(&self.parts.b)].concat();
        all.sort();
        all
    }

    #[track_caller]
    fn is_released(&self, image: &str, why: &str) {
        let all = self.containers();
        assert_eq!(all.len(), 2, "{why}: {all:?}");
        assert!(all.iter().all(|one| one.contains(&format!("shop:{image}"))), "{why}: {all:?}");
    }
}

fn arguments(parts: &TestCluster, image: &str, more: &[&str]) -> Vec<String> {
    let image = format!("image={}", parts.registry.image(&format!("shop:{image}")));
    let path = operation("deploy-app");
    let hosts = "hosts=[\"i-a\", \"i-b\"]";
    let mut all = vec!["run", &path];
    let short = ["linger=300ms", "drain_timeout=3s", "stop_grace=5s", hosts, &image];
    all.extend(short.iter().flat_map(|input| ["-i", input]));
    all.extend(more);
    all.into_iter().map(str::to_owned).collect()
}

fn deploy(parts: &TestCluster, image: &str, more: &[&str]) -> Ran {
    let all = arguments(parts, image, more);
    parts.run(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same, with something done when a line is said.
fn deploy_until(
    parts: &TestCluster,
    image: &str,
    at: &str,
    mut does: impl FnMut(&TestCluster),
) -> Ran {
    let all = arguments(parts, image, &[]);
    let mut is_done = false;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let ran = parts.run_watched(&all, |line| {
        if !is_done && line.contains(at) {
            is_done = true;
            does(parts);
        }
    });
    assert!(is_done, "`{at}` was never said:\n{}", ran.said);
    ran
}

#[test]
fn a_deploy_never_takes_the_app_down() {
    if !are_possible() || !haproxy::is_possible() || !has("ip", "iproute2") {
        return;
    }
    let shop = Shop::open();
    shop.during("a deploy", Promised::Everybody, |shop| {
        deploy(&shop.parts, "two", &[]).exits(0);
        shop.is_released("two", "a deploy");
    });
    shop.during("one that never gets healthy", Promised::Everybody, |shop| {
        deploy(&shop.parts, "sick", &[]).exits(3).says("verdict: restored");
        shop.is_released("two", "sick");
    });
    shop.during("what comes before the release fails", Promised::Everybody, |shop| {
        let fails = ["-i", "before_release=[[\"true\"], [\"false\"]]"];
        deploy(&shop.parts, "one", &fails).exits(4).says("before-release");
        shop.is_released("two", "before");
    });
    shop.during("back to an earlier release", Promised::Everybody, |shop| {
        shop.parts.run(&["run", "--like", "1"]).exits(0);
        shop.is_released("one", "--like");
    });
    shop.interrupted();
    shop.killed();
    shop.crashes();
    shop.teeth();
}

impl Shop {
    /// Cancelled, ended and left alone at several steps.
    fn interrupted(&self) {
        for step in ["start", "add", "enable", "drain"] {
            self.during(&format!("cancelled at {step}"), Promised::Everybody, |shop| {
                let at = format!("{step}[");
                let ran = deploy_until(&shop.parts, "two", &at, |parts| {
                    let listed = parts.run(&["list", "--json"]).said;
                    let id = listed.split("\"id\":").nth(1).expect("an operation");
                    let id: String = id.trim().chars().take_while(char::is_ascii_digit).collect();
                    parts.run(&["cancel", &id]);
                });
                ran.exits(3).says("verdict: restored");
                shop.is_released("one", step);
            });
        }
    }

    /// Killed with SIGKILL at each function, and taken up again.
    fn killed(&self) {
        let mut images = ["two", "one"].iter().cycle();
        for at in [
            "docker.create-container#1=crash-after",
            "docker.start-container#2=crash-before",
            "load-balancer.add#1=crash-after",
            "load-balancer.enable#1=crash-after",
            "load-balancer.drain#1=crash-before",
            "load-balancer.drain#2=crash-after",
            "load-balancer.remove#1=crash-after",
            "docker.stop-container#1=crash-after",
            "docker.remove-container#2=crash-before",
        ] {
            let image = images.next().expect("it goes round");
            self.during(&format!("killed at {at}"), Promised::Everybody, |shop| {
                let ran = deploy(&shop.parts, image, &["--inject", at]);
                assert_eq!(ran.code, None, "{at}: it was not killed\n{}", ran.said);
                let id = ran.id().to_owned();
                shop.parts.run(&["resume", &id]).exits(0);
                shop.is_released(image, at);
            });
        }
    }

    /// What is in a container when that is killed may be lost to who may not repeat it.
    fn crashes(&self) {
        self.during("an old container is killed", Promised::WhoMayRepeat, |shop| {
            deploy_until(&shop.parts, "one", "enable[", |parts| {
                let old =
                    parts.a.docker(&["ps", "--quiet", "--filter", "label=app=shop", "--last", "5"]);
                let oldest = old.lines().last().expect("one").to_owned();
                parts.a.docker(&["kill", &oldest]);
            });
        });
        self.during("HAProxy is reloaded", Promised::WhoMayRepeat, |shop| {
            deploy_until(&shop.parts, "two", "drain[", |_| shop.haproxy.reload()).exits(0);
            shop.is_released("two", "reload");
        });
        self.during("an engine is stopped and started", Promised::WhoMayRepeat, |shop| {
            deploy_until(&shop.parts, "one", "healthy[", |parts| parts.b.restart());
        });
        self.during("the next one", Promised::Everybody, |shop| {
            deploy(&shop.parts, "two", &[]).exits(0);
            shop.is_released("two", "the next one");
        });
    }

    /// A deploy that is wrong is seen by those who ask.
    fn teeth(&self) {
        let text = std::fs::read_to_string(operation("deploy-app")).expect("the manifest");
        let (head, rest) = text.split_once("[[steps]]\nid = \"pull\"").expect("a step");
        let early = "[[steps]]\nid = \"early\"\nuses = \"docker/stop-container\"\n\
                     for_each = \"steps.survey.old\"\n\
                     with = { host = \"{{ each.value.host }}\", \
                     container = \"{{ each.value.container }}\" }\n";
        let path = self.parts.path("wrong.toml");
        std::fs::write(&path, format!("{head}{early}[[steps]]\nid = \"pull\"{rest}"))
            .expect("a file");
        let mut all = arguments(&self.parts, "one", &[]);
        all[1] = path.display().to_string();
        let before = self.load.counts();
        self.parts.run(&all.iter().map(String::as_str).collect::<Vec<_>>());
        let [gets, ..] = self.load.counts();
        let gets = gets.since(before[0]);
        println!("the old one stopped first: {gets:?}");
        assert!(gets.failed > 10, "nobody saw it: {gets:?}");
    }
}
