//! Metadata definitions, as glance has them.

use super::images::ANY;
use crate::handler;
use crate::links;
use crate::request::{Reply, Req};
use crate::route::{Handler, Route, Service};
use crate::schema::{object, text};
use canopy_app::image::metadefs::{self, Fields, Item, Kind, Namespace, Whole};
use canopy_authz::Action;
use canopy_authz::actions::image::{METADEFS_CHANGE, METADEFS_SHOW};
use canopy_types::{Error, ProjectId, Result};
use http::Method;
use serde_json::{Map, Value, json};

const ALL: &str = "/v2/metadefs/namespaces";
const ONE: &str = "/v2/metadefs/namespaces/{namespace}";
/// Longest text that is not a name.
const TEXT: u32 = 4_096;

fn route(
    method: Method,
    path: &'static str,
    summary: &'static str,
    handler: Handler,
    action: Action,
) -> Route {
    Route::new(Service::Image, method, path, summary, handler).action(action)
}

pub fn routes() -> Vec<Route> {
    let (get, post, put, delete) = (Method::GET, Method::POST, Method::PUT, Method::DELETE);
    let mut routes = vec![
        route(get.clone(), ALL, "List metadata definition namespaces", handler!(list), METADEFS_SHOW),
        route(post.clone(), ALL, "Make a metadata definition namespace", handler!(create), METADEFS_CHANGE)
            .json(&[(ANY, create_schema)])
            .answers(&[201], &[409, 413]),
        route(get.clone(), ONE, "Show a metadata definition namespace", handler!(show), METADEFS_SHOW)
            .answers(&[200], &[404]),
        route(put.clone(), ONE, "Change a metadata definition namespace", handler!(update), METADEFS_CHANGE)
            .json(&[(ANY, namespace_schema)])
            .answers(&[200], &[404]),
        route(
            delete.clone(),
            ONE,
            "Delete a metadata definition namespace",
            handler!(remove),
            METADEFS_CHANGE,
        )
        .answers(&[204], &[404]),
        route(
            get.clone(),
            "/v2/metadefs/resource_types",
            "List resource types",
            handler!(types),
            METADEFS_SHOW,
        ),
    ];
    macro_rules! kind {
        ($kind:expr, $word:literal, $schema:expr, $all:literal, $one:literal) => {
            routes.extend([
                route(
                    get.clone(),
                    concat!("/v2/metadefs/namespaces/{namespace}/", $all),
                    concat!("List the ", $all, " of a namespace"),
                    |req| Box::pin(items(req, $kind)),
                    METADEFS_SHOW,
                )
                .answers(&[200], &[404]),
                route(
                    post.clone(),
                    concat!("/v2/metadefs/namespaces/{namespace}/", $all),
                    concat!("Add ", $word, " to a namespace"),
                    |req| Box::pin(add(req, $kind)),
                    METADEFS_CHANGE,
                )
                .json(&[(ANY, $schema)])
                .answers(&[201], &[404, 409, 413]),
                route(
                    delete.clone(),
                    concat!("/v2/metadefs/namespaces/{namespace}/", $one),
                    concat!("Remove ", $word, " from a namespace"),
                    |req| Box::pin(remove_one(req, $kind)),
                    METADEFS_CHANGE,
                )
                .answers(&[204], &[404]),
            ]);
        };
        ($kind:expr, $word:literal, $schema:expr, $one_schema:expr, $all:literal, $one:literal) => {
            kind!($kind, $word, $schema, $all, $one);
            routes.extend([
                route(
                    delete.clone(),
                    concat!("/v2/metadefs/namespaces/{namespace}/", $all),
                    concat!("Remove all ", $all, " of a namespace"),
                    |req| Box::pin(remove_all(req, $kind)),
                    METADEFS_CHANGE,
                )
                .answers(&[204], &[404]),
                route(
                    get.clone(),
                    concat!("/v2/metadefs/namespaces/{namespace}/", $one),
                    concat!("Show ", $word, " of a namespace"),
                    |req| Box::pin(item(req, $kind)),
                    METADEFS_SHOW,
                )
                .answers(&[200], &[404]),
                route(
                    put.clone(),
                    concat!("/v2/metadefs/namespaces/{namespace}/", $one),
                    concat!("Change ", $word, " of a namespace"),
                    |req| Box::pin(set(req, $kind)),
                    METADEFS_CHANGE,
                )
                .json(&[(ANY, $one_schema)])
                .answers(&[200], &[404, 409]),
            ]);
        };
    }
    kind!(Kind::Object, "an object", object_schema, object_schema, "objects", "objects/{name}");
    kind!(Kind::Property, "a property", property_schema, property_schema, "properties", "properties/{name}");
    kind!(Kind::Tag, "tags", tags_schema, tag_schema, "tags", "tags/{name}");
    kind!(
        Kind::ResourceType,
        "a resource type",
        association_schema,
        "resource_types",
        "resource_types/{name}"
    );
    macro_rules! schema {
        ($($path:literal = $of:expr),*) => {
            routes.extend([$(Route::new(
                Service::Image,
                Method::GET,
                concat!("/v2/schemas/metadefs/", $path),
                "A schema",
                |_| Box::pin(described($path, $of)),
            )
            .public()),*]);
        };
    }
    schema!(
        "namespace" = create_schema(),
        "namespaces" = listed("namespaces", create_schema()),
        "object" = object_schema(),
        "objects" = listed("objects", object_schema()),
        "property" = property_schema(),
        "properties" = listed("properties", property_schema()),
        "tag" = tag_schema(),
        "tags" = listed("tags", tag_schema()),
        "resource_type" = association_schema(),
        "resource_types" = listed("resource_type_associations", association_schema())
    );
    routes.push(
        route(
            post,
            "/v2/metadefs/namespaces/{namespace}/tags/{name}",
            "Add a tag to a namespace",
            handler!(add_tag),
            METADEFS_CHANGE,
        )
        .answers(&[201], &[404, 409, 413]),
    );
    routes
}

