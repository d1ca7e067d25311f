//! Decisions made before: an answer is a function of the bundle and of what its policies look at, so the same question
//! is not put twice. They go with the bundle.

use crate::load::Prepared;
use crate::{Circumstances, Decision, Principal, Scope, Target};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{PoisonError, RwLock};

/// Decisions kept; when there are so many, all go.
const KEPT: usize = 8_192;
/// Bytes of the longest question that is kept.
const LONGEST: usize = 1_024;

/// All that Cedar is told of one question, as bytes.
pub type Question = Vec<u8>;

#[derive(Default)]
pub struct Answers(RwLock<HashMap<Question, Decision>>);

impl Answers {
    pub fn get(&self, question: &Question) -> Option<Decision> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(question).cloned()
    }

    pub fn keep(&self, question: Question, answer: Decision) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(question, answer);
    }
}

/// The question; `None` for one that is not kept: of resources that a policy looks at as a whole, which it could know
/// otherwise than by what stands here, of what is wanted or at stake, and very long ones.
///
/// It holds no less than [`crate::request::ask`] tells: the caller always, of the rest what is looked at.
pub fn question(
    action: &Prepared,
    who: &Principal,
    how: &Circumstances,
    target: &Target,
) -> Option<Question> {
    let looks = &action.visible;
    if looks.of_whole_resource() || target.wanted.is_some() || target.at_stake.is_some() {
        return None;
    }
    let mut question = Writer(Vec::with_capacity(256));
    question.text(action.uid.id().unescaped());
    question.text(who.user_id.as_str());
    question.text(who.user_domain_id.as_str());
    question.texts(who.roles.iter());
    let (scope, id, domain) = match &who.scope {
        Scope::Unscoped => ("unscoped", "", ""),
        Scope::Project { id, domain_id, .. } => ("project", id.as_str(), domain_id.as_str()),
        Scope::Domain { id } => ("domain", "", id.as_str()),
        Scope::System => ("system", "", ""),
    };
    [scope, id, domain].iter().for_each(|text| question.text(text));
    question.texts(how.methods.iter().filter(|_| looks.of_context("methods")));
    let credential = looks.of_context("application_credential");
    question.text(if credential { &how.application_credential } else { "" });
    let source = how.source.filter(|_| looks.of_context("source"));
    question.text(&source.map(|source: IpAddr| source.to_canonical().to_string()).unwrap_or_default());
    for (name, value) in [
        ("id", &target.id),
        ("project_id", &target.project_id),
        ("domain_id", &target.domain_id),
        ("user_id", &target.user_id),
    ] {
        question.text(if looks.of_resource(name) { value } else { "" });
    }
    let flag = |name: &str, value: bool| u8::from(looks.of_resource(name) && value);
    question.0.extend([flag("public", target.public), flag("shared", target.shared)]);
    question.texts(target.labels.iter().filter(|_| looks.of_resource("labels")));
    let metadata = target.metadata.iter().filter(|_| looks.of_metadata());
    question.texts(metadata.flat_map(|(name, value)| [name, value]));
    Some(question.0).filter(|question| question.len() <= LONGEST)
}

struct Writer(Vec<u8>);

