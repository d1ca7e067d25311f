//! One solver process, asked one question after another, each within a bound.

use canopy_authz::{Action, Prepared};
use canopy_types::{Error, Result};
use cedar_policy::{Policy, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::solver::LocalSolver;
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// For one question.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running cvc5. It ends with this value.
pub struct Prover {
    compiler: CedarSymCompiler<LocalSolver>,
}

/// One action with the types of its principal and resource: what a formula is about.
pub struct Question<'a> {
    pub schema: &'a Schema,
    pub env: RequestEnv,
}

impl<'a> Question<'a> {
    pub fn new(schema: &'a Schema, action: &Prepared) -> Self {
        let principal = action.principal.clone();
        Self { schema, env: RequestEnv::new(principal, action.uid.clone(), action.resource.clone()) }
    }
}

impl Prover {
    /// Starts the program that the environment variable `CVC5` names, `cvc5` of the search path otherwise.
    pub async fn start() -> Result<Self> {
        let program = std::env::var_os("CVC5").unwrap_or_else(|| "cvc5".into());
        let absent = |e: &dyn std::fmt::Display| {
            Error::unavailable(
                "policy.solver",
                format!(
                    "{} cannot be run: {e}. Proofs need the cvc5 solver (Debian package cvc5); CVC5 names its path.",
                    program.display()
                ),
            )
        };
        // Started once for its version: a program that is not the solver is told apart from a slow one.
        let version =
            Command::new(&program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
        let version =
            tokio::time::timeout(PATIENCE, version).await.map_err(|e| absent(&e))?.map_err(|e| absent(&e))?;
        if !String::from_utf8_lossy(&version.stdout).contains("cvc5") {
            return Err(absent(&"it does not say that it is cvc5"));
        }
        let limit = format!("--tlimit-per={}", PATIENCE.as_millis());
        let mut command = Command::new(&program);
        command.args(["--lang", "smt", &limit]).kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command).map_err(|e| absent(&e))?;
        let compiler = CedarSymCompiler::new(solver).map_err(|e| Error::internal("policy.solver", e))?;
        Ok(Self { compiler })
    }

    /// A request that `left` allows and `right` denies; none is a proof that there is no such request.
    pub async fn counterexample(
        &mut self,
        question: &Question<'_>,
        left: &PolicySet,
        right: &PolicySet,
    ) -> Result<Option<Env>, String> {
        let compile = |set| CompiledPolicySet::compile(set, &question.env, question.schema).map_err(words);
        let (left, right) = (compile(left)?, compile(right)?);
        bounded(self.compiler.check_implies_with_counterexample_opt(&left, &right)).await
    }

    /// Whether a policy set denies whatever is asked.
    pub async fn always_denies(&mut self, question: &Question<'_>, set: &PolicySet) -> Result<bool, String> {
        let set = CompiledPolicySet::compile(set, &question.env, question.schema).map_err(words)?;
        bounded(self.compiler.check_always_denies_opt(&set)).await
    }

    /// Whether a policy can be evaluated whatever is asked: no number overflows.
    pub async fn never_fails(&mut self, question: &Question<'_>, policy: &Policy) -> Result<bool, String> {
        let policy = CompiledPolicy::compile(policy, &question.env, question.schema).map_err(words)?;
        bounded(self.compiler.check_never_errors_opt(&policy)).await
    }
}

async fn bounded<T>(answer: impl Future<Output = cedar_policy_symcc::err::Result<T>>) -> Result<T, String> {
    // The solver keeps its own time; this is for one that does not.
    tokio::time::timeout(PATIENCE * 2, answer)
        .await
        .map_err(|_| "the solver gave no answer in time".to_owned())?
        .map_err(words)
}

fn words(error: cedar_policy_symcc::err::Error) -> String {
    use cedar_policy_symcc::err::Error;
    match error {
        Error::PolicyNotWellTyped { errs } => {
            let details: Vec<String> = errs.iter().map(ToString::to_string).collect();
            format!("a policy does not fit the schema: {}", details.join("; "))
        }
        Error::SolverUnknown => "the solver could not decide within its time".into(),
        other => other.to_string(),
    }
}

/// The policies of an action, none for an action that a bundle does not know.
pub fn policies_of(bundle: &canopy_authz::Bundle, action: Action) -> PolicySet {
    bundle.action(action.name).map(|prepared| prepared.policies.clone()).unwrap_or_default()
}