fn name() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 80, "pattern": r"^[^\x00-\x1F\x7F]*$"})
}

fn namespace_fields() -> Value {
    json!({
        "namespace": name(),
        "display_name": {"type": "string", "maxLength": 80, "pattern": r"^[^\x00-\x1F\x7F]*$"},
        "description": {"type": "string", "maxLength": 500, "pattern": r"^[^\x00-\x08\x0B\x0C\x0E-\x1F\x7F]*$"},
        "visibility": {"type": "string", "enum": ["public", "private"]},
        "protected": {"type": "boolean"},
        "owner": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\x00-\x1F\x7F]*$"},
        "schema": text(255),
        "self": text(TEXT),
        "created_at": text(64),
        "updated_at": text(64),
    })
}

fn namespace_schema() -> Value {
    object(namespace_fields(), &["namespace"])
}

fn create_schema() -> Value {
    let mut fields = namespace_fields();
    fields["objects"] = json!({"type": "array", "maxItems": metadefs::MAX_ITEMS, "items": object_schema()});
    fields["properties"] = properties(metadefs::MAX_ITEMS);
    fields["tags"] = json!({"type": "array", "maxItems": metadefs::MAX_ITEMS, "items": tag_schema()});
    fields["resource_type_associations"] =
        json!({"type": "array", "maxItems": metadefs::MAX_ITEMS, "items": association_schema()});
    object(fields, &["namespace"])
}

