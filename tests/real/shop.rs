//! A shop: an app in containers of two engines, HAProxy before them, and its clients.

use crate::haproxy::{self, HaProxy};
use crate::liar::{Liar, Lie};
use crate::load::{Counts, Load};
use crate::parts::{Engine, TestCluster};
use crate::place::{Ran, operation};
use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const APP: &str = include_str!("app.pl");

/// A bridge of this machine, for one engine's containers.
pub struct Bridge(String);

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
pub struct Shop {
    pub load: Load,
    pub haproxy: HaProxy,
    pub parts: TestCluster,
    /// Which image serves; none where nobody can tell.
    serves: Cell<Option<&'static str>>,
    _bridges: [Bridge; 2],
}

/// What is promised of a deploy: nobody whose request may be repeated is turned away, nor anybody
/// else where nothing crashed; and a WebSocket ends when its container is drained.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Promised {
    Everybody,
    /// Nothing old is drained, so that nobody's WebSocket ends.
    EverybodyAndNothingEnds,
    WhoMayRepeat,
}

/// What the app's images are called, with what each has in its environment.
const IMAGES: [(&str, &str); 7] = [
    ("one", ""),
    ("two", ""),
    ("sick", " SICK=1"),
    // It tells its engine that it is healthy before it listens.
    ("late", " LATE=6"),
    // Told to end, it does, whoever it serves.
    ("rude", " RUDE=1"),
    // The document's releases listen where it says.
    ("1", " PORT=8080"),
    ("2", " PORT=8080"),
];

impl Shop {
    /// With checks every so often.
    pub fn open(checked_every: &str) -> Self {
        let parts = TestCluster::start();
        let bridges = bridges(&parts);
        make_images(&parts);
        let (a, b, front) = (haproxy::address(), haproxy::address(), haproxy::address());
        let front = format!("{front}:8080");
        let haproxy = HaProxy::start_with(
            &parts.path("haproxy"),
            &front,
            &format!(
                "  server-template app 1-4 localhost:1 check inter {checked_every} disabled \
                 init-addr last,libc,none\n"
            ),
        );
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
        deploy(&parts, "one", &[]).exits(0);
        let load = Load::start(&front);
        Self { load, haproxy, parts, serves: Cell::new(Some("one")), _bridges: bridges }
    }

    /// Do something while clients ask, and see that what is promised is kept.
    #[track_caller]
    pub fn during(&self, what: &str, promised: Promised, does: impl FnOnce(&Self)) {
        let before = self.load.counts();
        does(self);
        // Who is asked just now is told, too.
        std::thread::sleep(std::time::Duration::from_millis(300));
        let now = self.load.counts();
        let [gets, posts, sockets]: [Counts; 3] =
            std::array::from_fn(|at| now[at].since(before[at]));
        println!(
            "{what}: {} repeatable: {} failed, {} cut; {} others: {} failed, {} cut, {} closed; \
             WebSockets: {} failed, {} ended",
            gets.answered,
            gets.failed,
            gets.cut,
            posts.answered,
            posts.failed,
            posts.cut,
            posts.closed,
            sockets.failed,
            sockets.cut
        );
        assert!(gets.answered > 50 && sockets.answered > 0, "{what}: nobody asked");
        assert_eq!(gets.failed, 0, "{what}: {gets:?}");
        if promised != Promised::WhoMayRepeat {
            // What was posted on a connection that is closed then may have been taken.
            let lost = (posts.failed, posts.cut, posts.closed, gets.cut);
            assert_eq!(lost, (0, 0, 0, 0), "{what}: {posts:?} {gets:?}");
        }
        if promised == Promised::EverybodyAndNothingEnds {
            assert_eq!((sockets.failed, sockets.cut), (0, 0), "{what}: {sockets:?}");
        }
    }

    /// A deploy that must go well.
    #[track_caller]
    pub fn deploys(&self, image: &'static str, more: &[&str]) {
        deploy(&self.parts, image, more).exits(0);
        self.is_released(image, "it was deployed");
    }