impl Writer {
    /// With its length before it, so that no two questions are written alike.
    fn text(&mut self, text: &str) {
        self.0.extend((text.len() as u64).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    /// With their number before them.
    fn texts<'a>(&mut self, texts: impl Iterator<Item = &'a String>) {
        let at = self.0.len();
        self.0.extend(0_u64.to_le_bytes());
        let mut count = 0_u64;
        for text in texts {
            self.text(text);
            count += 1;
        }
        self.0[at..at + 8].copy_from_slice(&count.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Authorizer, Bundle, Snapshot, actions, embedded_files};
    use canopy_types::{DomainId, ProjectId, UserId};

    fn who(user: &str, project: &str, roles: &[&str]) -> Principal {
        Principal {
            user_id: UserId(user.into()),
            user_name: user.into(),
            user_domain_id: DomainId("d".into()),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            scope: Scope::Project {
                id: ProjectId(project.into()),
                name: project.into(),
                domain_id: DomainId("d".into()),
            },
        }
    }

    fn with(policy: &str) -> Snapshot {
        let mut files = embedded_files();
        files.push(("z.cedar".into(), policy.into()));
        Snapshot::of(Bundle::build(&files).unwrap())
    }

    /// Every question twice, in turns with the others: kept answers are those that would be given anew.
    #[test]
    fn a_kept_answer_is_the_one_that_would_be_given_anew() {
        let show = "action == Action::\"compute:servers:show\"";
        let bundles = [
            Authorizer::embedded().unwrap().snapshot(),
            with(&format!("@id(\"z\") forbid (principal == User::\"u2\", {show}, resource);")),
            with(&format!("@id(\"z\") forbid (principal, {show}, resource == Server::\"s2\");")),
            with(&format!(
                "@id(\"z\") forbid (principal, {show}, resource) when {{ context has source && context.source.isLoopback() }};"
            )),
            with(&format!(
                "@id(\"z\") forbid (principal, {show}, resource) when {{ context.methods.contains(\"totp\") }};"
            )),
            with(&format!(
                "@id(\"z\") forbid (principal, {show}, resource) when {{ resource.user_id == principal.id }};"
            )),
            with(&format!(
                "@id(\"z\") forbid (principal, {show}, resource) when {{ resource.hasTag(\"k\") }};"
            )),
            with(&format!(
                "@id(\"z\") forbid (principal, {show}, resource) when {{ resource.labels.contains(\"l\") }};"
            )),
            with(&format!(
                "@id(\"z\") forbid (principal, {show}, resource) when {{ [resource] == [resource] && resource.id like \"s2*\" }};"
            )),
        ];
        let people = [
            who("u1", "p1", &["member", "reader"]),
            who("u2", "p1", &["member", "reader"]),
            who("u1", "p2", &["member", "reader"]),
            who("u1", "p1", &["reader"]),
            who("u1", "p1", &[]),
            who("a", "p9", &["admin", "member", "reader"]),
        ];
        let plain = Circumstances::default();
        let ways = [
            Circumstances { source: "127.0.0.1".parse().ok(), ..plain.clone() },
            Circumstances { source: "192.0.2.1".parse().ok(), ..plain.clone() },
            Circumstances { methods: vec!["totp".into()], ..plain.clone() },
            plain,
        ];
        let server =
            Target { id: "s1".into(), project_id: "p1".into(), user_id: "u1".into(), ..Target::default() };
        let targets = [
            Target { id: "s2".into(), ..server.clone() },
            Target { project_id: "p2".into(), ..server.clone() },
            Target { user_id: "u2".into(), ..server.clone() },
            Target { labels: vec!["l".into()], ..server.clone() },
            Target { metadata: [("k".to_owned(), "v".to_owned())].into(), ..server.clone() },
            server,
        ];
        let mut allowed = 0;
        for bundle in &bundles {
            for _ in 0..2 {
                for ((who, how), target) in people
                    .iter()
                    .flat_map(|who| ways.iter().map(move |how| (who, how)))
                    .flat_map(|asker| targets.iter().map(move |target| (asker, target)))
                {
                    for action in [actions::compute::SERVERS_SHOW, actions::compute::SERVERS_DELETE] {
                        let given = bundle.decide(who, how, action, target);
                        assert_eq!(
                            given,
                            bundle.decide_anew(who, how, action, target).0,
                            "{who:?} {how:?} {action:?} {target:?}"
                        );
                        allowed += usize::from(given.allowed);
                    }
                }
            }
        }
        assert!(allowed > 50, "{allowed}");
    }

    #[test]
    fn what_a_policy_looks_at_whole_and_what_is_long_is_not_kept() {
        let bundle = with(
            "@id(\"z\") forbid (principal, action == Action::\"compute:servers:show\", resource == Server::\"s2\");",
        );
        let asks = |action: crate::Action, target: &Target| {
            let prepared = bundle.bundle().action(action.name).unwrap();
            question(prepared, &who("u", "p", &["member"]), &Circumstances::default(), target)
        };
        let target = Target { id: "s2".into(), ..Target::default() };
        assert!(asks(actions::compute::SERVERS_SHOW, &target).is_none());
        assert!(asks(actions::compute::SERVERS_DELETE, &target).is_some());
        let long = Target { project_id: "p".repeat(LONGEST), ..Target::default() };
        assert!(asks(actions::compute::SERVERS_DELETE, &long).is_none());
    }

    #[test]
    fn there_are_never_more_than_may_be_kept() {
        let answers = Answers::default();
        for n in 0..=KEPT as u64 {
            answers.keep(n.to_le_bytes().to_vec(), Decision { allowed: true, policies: Vec::new() });
        }
        assert_eq!(answers.0.read().unwrap().len(), 1);
    }
}