/// What a property may say of the values it takes, without its name.
fn property_fields() -> Value {
    let texts = json!({"type": "array", "maxItems": 100, "items": text(255)});
    let amount = json!({"type": "integer", "minimum": 0, "maximum": i32::MAX});
    json!({
        "title": text(TEXT),
        "description": text(TEXT),
        "type": {"type": "string", "enum": ["array", "boolean", "integer", "number", "object", "string", null]},
        "operators": texts,
        "required": texts,
        "readonly": {"type": "boolean"},
        "minimum": {"type": "number"},
        "maximum": {"type": "number"},
        "minLength": amount,
        "maxLength": amount,
        "pattern": text(TEXT),
        "enum": {"type": "array", "maxItems": 1_000},
        "default": {},
        "items": {"type": "object", "maxProperties": 16},
        "uniqueItems": {"type": "boolean"},
        "minItems": amount,
        "maxItems": amount,
        "additionalItems": {"type": "boolean"},
    })
}

fn properties(most: usize) -> Value {
    let one = object(property_fields(), &["title", "type"]);
    json!({"type": "object", "maxProperties": most, "propertyNames": name(), "additionalProperties": one})
}

/// What is shown beside the fields, and may be sent back.
fn shown(mut fields: Value) -> Value {
    fields["name"] = name();
    for extra in ["schema", "self", "created_at", "updated_at"] {
        fields[extra] = text(TEXT);
    }
    fields
}

fn object_schema() -> Value {
    let fields = json!({
        "description": text(TEXT),
        "required": {"type": "array", "maxItems": 100, "items": text(255)},
        "properties": properties(100),
    });
    object(shown(fields), &["name"])
}

fn property_schema() -> Value {
    object(shown(property_fields()), &["name", "title", "type"])
}

fn tag_schema() -> Value {
    object(shown(json!({})), &["name"])
}

fn tags_schema() -> Value {
    object(
        json!({"tags": {"type": "array", "maxItems": metadefs::MAX_ITEMS, "items": tag_schema()}}),
        &["tags"],
    )
}

fn association_schema() -> Value {
    object(shown(json!({"prefix": text(80), "properties_target": text(80)})), &["name"])
}

fn listed(word: &str, one: Value) -> Value {
    let many = match word {
        "properties" => json!({"type": "object", "additionalProperties": one}),
        _ => json!({"type": "array", "items": one}),
    };
    object(json!({word: many, "first": text(TEXT), "next": text(TEXT), "schema": text(TEXT)}), &[])
}

async fn described(path: &'static str, mut schema: Value) -> Result<Reply> {
    // glance names these two after what they describe.
    schema["name"] = match path {
        "resource_type" => "resource_type_association".into(),
        "resource_types" => "resource_type_associations".into(),
        name => name.into(),
    };
    Reply::json(200, &schema)
}

fn fields(body: &Value) -> Fields {
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    Fields {
        owner: text("owner").map(ProjectId),
        public: body["visibility"].as_str().map(|visibility| visibility == "public"),
        protected: body["protected"].as_bool(),
        display_name: text("display_name"),
        description: text("description"),
    }
}

/// Name and the rest, without what only views have.
fn parts(value: &Value) -> (String, Value) {
    let mut body = value.as_object().cloned().unwrap_or_default();
    for extra in ["schema", "self", "created_at", "updated_at"] {
        body.remove(extra);
    }
    let name = body.remove("name").and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    (name, Value::Object(body))
}

fn own(namespace: &str) -> String {
    format!("/v2/metadefs/namespaces/{}", links::escape(namespace))
}

fn namespace_view(namespace: &Namespace) -> Value {
    let mut view = json!({
        "namespace": namespace.name,
        "visibility": if namespace.public { "public" } else { "private" },
        "protected": namespace.protected,
        "owner": namespace.project_id.as_str(),
        "created_at": namespace.created_at.seconds_z(),
        "updated_at": namespace.updated_at.seconds_z(),
        "self": own(&namespace.name),
        "schema": "/v2/schemas/metadefs/namespace",
    });
    for (name, value) in [("display_name", &namespace.display_name), ("description", &namespace.description)]
    {
        if let Some(text) = value {
            view[name] = text.as_str().into();
        }
    }
    view
}