    /// The image that does not serve now, of the two that are well.
    pub fn other(&self) -> &'static str {
        match self.serves.get() {
            Some("one") => "two",
            _ => "one",
        }
    }

    /// That which serves.
    pub fn current(&self) -> &'static str {
        self.serves.get().expect("nothing crashed before")
    }

    /// The containers of both engines.
    pub fn containers(&self) -> Vec<String> {
        let of = |engine: &Engine| {
            let all = engine.docker(&["ps", "--all", "--format", "{{.Names}} {{.Image}}"]);
            all.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut all = [of(&self.parts.a), of(&self.parts.b)].concat();
        all.sort();
        all
    }

    #[track_caller]
    pub fn is_released(&self, image: &'static str, why: &str) {
        let all = self.containers();
        assert_eq!(all.len(), 2, "{why}: {all:?}");
        assert!(all.iter().all(|one| one.contains(&format!("shop:{image}"))), "{why}: {all:?}");
        self.serves.set(Some(image));
    }

    /// Have the program reach HAProxy through something that does not tell the truth.
    pub fn lied_to<T>(&self, lie: Lie, does: impl FnOnce(&Self) -> T) -> T {
        let config = self.parts.path("stepback.toml");
        let honest = std::fs::read_to_string(&config).expect("its configuration");
        let admin = self.haproxy.admin();
        let liar = Liar::start(self.parts.path("liar.sock"), admin.clone(), lie);
        let lied = honest.replace(
            &format!("sockets = [\"unix://{}\"]", admin.display()),
            &format!("sockets = [\"unix://{}\"]", liar.at().display()),
        );
        assert_ne!(lied, honest);
        std::fs::write(&config, lied).expect("a file");
        let done = does(self);
        std::fs::write(&config, honest).expect("a file");
        assert!(liar.lied(), "nothing was changed by {lie:?}");
        done
    }

    /// The newest container of the app on an engine.
    pub fn newest(engine: &Engine) -> String {
        engine.docker(&["ps", "--quiet", "--filter", "label=app=shop", "--latest"])
    }

    /// The oldest one that is there.
    pub fn oldest(engine: &Engine) -> String {
        let all = engine.docker(&["ps", "--quiet", "--filter", "label=app=shop", "--last", "5"]);
        all.lines().last().expect("one").to_owned()
    }
}

/// Give each engine a bridge of its own.
pub fn bridges(parts: &TestCluster) -> [Bridge; 2] {
    // Several of these may be up at once.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let bridges = [(); 2].map(|()| {
        let (pid, nth) = (std::process::id() % 100_000, NEXT.fetch_add(1, Ordering::SeqCst));
        Bridge::make(&format!("sb{pid}x{nth}"), nth)
    });
    for (engine, bridge) in [(&parts.a, &bridges[0]), (&parts.b, &bridges[1])] {
        engine.restart_with(&[format!("--bridge={}", bridge.0), "--ip-masq=false".to_owned()]);
    }
    bridges
}

/// Images of an app; each says its name.
pub fn make_images(parts: &TestCluster) {
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
    for (name, more) in IMAGES {
        let asks = match name {
            "late" | "1" | "2" => "true",
            _ => "wget -q -O /dev/null http://127.0.0.1/health",
        };
        let healthy = format!("HEALTHCHECK --interval=1s --retries=2 --timeout=2s CMD {asks}");
        let image = parts.registry.image(&format!("shop:{name}"));
        let env = format!("ENV NAME={name}{more}");
        parts.a.docker(&["import", "-c", command, "-c", &healthy, "-c", &env, &tar, &image]);
        parts.a.docker(&["push", &image]);
    }
}

/// How the program is told to deploy.
pub fn arguments(parts: &TestCluster, image: &str, more: &[&str]) -> Vec<String> {
    let image = format!("image={}", parts.registry.image(&format!("shop:{image}")));
    let path = operation("deploy-app");
    let mut all = vec!["run", &path, "-i", &image];
    all.extend(QUICKLY.iter().flat_map(|input| ["-i", input]));
    all.extend(more);
    all.into_iter().map(str::to_owned).collect()
}

/// What nobody waits for here.
pub const QUICKLY: [&str; 4] =
    ["linger=300ms", "drain_timeout=5s", "stop_grace=5s", "hosts=[\"i-a\", \"i-b\"]"];

pub fn deploy(parts: &TestCluster, image: &str, more: &[&str]) -> Ran {
    let all = arguments(parts, image, more);
    parts.run(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The same, with something done when a line is said, which is given the program's process id.
pub fn deploy_until(
    parts: &TestCluster,
    image: &str,
    at: &str,
    mut does: impl FnMut(&TestCluster, u32),
) -> Ran {
    let all = arguments(parts, image, &[]);
    let mut is_done = false;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let ran = parts.run_watched_by(&all, |line, pid| {
        if !is_done && line.contains(at) {
            is_done = true;
            does(parts, pid);
        }
    });
    assert!(is_done, "`{at}` was never said:\n{}", ran.said);
    ran
}
