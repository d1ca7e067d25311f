//! What a bundle must be to load, and what a faulty one is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_authz::{Authorizer, Bundle, Principal, Scope, Target, actions};
use canopy_types::{ProjectId, UserId};
use std::path::Path;

const GOOD: &str =
    "@id(\"ok\")\npermit (principal, action, resource) when { principal.roles.contains(\"x\") };\n";

/// The shipped schema with these policy files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/schema.cedarschema");
    std::fs::copy(schema, dir.path().join("schema.cedarschema")).unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn refusal(files: &[(&str, &str)]) -> String {
    let dir = folder(files);
    let error = Authorizer::load(dir.path()).err().expect("the bundle is refused");
    assert_eq!(error.code, "policy.invalid");
    error.message
}

#[test]
fn a_fault_is_told_with_file_and_line() {
    let typo = "\n\n@id(\"a\")\npermit (principal, action == Action::\"compute:servers:creat\", resource);\n";
    let message = refusal(&[("a.cedar", typo), ("b.cedar", GOOD)]);
    assert!(message.starts_with("a.cedar:4: "), "{message}");
    assert!(message.contains("compute:servers:creat"), "{message}");

    let attribute =
        "@id(\"a\")\npermit (principal, action, resource)\nwhen { principal.rolls.contains(\"x\") };\n";
    let message = refusal(&[("a.cedar", attribute)]);
    assert!(message.starts_with("a.cedar:3: ") && message.contains("rolls"), "{message}");

    let syntax =
        "@id(\"a\")\npermit (principal, action, resource)\nwhen { principal.roles.contains(\"x\" };\n";
    let message = refusal(&[("a.cedar", syntax)]);
    assert!(message.starts_with("a.cedar:3: "), "{message}");
}

#[test]
fn a_type_error_is_refused() {
    let message = refusal(&[(
        "a.cedar",
        "@id(\"a\")\npermit (principal, action, resource) when { principal.id == 1 };",
    )]);
    assert!(message.contains("a.cedar:2: "), "{message}");
    refusal(&[(
        "a.cedar",
        "@id(\"a\")\npermit (principal, action, resource) when { principal.roles == [] };",
    )]);
}

#[test]
fn ids_are_required_and_unique() {
    let message = refusal(&[("a.cedar", "permit (principal, action, resource);")]);
    assert!(message.contains("@id"), "{message}");
    let message = refusal(&[("a.cedar", GOOD), ("b.cedar", GOOD)]);
    assert_eq!(message, "b.cedar: @id(\"ok\") is taken already, in a.cedar");
}

#[test]
fn templates_are_refused() {
    let message = refusal(&[("a.cedar", "@id(\"t\")\npermit (principal == ?principal, action, resource);")]);
    assert!(message.contains("template"), "{message}");
}

#[test]
fn all_faults_are_told_at_once() {
    let message = refusal(&[("a.cedar", "permit (principal, action, resource);"), ("b.cedar", "permit (")]);
    assert!(message.contains("a.cedar") && message.contains("b.cedar"), "{message}");
}

#[test]
fn a_schema_that_lacks_an_action_or_does_not_parse_is_refused() {
    let dir = folder(&[("a.cedar", GOOD)]);
    let path = dir.path().join("schema.cedarschema");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("    \"compute:servers:stop\",\n", "")).unwrap();
    let message = Authorizer::load(dir.path()).err().unwrap().message;
    assert!(message.contains("compute:servers:stop") && message.contains("Server"), "{message}");
    std::fs::write(&path, "entity User = {\n  id: Strong\n};\n").unwrap();
    assert!(Authorizer::load(dir.path()).err().unwrap().message.starts_with("schema.cedarschema"));
    std::fs::remove_file(&path).unwrap();
    assert!(Authorizer::load(dir.path()).err().unwrap().message.contains("is missing"));
    assert!(Authorizer::load(Path::new("/nowhere/at/all")).err().unwrap().message.contains("cannot be read"));
}

fn caller(roles: &[&str]) -> Principal {
    Principal {
        user_id: UserId::from("u"),
        user_name: "u".into(),
        user_domain_id: "default".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        scope: Scope::Project { id: ProjectId::from("p"), name: "p".into(), domain_id: "default".into() },
    }
}

#[test]
fn an_empty_bundle_denies_and_an_installed_one_takes_effect_for_clones() {
    let none = Authorizer::load(folder(&[]).path()).unwrap();
    let clone = none.clone();
    let ask = |authorizer: &Authorizer| {
        authorizer.decide(&caller(&["x"]), actions::compute::SERVERS_LIST, &Target::default())
    };
    assert!(!ask(&none).allowed);
    let before = none.snapshot();
    none.install(Bundle::read(folder(&[("a.cedar", GOOD)]).path()).unwrap());
    assert!(ask(&clone).allowed);
    assert_eq!(ask(&clone).policies, ["ok"]);
    // Who took the bundle before goes on deciding by it.
    let how = Default::default();
    let list = actions::compute::SERVERS_LIST;
    assert!(!before.decide(&caller(&["x"]), &how, list, &Target::default()).allowed);
}

