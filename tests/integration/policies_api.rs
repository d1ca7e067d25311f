//! Policies replaced while requests run, what they see of a request, and what the audit log says.

use canopy_tests::{Client, Cloud, Engine, fixtures};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The shipped bundle in a folder of its own, and more.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in canopy_authz::embedded_files() {
            folder.write(&name, &text);
        }
        folder
    }

    fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Whole or not at all, as a deployment does.
    fn write(&self, name: &str, text: &str) {
        let part = self.0.path().join("part");
        std::fs::write(&part, text).unwrap();
        std::fs::rename(&part, self.0.path().join(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.path().join(name)).unwrap();
    }

    async fn cloud(&self) -> Cloud {
        let path = self.path();
        Cloud::start_with(Engine::Sqlite, |config| config.policies.dir = Some(path), None).await
    }
}

async fn reload(admin: &Client) -> canopy_tests::Answer {
    admin.post("/canopy/v1/policies/reload", &json!({})).await
}

async fn shown(admin: &Client) -> Value {
    let answer = admin.get("/canopy/v1/policies").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["policies"].clone()
}

const FORBID: &str =
    "@id(\"closed\")\nforbid (principal, action == Action::\"network:networks:create\", resource);\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_folder_is_loaded_and_an_invalid_one_leaves_the_last_good() {
    let folder = Folder::new();
    let cloud = folder.cloud().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let create = async |name: &str| {
        tenant.post("/network/v2.0/networks", &json!({"network": {"name": name}})).await.status
    };
    assert_eq!(create("a").await, 201);
    let before = shown(&admin).await;
    assert_eq!(
        (&before["error"], &before["commit"], &before["loads"]),
        (&json!(null), &json!(null), &json!(1))
    );

    folder.write("more.cedar", FORBID);
    assert_eq!(reload(&admin).await.status, 200);
    assert_eq!(create("b").await, 403);
    let closed = shown(&admin).await;
    assert_ne!(closed["digest"], before["digest"]);
    assert!(closed["policies"].as_array().unwrap().contains(&json!({"id": "closed", "file": "more.cedar"})));

    // A type error, a file that is too large, a schema that is gone: refused with the reason, and nothing changes.
    let large = format!("// {}\n", "x".repeat(1 << 20));
    for (file, text, reason) in [
        ("more.cedar", FORBID.replace("resource)", "resource) when { principal.id == 1 }"), "more.cedar:2"),
        ("more.cedar", large, "larger than 1048576 bytes"),
        ("schema.cedarschema", "entity User;".into(), "schema.cedarschema"),
    ] {
        let kept = std::fs::read_to_string(folder.path().join(file)).unwrap();
        folder.write(file, &text);
        let answer = reload(&admin).await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(answer.json["error"]["message"].as_str().unwrap().contains(reason), "{answer:?}");
        let state = shown(&admin).await;
        assert_eq!(state["digest"], closed["digest"]);
        assert!(state["error"]["message"].as_str().unwrap().contains(reason), "{state}");
        assert_eq!(create("c").await, 403);
        let metrics = cloud.anonymous().get("/metrics").await;
        assert!(metrics.text().contains("canopy_policy_load_failed"), "{}", metrics.text());
        folder.write(file, &kept);
    }

    // Without being asked, too.
    folder.remove("more.cedar");
    cloud
        .until("the folder is read again", async || {
            let state = shown(&admin).await;
            state["digest"] == before["digest"] && state["error"].is_null()
        })
        .await;
    assert_eq!(create("d").await, 201);

    for client in [&tenant, &cloud.tenant_with_role("m", "manager").await] {
        assert_eq!(client.get("/canopy/v1/policies").await.status, 403);
        assert_eq!(reload(client).await.status, 403);
    }
}

