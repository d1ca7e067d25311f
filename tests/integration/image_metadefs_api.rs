//! Metadata definitions: made by an admin, read by those they are for.

use canopy_tests::{Client, Cloud, engines};
use serde_json::{Value, json};

const ALL: &str = "/image/v2/metadefs/namespaces";

async fn names(client: &Client, query: &str) -> Vec<String> {
    let answer = client.get(&format!("{ALL}{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = answer.json["namespaces"].as_array().expect("namespaces").clone();
    list.iter().map(|one| one["namespace"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_an_admins_to_change_and_everybodys_to_read_where_public() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        let body = json!({"namespace": "OS::A b", "visibility": "public", "display_name": "A", "protected": true,
            "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}],
            "properties": {"size": {"title": "Size", "type": "integer", "minimum": 1}},
            "objects": [{"name": "o", "properties": {}}], "tags": [{"name": "t"}]});
        assert_eq!(tenant.post(ALL, &body).await.status, 403);
        let made = admin.post(ALL, &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(made.text_at("/self"), "/v2/metadefs/namespaces/OS::A%20b");
        assert_eq!(admin.post(ALL, &body).await.status, 409);
        for name in ["private", "also"] {
            assert_eq!(admin.post(ALL, &json!({"namespace": name})).await.status, 201);
        }
        assert_eq!(names(&tenant, "").await, ["OS::A b"]);
        assert_eq!(names(&admin, "").await, ["OS::A b", "also", "private"]);
        assert_eq!(names(&admin, "?limit=1&marker=also").await, ["private"]);
        assert_eq!(admin.get(&format!("{ALL}?marker=none")).await.status, 400);
        assert_eq!(tenant.get(&format!("{ALL}?marker=private")).await.status, 400, "as if it were not there");

        let one = format!("{ALL}/OS%3A%3AA%20b");
        let whole = tenant.get(&one).await;
        assert_eq!(whole.status, 200, "{whole:?}");
        assert_eq!(
            whole.json["properties"]["size"],
            json!({"title": "Size", "type": "integer", "minimum": 1})
        );
        assert_eq!(whole.text_at("/objects/0/name"), "o");
        assert_eq!(whole.text_at("/tags/0/name"), "t");
        assert_eq!(whole.text_at("/resource_type_associations/0/prefix"), "hw_");
        assert_eq!(tenant.get(&format!("{ALL}/private")).await.status, 404);
        assert_eq!(tenant.delete(&format!("{ALL}/private")).await.status, 404);
        assert_eq!(tenant.delete(&one).await.status, 403);
        assert_eq!(admin.delete(&one).await.status, 403, "it is protected");
        let types = tenant.get("/image/v2/metadefs/resource_types").await;
        assert_eq!(types.text_at("/resource_types/0/name"), "OS::Glance::Image");
        assert_eq!(types.json["resource_types"].as_array().map(Vec::len), Some(4), "each once: {types:?}");

        let open = json!({"namespace": "OS::A b", "protected": false, "description": "d"});
        let changed = admin.put(&one, &open).await;
        assert_eq!((changed.status, changed.text_at("/description")), (200, "d"));
        assert_eq!((changed.text_at("/visibility"), changed.text_at("/display_name")), ("public", "A"));
        assert_eq!(admin.put(&one, &json!({"namespace": "other"})).await.status, 400);
        assert_eq!(admin.delete(&one).await.status, 204);
        assert_eq!(admin.get(&one).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_every_kind_are_made_changed_and_removed() {
    for engine in engines() {
        let cloud = Cloud::start_on(engine).await;
        let (admin, tenant) = (cloud.admin().await, cloud.tenant("t").await);
        assert_eq!(admin.post(ALL, &json!({"namespace": "n", "visibility": "public"})).await.status, 201);
        let kinds: [(&str, Value, Value); 2] = [
            ("objects", json!({"name": "a", "description": "1"}), json!({"name": "b", "required": []})),
            (
                "properties",
                json!({"name": "a", "title": "A", "type": "string", "enum": ["x"]}),
                json!({"name": "b", "title": "B", "type": "boolean"}),
            ),
        ];
        for (kind, first, second) in kinds {
            let all = format!("{ALL}/n/{kind}");
            assert_eq!(tenant.post(&all, &first).await.status, 403);
            let made = admin.post(&all, &first).await;
            assert_eq!((made.status, made.text_at("/name")), (201, "a"), "{made:?}");
            assert_eq!(admin.post(&all, &first).await.status, 409);
            assert_eq!(tenant.get(&format!("{all}/a")).await.status, 200);
            assert_eq!(tenant.get(&format!("{all}/none")).await.status, 404);
            let renamed = admin.put(&format!("{all}/a"), &second).await;
            assert_eq!((renamed.status, renamed.text_at("/name")), (200, "b"), "{renamed:?}");
            assert_eq!(tenant.get(&format!("{all}/a")).await.status, 404);
            assert_eq!(admin.put(&format!("{all}/a"), &second).await.status, 404);
            let listed = tenant.get(&all).await;
            let list = &listed.json[kind];
            assert_eq!(list.as_array().map_or_else(|| list.as_object().map_or(0, |o| o.len()), Vec::len), 1);
            assert_eq!(admin.delete(&format!("{all}/b")).await.status, 204);
            assert_eq!(admin.delete(&format!("{all}/b")).await.status, 404);
            assert_eq!(admin.post(&all, &first).await.status, 201);
            assert_eq!(admin.delete(&all).await.status, 204);
            let empty = tenant.get(&all).await;
            assert!(empty.json[kind] == json!([]) || empty.json[kind] == json!({}), "{empty:?}");
        }
        let tags = format!("{ALL}/n/tags");
        let listed = async || -> Vec<String> {
            let answer = tenant.get(&tags).await;
            let list = answer.json["tags"].as_array().expect("tags").clone();
            list.iter().map(|tag| tag["name"].as_str().expect("a name").to_owned()).collect()
        };
        assert_eq!(admin.post(&tags, &json!({"tags": [{"name": "a"}, {"name": "b"}]})).await.status, 201);
        assert_eq!(listed().await, ["a", "b"]);
        assert_eq!(admin.post(&tags, &json!({"tags": [{"name": "c"}]})).await.status, 201);
        assert_eq!(listed().await, ["c"], "they take the place of all");
        let append = admin.with_header("x-openstack-append", "true");
        assert_eq!(append.post(&tags, &json!({"tags": [{"name": "d"}]})).await.status, 201);
        assert_eq!(admin.post(&format!("{tags}/e"), &Value::Null).await.status, 201);
        assert_eq!(listed().await, ["c", "d", "e"]);
        assert_eq!(admin.put(&format!("{tags}/e"), &json!({"name": "f"})).await.status, 200);
        assert_eq!(admin.delete(&format!("{tags}/f")).await.status, 204);
        assert_eq!(listed().await, ["c", "d"]);

        let types = format!("{ALL}/n/resource_types");
        assert_eq!(admin.post(&types, &json!({"name": "OS::Nova::Flavor", "prefix": "p"})).await.status, 201);
        let answer = tenant.get(&types).await;
        assert_eq!(answer.text_at("/resource_type_associations/0/name"), "OS::Nova::Flavor");
        assert_eq!(admin.delete(&format!("{types}/OS::Nova::Flavor")).await.status, 204);
        for bad in [
            json!({"namespace": ""}),
            json!({"namespace": "x".repeat(81)}),
            json!({"namespace": "a\u{0}b"}),
            json!({"namespace": "x", "visibility": "shared"}),
            json!({"namespace": "x", "unknown": 1}),
            json!({"namespace": "x", "properties": {"p": {"title": "t", "type": "date"}}}),
            json!({}),
        ] {
            assert_eq!(admin.post(ALL, &bad).await.status, 400, "{bad}");
        }
        let schema = tenant.get("/image/v2/schemas/metadefs/namespaces").await;
        assert_eq!((schema.status, schema.text_at("/name")), (200, "namespaces"));
    }
}