/// The namespace with everything in it; kinds that it has nothing of are left out.
fn whole_view(whole: &Whole) -> Value {
    let mut view = namespace_view(&whole.namespace);
    for kind in Kind::ALL {
        let items: Vec<&Item> = whole.items.iter().filter(|item| item.kind == *kind).collect();
        if !items.is_empty() {
            view[plural(*kind)] = collection(&whole.namespace.name, &items);
        }
    }
    view
}

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Object => "objects",
        Kind::Property => "properties",
        Kind::Tag => "tags",
        Kind::ResourceType => "resource_type_associations",
    }
}

/// Properties stand under their names; everything else is listed.
fn collection(namespace: &str, items: &[&Item]) -> Value {
    match items.first().map(|item| item.kind) {
        Some(Kind::Property) => {
            let named: Map<String, Value> =
                items.iter().map(|item| (item.name.clone(), item.body.clone())).collect();
            Value::Object(named)
        }
        _ => items.iter().map(|item| item_view(namespace, item)).collect(),
    }
}

fn item_view(namespace: &str, item: &Item) -> Value {
    let mut view = item.body.clone();
    view["name"] = item.name.as_str().into();
    if item.kind == Kind::Property {
        return view;
    }
    view["created_at"] = item.created_at.seconds_z().into();
    view["updated_at"] = item.updated_at.seconds_z().into();
    if item.kind == Kind::Object {
        view["self"] = format!("{}/objects/{}", own(namespace), links::escape(&item.name)).into();
        view["schema"] = "/v2/schemas/metadefs/object".into();
    }
    view
}

async fn list(req: Req) -> Result<Reply> {
    let (namespaces, more) = metadefs::namespaces(&req.app, req.ctx()?, req.query.page()?).await?;
    let link = |query: String| if query.is_empty() { ALL.to_owned() } else { format!("{ALL}?{query}") };
    let mut body = json!({
        "namespaces": namespaces.iter().map(namespace_view).collect::<Vec<_>>(),
        "first": link(links::first_query(&req.query)),
        "schema": "/v2/schemas/metadefs/namespaces",
    });
    if let (true, Some(last)) = (more, namespaces.last()) {
        body["next"] = link(links::next_query(&req.query, &last.name)).into();
    }
    Reply::json(200, &body)
}

async fn create(req: Req) -> Result<Reply> {
    let body = &req.json;
    let mut items = Vec::new();
    for (kind, list) in
        [(Kind::Object, "objects"), (Kind::Tag, "tags"), (Kind::ResourceType, "resource_type_associations")]
    {
        for value in body[list].as_array().into_iter().flatten() {
            let (name, rest) = parts(value);
            items.push((kind, name, rest));
        }
    }
    for (name, value) in body["properties"].as_object().into_iter().flatten() {
        items.push((Kind::Property, name.clone(), value.clone()));
    }
    let name = body["namespace"].as_str().unwrap_or_default().to_owned();
    let made = metadefs::create(&req.app, req.ctx()?, name, fields(body), items).await?;
    let location = format!("{}/image{}", req.base, own(&made.namespace.name));
    Ok(Reply::json(201, &whole_view(&made))?.header("location", &location))
}

async fn show(req: Req) -> Result<Reply> {
    let whole = metadefs::namespace(&req.app, req.ctx()?, req.param("namespace")).await?;
    Reply::json(200, &whole_view(&whole))
}

async fn update(req: Req) -> Result<Reply> {
    let name = req.param("namespace");
    if req.json["namespace"].as_str() != Some(name) {
        return Err(Error::bad_request("metadef.rename", "A namespace keeps its name: make another one."));
    }
    let changed = metadefs::update(&req.app, req.ctx()?, name, fields(&req.json)).await?;
    Reply::json(200, &namespace_view(&changed))
}

async fn remove(req: Req) -> Result<Reply> {
    metadefs::delete(&req.app, req.ctx()?, req.param("namespace")).await?;
    Ok(Reply::empty(204))
}

