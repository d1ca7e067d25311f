//! The guide, as it is written: a project from `canopy plugin new` is tested, built, checked, installed and put in
//! force with the commands of its own README.

use canopy_tests::{Cloud, process};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

pub(crate) fn canopy(folder: &Path) -> Command {
    let mut command = Command::new(process::binary());
    command.current_dir(folder).arg("plugin");
    command
}

/// Built artefacts of all projects, and of the shipped plugins: what they share is compiled once.
pub(crate) fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins-build")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_of_each_kind_tests_builds_passes_check_and_is_installed_as_it_stands() {
    let cloud = Cloud::start().await;
    let config = cloud.dir().join("canopy.toml");
    let url: std::net::SocketAddr = cloud.url.strip_prefix("http://").unwrap().parse().unwrap();
    let data = cloud.config.data_dir.display();
    std::fs::write(&config, format!("listen = \"{url}\"\ndata_dir = \"{data}\"\n")).unwrap();
    for kind in ["scheduler", "quota", "network"] {
        let name = format!("{kind}-mine");
        run(canopy(cloud.dir()).args(["new", "--kind", kind, &name]));
        let project = cloud.dir().join(&name);
        let readme = std::fs::read_to_string(project.join("README.md")).unwrap();
        let commands: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
        assert!(commands.len() >= 6, "{readme}");
        for line in commands {
            let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
            let mut command = match words.as_slice() {
                ["canopy", "plugin", ..] => {
                    let mut command = canopy(&project);
                    command.args(&words[2..]);
                    command
                }
                ["cargo", rest @ ..] => {
                    let mut command = Command::new("cargo");
                    command.args(rest).current_dir(&project);
                    for inherited in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
                        command.env_remove(inherited);
                    }
                    command
                }
                _ => panic!("the guide has a command that this test does not know: {line}"),
            };
            command.env("CARGO_TARGET_DIR", target()).env("CANOPY_CONFIG", &config).env_remove("OS_AUTH_URL");
            run(&mut command);
        }
        let shown = run(canopy(&project).args(["show", kind, "--json"]).env("CANOPY_CONFIG", &config));
        let slot: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(slot["slot"]["name"], name, "{slot}");
        let in_c = crate::plugin_langs::built_in_c(cloud.dir(), kind);
        // It drives the plugins on a runtime of its own.
        tokio::task::block_in_place(|| crate::plugin_langs::decide_alike(kind, &project.join("dist"), &in_c));
        run(canopy(&project).args(["rollback", kind]).env("CANOPY_CONFIG", &config));
    }
    let listed = run(canopy(cloud.dir()).arg("list").env("CANOPY_CONFIG", &config));
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains("quota-mine 0.1.0"), "{listed}");
    for (arguments, word) in [(&["stats"][..], "scheduler"), (&["logs"], "rollback")] {
        let said = run(canopy(cloud.dir()).args(arguments).env("CANOPY_CONFIG", &config));
        assert!(String::from_utf8_lossy(&said.stdout).contains(word), "{arguments:?}");
    }
}

#[test]
fn what_the_host_would_refuse_check_refuses_with_the_same_reason() {
    let dir = tempfile::tempdir().unwrap();
    let wasi = wat::parse_str(r#"(component (import "wasi:clocks/wall-clock@0.2.0" (instance)))"#).unwrap();
    std::fs::write(dir.path().join("x.wasm"), wasi).unwrap();
    let manifest = "name = \"x\"\nversion = \"1\"\nkind = \"quota\"\nsdk = \"1.0\"\ncomponent = \"x.wasm\"\n";
    std::fs::write(dir.path().join("plugin.toml"), manifest).unwrap();
    let output = canopy(dir.path()).args(["check", ".", "--json"]).output().unwrap();
    assert!(!output.status.success());
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&said["refusal"]["code"], &said["fit"]), (&"plugin.imports".into(), &false.into()), "{said}");
    assert_eq!(said["imports"][0], "wasi:clocks/wall-clock@0.2.0");
}