/// Each bundle permits only one of two things that a listing asks, so an answer made from both bundles would
/// show in what it lists.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_under_load_drops_no_request_and_mixes_no_versions() {
    let folder = Folder::new();
    let cloud = folder.cloud().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    for n in 0..20 {
        let made = tenant
            .post("/image/v2/images", &json!({"name": format!("i{n}"), "tags": [format!("t{}", n % 2)]}))
            .await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    let hide = |tag: &str| {
        format!(
            "@id(\"hide\")\nforbid (principal, action == Action::\"image:images:show\", resource)\nwhen {{ resource.labels.contains(\"{tag}\") }};\n"
        )
    };
    folder.write("more.cedar", &hide("t0"));
    assert_eq!(reload(&admin).await.status, 200);
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (tenant.clone(), stop.clone());
            tokio::spawn(async move {
                let (mut count, mut kinds) = (0, std::collections::BTreeSet::new());
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/image/v2/images?limit=100").await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let images = answer.json["images"].as_array().unwrap();
                    let tags: std::collections::BTreeSet<&str> =
                        images.iter().map(|image| image["tags"][0].as_str().unwrap()).collect();
                    assert_eq!((images.len(), tags.len()), (10, 1), "one version's answer: {tags:?}");
                    kinds.extend(tags.into_iter().map(str::to_owned));
                    count += 1;
                }
                (count, kinds)
            })
        })
        .collect();
    for round in 0..6 {
        folder.write("more.cedar", &hide(if round % 2 == 0 { "t1" } else { "t0" }));
        assert_eq!(reload(&admin).await.status, 200);
    }
    stop.store(true, Ordering::Relaxed);
    let mut kinds = std::collections::BTreeSet::new();
    for reader in readers {
        let (count, seen) = reader.await.unwrap();
        assert!(count > 0);
        kinds.extend(seen);
    }
    assert_eq!(kinds.len(), 2, "both versions answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_a_git_work_tree_is_read_at_its_commit() {
    let folder = Folder::new();
    let git = |arguments: &[&str]| {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"];
        let output = std::process::Command::new("git")
            .current_dir(folder.path())
            .args(identity)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "first"]);
    let cloud = folder.cloud().await;
    let admin = cloud.admin().await;
    assert_eq!(shown(&admin).await["commit"], git(&["rev-parse", "HEAD"]));

    // What is not committed does not decide.
    folder.write("more.cedar", FORBID);
    assert_eq!(reload(&admin).await.status, 200);
    assert!(!shown(&admin).await["policies"].to_string().contains("closed"));
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "second"]);
    let second = git(&["rev-parse", "HEAD"]);
    cloud.until("the new commit is in force", async || shown(&admin).await["commit"] == second).await;
    let denied = admin.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    assert_eq!(denied.status, 403, "{denied:?}");
    let line = logged(&cloud, |event| event["reason"]["policyId"] == json!(["closed"])).await;
    assert_eq!(line["reason"]["policyType"], second);
}