#[test]
fn a_forbid_wins_and_a_policy_that_fails_to_evaluate_denies() {
    let forbid = "@id(\"no\")\nforbid (principal, action == Action::\"compute:servers:list\", resource);\n";
    let bundle = Authorizer::load(folder(&[("a.cedar", GOOD), ("b.cedar", forbid)]).path()).unwrap();
    let decision = bundle.decide(&caller(&["x"]), actions::compute::SERVERS_LIST, &Target::default());
    assert_eq!((decision.allowed, decision.policies), (false, vec!["no".to_owned()]));

    // Overflow is the one error that the types cannot exclude.
    let fails =
        "@id(\"fails\")\nforbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };\n";
    let bundle = Authorizer::load(folder(&[("a.cedar", GOOD), ("b.cedar", fails)]).path()).unwrap();
    assert!(!bundle.decide(&caller(&["x"]), actions::compute::SERVERS_LIST, &Target::default()).allowed);
}

#[test]
fn groups_of_actions_work() {
    let dir =
        folder(&[("a.cedar", "@id(\"g\")\npermit (principal, action in Action::\"reads\", resource);")]);
    let path = dir.path().join("schema.cedarschema");
    let text = std::fs::read_to_string(&path).unwrap().replace(
        "action\n    \"compute:zones:list\",\n    \"compute:zones:list_detail\"\n",
        "action \"reads\";\naction\n    \"compute:zones:list\",\n    \"compute:zones:list_detail\"\n    in [\"reads\"]\n",
    );
    std::fs::write(&path, text).unwrap();
    let bundle = Authorizer::load(dir.path()).unwrap();
    assert!(bundle.decide(&caller(&[]), actions::compute::ZONES_LIST, &Target::default()).allowed);
    assert!(!bundle.decide(&caller(&[]), actions::compute::FLAVORS_LIST, &Target::default()).allowed);
}

#[test]
fn hostile_ids_are_only_text() {
    let authorizer = Authorizer::embedded().unwrap();
    let target = Target {
        id: "\" || true || \"\0\u{202e}".into(),
        project_id: "p\") || true".into(),
        ..Target::default()
    };
    assert!(!authorizer.decide(&caller(&["reader"]), actions::compute::SERVERS_SHOW, &target).allowed);
}

#[test]
fn what_is_beyond_a_bound_is_refused() {
    let comment = format!("// {}\n", "x".repeat(1 << 20));
    assert!(refusal(&[("a.cedar", &comment)]).contains("larger than 1048576 bytes"));
    let many: Vec<(String, String)> =
        (0..5).map(|n| (format!("{n}.cedar"), comment[..1 << 20].into())).collect();
    assert!(Bundle::build(&many).err().unwrap().message.contains("larger than 4194304 bytes"));
    let many: Vec<(String, String)> = (0..257).map(|n| (format!("{n}.cedar"), String::new())).collect();
    assert!(Bundle::build(&many).err().unwrap().message.contains("256"));
}

#[test]
fn what_has_no_end_or_is_no_file_is_refused_and_a_link_to_a_file_is_followed() {
    for (endless, why) in
        [("/dev/zero", "is not a file"), ("/proc/self/mem", "cannot be read"), ("/", "is not a file")]
    {
        let dir = folder(&[]);
        std::os::unix::fs::symlink(endless, dir.path().join("a.cedar")).unwrap();
        let error = Authorizer::load(dir.path()).err().expect("the bundle is refused");
        assert!(error.message.contains(why), "{endless}: {}", error.message);
    }
    let (dir, elsewhere) = (folder(&[]), folder(&[("a.cedar", GOOD)]));
    std::os::unix::fs::symlink(elsewhere.path().join("a.cedar"), dir.path().join("a.cedar")).unwrap();
    assert!(Authorizer::load(dir.path()).is_ok());
}

/// On any thread: the one that asks may have little stack left.
#[test]
fn what_nests_too_deep_is_refused_where_it_stands_and_what_is_within_the_bound_decides() {
    let policy = |condition: &str| {
        format!("@id(\"deep\")\npermit (principal, action, resource)\nwhen {{ {condition} }};\n")
    };
    let nested = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    for (condition, why) in [
        (nested(500), "a.cedar:3: more than 32 brackets"),
        (vec!["true"; 30_000].join(" && "), "a.cedar:3: more than 400 operators"),
        (format!("{}true", "!".repeat(5_000)), "a.cedar:3: more than 400 operators"),
    ] {
        let message = refusal(&[("a.cedar", &policy(&condition))]);
        assert!(message.contains(why), "{message}");
    }
    for condition in [nested(31), vec!["principal.roles.contains(\"x\")"; 99].join(" || ")] {
        let dir = folder(&[("a.cedar", &policy(&condition))]);
        let authorizer = Authorizer::load(dir.path()).unwrap();
        let target = Target::in_project(&ProjectId::from("p"));
        let decide = move || authorizer.decide(&caller(&["x"]), actions::compute::SERVERS_SHOW, &target);
        let thread = std::thread::Builder::new().stack_size(canopy_authz::DECISION_STACK);
        let decision = thread.spawn(decide).unwrap().join().unwrap();
        assert!(decision.allowed, "{condition}");
    }
}

#[test]
fn a_slip_for_every_action_is_told_a_few_times_under_the_policys_own_name() {
    let slip = GOOD.replace("principal.roles.contains(\"x\")", "context.source.isIpv4()");
    let message = refusal(&[("a.cedar", &slip)]);
    assert!(message.lines().count() <= 5, "{message}");
    assert!(message.contains("`ok`") && message.contains("more of this line"), "{message}");
}
