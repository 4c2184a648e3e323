//! The documents' policies are enough for each shipped operation and its rollback, and a permission
//! that is missing is told before anything is changed.

use crate::aws::Cloud;
use crate::parts::{TestCluster, are_possible};
use crate::place::{Ran, operation};
use std::path::Path;

/// The descriptions of the snapshots that the operations make.
const DESCRIPTIONS: [&str; 4] = [
    "backup of database {{ inputs.database }} by operation {{ operation.id }}",
    "last of database {{ inputs.database }}, by operation {{ operation.id }}",
    "before growing {{ inputs.database }}",
    "growing {{ inputs.database }}",
];

/// The actions that the documents list for an operation.
fn policy(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/environments.md");
    let readme = std::fs::read_to_string(path).expect("the document");
    let begins = format!("| `{name}` | ");
    let row = readme.lines().find_map(|line| line.strip_prefix(&begins)).expect("a row");
    let actions = row.trim_end_matches(" |").split(", ");
    actions.map(|action| action.trim_matches('`').to_owned()).collect()
}

struct Bench {
    parts: TestCluster,
    cloud: Cloud,
}

impl Bench {
    fn start() -> Self {
        let parts = TestCluster::start();
        let mut cloud = Cloud::start(&parts);
        cloud.configure(&parts);
        cloud.guard(&parts);
        Self { parts, cloud }
    }

    /// Run as a user who may do what the documents list, but for one action.
    fn run(&self, name: &str, but: Option<&str>, more: &[&str]) -> Ran {
        let mut actions = policy(name);
        if let Some(but) = but {
            let all = actions.len();
            actions.retain(|action| action != but);
            assert_eq!(actions.len(), all - 1, "{but} is not listed for {name}");
        }
        let user = format!("{name}-{}", self.parts.fresh());
        let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
        let (access_key, secret_key, _) = self.cloud.user(&user, &actions);
        self.parts.set("AWS_ACCESS_KEY_ID", &access_key);
        self.parts.set("AWS_SECRET_ACCESS_KEY", &secret_key);
        let path = self.without_spaces(name);
        self.parts.run(&[&["run", &path], more].concat())
    }

    /// The operation with plainer descriptions: moto checks signatures here, and works out another
    /// one than the SDK where a value has a space in it.
    fn without_spaces(&self, name: &str) -> String {
        let mut text = std::fs::read_to_string(operation(name)).expect("a manifest");
        for description in DESCRIPTIONS {
            text = text.replace(&format!("\"{description}\""), "\"plain\"");
        }
        let path = self.parts.path(&format!("{name}.toml"));
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

#[test]
fn each_operation_needs_what_the_readme_lists_and_says_what_is_missing() {
    if !are_possible() {
        return;
    }
    let bench = Bench::start();
    let (image, instance) =
        (format!("image={}", bench.parts.image()), format!("instance={}", bench.cloud.a));
    let mut provision = vec![];
    for input in [&instance, "data_dir=/data", "size_gib=1", "database=main", &image] {
        provision.extend(["-i", input]);
    }
    let to = format!("to_instance={}", bench.cloud.b);
    let operations: [(&str, &[&str], &[&str]); 6] = [
        ("provision-database", &provision, &["ec2:CreateVolume", "ec2:DescribeInstances"]),
        ("restart-database", &[], &[]),
        ("redeploy-database", &["-i", &to], &["ec2:AttachVolume", "ec2:DetachVolume"]),
        ("backup-database", &[], &["ec2:CreateSnapshot"]),
        ("resize-database-volume", &["-i", "size_gib=2"], &["ec2:CreateSnapshot"]),
        (
            "deprovision-database",
            &["-i", "database=main", "-i", "confirm=main"],
            &["ec2:DeleteVolume", "ec2:DetachVolume"],
        ),
    ];
    for (name, inputs, missing) in operations {
        let before = bench.cloud.state();
        for action in missing {
            println!("{name} without {action}");
            bench.run(name, Some(action), inputs).exits(2).says(action);
            assert_eq!(bench.cloud.state(), before, "nothing is changed");
        }
        println!("{name}");
        let failing = [inputs, &["--inject", "docker.wait-healthy=refuse"]].concat();
        let rolled_back = bench.run(name, None, &failing);
        assert!(matches!(rolled_back.code, Some(0 | 3)), "{}", rolled_back.said);
        if rolled_back.code == Some(3) {
            assert_eq!(bench.cloud.state(), before, "{}", rolled_back.said);
            bench.run(name, None, inputs).exits(0);
        }
    }
}