/// An answer says which bundle decided, to whom that is told; each is of one bundle, whatever is loaded meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn answers_name_their_policies_and_bundle_to_those_who_may_know() {
    let folder = Folder::new();
    let cloud = folder.cloud().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let open = shown(&admin).await["digest"].as_str().unwrap().to_owned();
    let answer = admin.get("/network/v2.0/networks").await;
    assert_eq!(
        (answer.status, answer.header("canopy-policy-bundle"), answer.header("canopy-policies")),
        (200, Some(open.as_str()), Some("admin-everything"))
    );
    let answer = tenant.get("/network/v2.0/networks").await;
    assert_eq!(
        (answer.status, answer.header("canopy-policy-bundle"), answer.header("canopy-policies")),
        (200, None, None)
    );

    let closing = FORBID.replace("create", "list");
    folder.write("more.cedar", &closing);
    assert_eq!(reload(&admin).await.status, 200);
    let closed = shown(&admin).await["digest"].as_str().unwrap().to_owned();
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop) = (admin.clone(), stop.clone());
            let (open, closed) = (open.clone(), closed.clone());
            tokio::spawn(async move {
                let mut kinds = std::collections::BTreeMap::<u16, usize>::new();
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/network/v2.0/networks").await;
                    let told = (answer.header("canopy-policy-bundle"), answer.header("canopy-policies"));
                    match answer.status {
                        200 => assert_eq!(told, (Some(open.as_str()), Some("admin-everything"))),
                        // What was asked before it was denied is told, too.
                        403 => assert_eq!(told, (Some(closed.as_str()), Some("admin-everything,closed"))),
                        _ => panic!("{answer:?}"),
                    }
                    *kinds.entry(answer.status).or_default() += 1;
                }
                kinds
            })
        })
        .collect();
    for _ in 0..10 {
        folder.remove("more.cedar");
        assert_eq!(reload(&admin).await.status, 200);
        folder.write("more.cedar", &closing);
        assert_eq!(reload(&admin).await.status, 200);
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = std::collections::BTreeSet::new();
    for reader in readers {
        seen.extend(reader.await.unwrap().into_keys());
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [200, 403]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_servers_leaves_out_what_the_policies_hide_and_its_pages_stay_full() {
    let folder = Folder::new();
    folder.write(
        "more.cedar",
        "@id(\"hidden\")\nforbid (principal, action == Action::\"compute:servers:show\", resource)\n\
         when { resource.hasTag(\"secret\") && !principal.roles.contains(\"admin\") };\n",
    );
    let cloud = folder.cloud().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await.at("2.37"));
    let flavor = fixtures::flavor(&admin, "f", 1, 64, 1).await;
    let image = fixtures::image(&tenant, "i").await;
    for n in 0..6 {
        let mut body = fixtures::server(&format!("s{n}"), &flavor, &image);
        if n % 2 == 1 {
            body["server"]["metadata"] = json!({"secret": "yes"});
        }
        fixtures::boot(&tenant, &body).await;
    }
    let names = |answer: &canopy_tests::Answer| -> Vec<String> {
        let servers = answer.json["servers"].as_array().unwrap();
        servers.iter().map(|server| server["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = tenant.get("/compute/v2.1/servers").await;
    assert_eq!(names(&all), ["s4", "s2", "s0"]);
    let page = tenant.get("/compute/v2.1/servers?limit=2").await;
    assert_eq!(names(&page), ["s4", "s2"]);
    let next = page.text_at("/servers_links/0/href").replace(&cloud.url, "");
    assert_eq!(names(&tenant.get(&next).await), ["s0"]);
    let every = admin.get("/compute/v2.1/servers?all_tenants=1").await;
    assert_eq!(names(&every).len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_networks_and_what_is_on_them_leave_out_what_the_policies_hide() {
    let folder = Folder::new();
    let cloud = folder.cloud().await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let base = "/network/v2.0";
    let create = async |kind: &str, body: Value| {
        let made = tenant.post(&format!("{base}/{kind}s").replace('_', "-"), &json!({ kind: body })).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.text_at(&format!("/{kind}/id")).to_owned()
    };
    let mut hidden = Vec::new();
    for n in 0..4 {
        let network = create("network", json!({"name": format!("n{n}")})).await;
        let cidr = format!("10.0.{n}.0/24");
        let subnet = create(
            "subnet",
            json!({"network_id": network, "ip_version": 4, "cidr": cidr, "name": format!("n{n}"), "enable_dhcp": false}),
        )
        .await;
        let port = create("port", json!({"network_id": network, "name": format!("n{n}")})).await;
        if n % 2 == 1 {
            hidden.extend([network, subnet, port]);
        }
    }
    // There is one group, the default, with four rules.
    let groups = tenant.get(&format!("{base}/security-groups")).await;
    hidden.push(groups.text_at("/security_groups/0/id").to_owned());
    let ids = hidden.iter().map(|id| format!("resource.id == \"{id}\"")).collect::<Vec<_>>().join(" || ");
    let actions = ["networks", "subnets", "ports", "security_groups"]
        .map(|kind| format!("Action::\"network:{kind}:show\""))
        .join(", ");
    folder.write(
        "more.cedar",
        &format!(
            "@id(\"hidden\")\nforbid (principal, action in [{actions}], resource)\n\
             when {{ ({ids}) && !principal.roles.contains(\"admin\") }};\n"
        ),
    );
    let loaded = reload(&admin).await;
    assert_eq!(loaded.status, 200, "{loaded:?}");
    for kind in ["networks", "subnets", "ports", "security-groups"] {
        let names = async |client: &Client, query: &str| -> Vec<String> {
            let answer = client.get(&format!("{base}/{kind}?sort_key=name&{query}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let all = answer.json[kind.replace('-', "_")].as_array().unwrap().clone();
            let names = all.iter().map(|one| one["name"].as_str().unwrap().to_owned());
            names.filter(|name| name.starts_with('n')).collect()
        };
        if kind == "security-groups" {
            let groups = tenant.get(&format!("{base}/{kind}")).await;
            assert_eq!(groups.json["security_groups"], json!([]));
        } else {
            assert_eq!(names(&tenant, "").await, ["n0", "n2"], "{kind}");
            assert_eq!(names(&admin, "").await, ["n0", "n1", "n2", "n3"], "{kind}");
            let first = tenant.get(&format!("{base}/{kind}?sort_key=name&limit=2")).await;
            let key = kind.replace('-', "_");
            assert_eq!(first.json[&key].as_array().unwrap().len(), 2, "a page is full: {first:?}");
            let last = first.text_at(&format!("/{key}/1/id")).to_owned();
            let back = names(&tenant, &format!("limit=1&page_reverse=true&marker={last}")).await;
            assert_eq!(back, ["n0"], "{kind}");
        }
    }
    assert_eq!(tenant.get(&format!("{base}/networks/{}", hidden[0])).await.status, 404);
}

fn audit_dir(cloud: &Cloud) -> PathBuf {
    cloud.config.data_dir.join("audit")
}

fn events(dir: &Path) -> Vec<Value> {
    let mut events = Vec::new();
    canopy_audit::lines(dir, |event| events.push(event)).unwrap();
    events
}

/// The first line that is as asked, waited for.
async fn logged(cloud: &Cloud, wanted: impl Fn(&Value) -> bool) -> Value {
    let dir = audit_dir(cloud);
    cloud.until("the audit log has the line", async || events(&dir).iter().any(&wanted)).await;
    events(&dir).into_iter().find(|event| wanted(event)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_denials_are_logged_reads_are_not_and_secrets_never() {
    let mut cloud = Cloud::start().await;
    let (tenant, other) = (cloud.tenant("t").await, cloud.tenant("u").await);
    let made = tenant.post("/network/v2.0/networks", &json!({"network": {"name": "n"}})).await;
    let id = made.text_at("/network/id").to_owned();
    let path = format!("/network/v2.0/networks/{id}");
    assert_eq!(tenant.get(&path).await.status, 200);
    let hidden = other.get(&path).await;
    assert_eq!(hidden.status, 404);
    let request = format!("request:{}", hidden.header("x-openstack-request-id").unwrap());
    let line = logged(&cloud, |event| event["tags"][0] == request.as_str()).await;
    assert_eq!((&line["action"], &line["outcome"]), (&json!("network:networks:show"), &json!("failure")));
    assert_eq!(line["target"]["id"], id);
    assert_eq!(line["initiator"]["host"]["address"], "127.0.0.1");
    let question = &line["attachments"][0]["content"];
    assert_eq!(question["principal"]["methods"], json!(["password"]));

    // What a client makes up does not fill the log, and a grant says to whom.
    let long = format!("/identity/v3/users/{}", "%01".repeat(9_000));
    assert_eq!(other.get(&long).await.status, 403);
    let line = logged(&cloud, |event| event["action"] == "identity:users:show").await;
    assert!(line.to_string().len() < 4_000, "{line}");
    let admin = cloud.admin().await;
    let id_of = async |kind: &str, name: &str| {
        let found = admin.get(&format!("/identity/v3/{kind}?name={name}")).await;
        found.text_at(&format!("/{kind}/0/id")).to_owned()
    };
    let (user, role) = (id_of("users", "u").await, id_of("roles", "reader").await);
    let grant = format!("/identity/v3/projects/{}/users/{user}/roles/{role}", id_of("projects", "t").await);
    assert_eq!(admin.put(&grant, &Value::Null).await.status, 204);
    let request = format!("PUT {grant}");
    let line =
        logged(&cloud, |event| event["attachments"][0]["content"]["request"] == request.as_str()).await;
    assert_eq!(line["action"], "identity:grants:add");

    let created =
        logged(&cloud, |event| event["action"] == "network:networks:create" && event["outcome"] == "success")
            .await;
    assert_eq!(created["reason"]["policyId"], json!(["network-write-own-project"]));

    // Of a flood of requests that nobody stands behind there are some lines, and the count of the others.
    let mut nobody = cloud.anonymous();
    nobody.token = "gAAAAAsecret-token-text".into();
    for _ in 0..150 {
        assert_eq!(nobody.get("/compute/v2.1/servers").await.status, 401);
    }
    let wrong = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
        "name": "admin", "domain": {"id": "default"}, "password": "wrong-pass-word"}}}}});
    let token = tenant.token.clone();
    nobody.token = String::new();
    let login = nobody.post("/identity/v3/auth/tokens", &wrong).await;
    assert_eq!(login.status, 401);
    let dir = audit_dir(&cloud);
    cloud.stop().await;
    let events = events(&dir);
    let asked = |action: &str| events.iter().filter(|event| event["action"] == action).count();
    let floods = asked("GET /compute/v2.1/servers");
    assert!((100..150).contains(&floods), "{floods}");
    let reads = events
        .iter()
        .filter(|event| event["outcome"] == "success" && event["action"] == "network:networks:show");
    assert_eq!(reads.count(), 0);
    let text: String = events.iter().map(ToString::to_string).collect();
    for secret in [token.as_str(), "secret-token-text", "wrong-pass-word"] {
        assert!(!text.contains(secret));
    }
    let verified = canopy_audit::verify(&dir).unwrap();
    assert_eq!(verified.faults, Vec::<String>::new());
    assert!(verified.chains.values().all(|chain| chain.ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_see_what_a_server_is_to_be_and_where_a_request_comes_from() {
    let folder = Folder::new();
    folder.write(
        "more.cedar",
        "@id(\"small\")\nforbid (principal, action == Action::\"compute:servers:create\", resource)\n\
         when { context.wanted.vcpus > 2 || context.wanted.ram_mib > 512 };\n\
         @id(\"near\")\nforbid (principal, action == Action::\"compute:servers:delete\", resource)\n\
         unless { context has source && context.source.isInRange(ip(\"192.0.2.0/24\")) };\n\
         @id(\"kept\")\nforbid (principal, action == Action::\"compute:servers:delete\", resource)\n\
         when { resource.hasTag(\"keep\") && resource.getTag(\"keep\") == \"yes\" };\n",
    );
    let path = folder.path();
    let cloud = Cloud::start_with(
        Engine::Sqlite,
        |config| {
            config.policies.dir = Some(path);
            config.trusted_proxies = vec![[127, 0, 0, 1].into()];
        },
        None,
    )
    .await;
    let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
    let small = fixtures::flavor(&admin, "small", 1, 64, 1).await;
    let large = fixtures::flavor(&admin, "large", 4, 64, 1).await;
    let image = fixtures::image(&tenant, "i").await;
    let create = async |flavor: &str, metadata: Value| {
        let mut body = fixtures::server("s", flavor, &image);
        body["server"]["metadata"] = metadata;
        tenant.at("2.37").post("/compute/v2.1/servers", &body).await
    };
    let denied = create(&large, json!({})).await;
    assert_eq!(denied.status, 403, "{denied:?}");
    // Who may create learns what is wrong; who may not learns only that.
    assert_eq!(create("no-such-flavor", json!({})).await.status, 400);
    let reader = cloud.tenant_with_role("r", "reader").await;
    let body = fixtures::server("s", "no-such-flavor", &image);
    assert_eq!(reader.at("2.37").post("/compute/v2.1/servers", &body).await.status, 403);

    let kept = create(&small, json!({"keep": "yes"})).await.text_at("/server/id").to_owned();
    let other = create(&small, json!({"keep": "no"})).await.text_at("/server/id").to_owned();
    let delete = async |from: &str, id: &str| {
        let client = tenant.with_header("x-forwarded-for", from);
        client.delete(&format!("/compute/v2.1/servers/{id}")).await.status
    };
    assert_eq!(delete("203.0.113.7", &other).await, 403);
    assert_eq!(delete("192.0.2.7, 203.0.113.7", &other).await, 403, "what the client put in front");
    assert_eq!(delete("192.0.2.7", &kept).await, 403);
    assert_eq!(delete("192.0.2.7", &other).await, 204);
}