async fn types(req: Req) -> Result<Reply> {
    let types = metadefs::resource_types(&req.app, req.ctx()?).await?;
    let types: Vec<Value> =
        types.iter().map(|(name, since)| json!({"name": name, "created_at": since.seconds_z()})).collect();
    Reply::json(200, &json!({ "resource_types": types }))
}

async fn items(req: Req, kind: Kind) -> Result<Reply> {
    let namespace = req.param("namespace");
    let items = metadefs::items(&req.app, req.ctx()?, namespace, kind).await?;
    let listed: Vec<&Item> = items.iter().collect();
    let empty = if kind == Kind::Property { json!({}) } else { json!([]) };
    let listed = if listed.is_empty() { empty } else { collection(namespace, &listed) };
    let mut body = Map::new();
    body.insert(plural(kind).to_owned(), listed);
    if kind != Kind::ResourceType {
        let word = plural(kind);
        body.insert("schema".into(), format!("/v2/schemas/metadefs/{word}").into());
        body.insert("first".into(), format!("{}/{word}", own(namespace)).into());
    }
    Reply::json(200, &body)
}

async fn add(req: Req, kind: Kind) -> Result<Reply> {
    let namespace = req.param("namespace");
    let (given, replace) = match kind {
        // As many as are sent take the place of all, unless they are to be appended.
        Kind::Tag => {
            let append = req.header("x-openstack-append").and_then(crate::request::parse_bool) == Some(true);
            (req.json["tags"].as_array().into_iter().flatten().map(parts).collect(), !append)
        }
        _ => (vec![parts(&req.json)], false),
    };
    let made = metadefs::add_items(&req.app, req.ctx()?, namespace, kind, given, replace).await?;
    match (kind, made.first()) {
        (Kind::Tag, _) => {
            let tags: Vec<Value> = made.iter().map(|tag| json!({"name": tag.name})).collect();
            Reply::json(
                201,
                &json!({"tags": tags, "schema": "/v2/schemas/metadefs/tags",
                "first": format!("{}/tags", own(namespace))}),
            )
        }
        (_, Some(item)) => Reply::json(201, &item_view(namespace, item)),
        (_, None) => Ok(Reply::empty(201)),
    }
}

async fn add_tag(req: Req) -> Result<Reply> {
    let (namespace, tag) = (req.param("namespace"), req.param("name").to_owned());
    if tag.chars().count() > 80 || tag.chars().any(char::is_control) {
        return Err(Error::bad_request(
            "metadef.tag",
            "A tag has 1 to 80 characters, no control characters.",
        ));
    }
    let given = vec![(tag, json!({}))];
    let made = metadefs::add_items(&req.app, req.ctx()?, namespace, Kind::Tag, given, false).await?;
    Reply::json(201, &made.first().map(|tag| item_view(namespace, tag)))
}

async fn item(req: Req, kind: Kind) -> Result<Reply> {
    let namespace = req.param("namespace");
    let item = metadefs::item(&req.app, req.ctx()?, namespace, kind, req.param("name")).await?;
    Reply::json(200, &item_view(namespace, &item))
}

async fn set(req: Req, kind: Kind) -> Result<Reply> {
    let (namespace, (to, body)) = (req.param("namespace"), parts(&req.json));
    let item = metadefs::set_item(&req.app, req.ctx()?, namespace, kind, req.param("name"), to, body).await?;
    Reply::json(200, &item_view(namespace, &item))
}

async fn remove_one(req: Req, kind: Kind) -> Result<Reply> {
    let name = Some(req.param("name").to_owned());
    metadefs::delete_items(&req.app, req.ctx()?, req.param("namespace"), kind, name).await?;
    Ok(Reply::empty(204))
}

async fn remove_all(req: Req, kind: Kind) -> Result<Reply> {
    metadefs::delete_items(&req.app, req.ctx()?, req.param("namespace"), kind, None).await?;
    Ok(Reply::empty(204))
}
