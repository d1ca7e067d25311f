//! The examples of `examples/policies-*`, each added to the shipped policies.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use canopy_authz::{Bundle, Snapshot, cases, embedded_files, files, format::formatted};
use std::path::Path;

#[test]
fn each_example_is_valid_formatted_and_does_what_its_cases_say() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for entry in std::fs::read_dir(examples).unwrap().map(Result::unwrap) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("policies-") {
            continue;
        }
        count += 1;
        let own = files::read_dir(&entry.path()).unwrap();
        for (file, text) in &own {
            assert_eq!(&formatted(file, text).unwrap(), text, "{name}");
        }
        let shipped = Bundle::embedded().unwrap().ids();
        let bundle = Bundle::build(&[embedded_files(), own].concat()).unwrap();
        let cases = cases::read(&entry.path()).unwrap();
        let report = cases::run(&Snapshot::of(bundle), &cases);
        assert_eq!(report.wrong, Vec::<String>::new(), "{name}");
        assert!(report.cases > 0, "{name}");
        let idle: Vec<&String> = report.untried_policies.iter().filter(|id| !shipped.contains(id)).collect();
        assert!(idle.is_empty(), "{name}: {idle:?} decide no case");
    }
    assert_eq!(count, 3);
}
