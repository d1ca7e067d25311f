/* What should exist on a host: here, a bridge per network and a filter per guest, and no services. */

#include "backend.h"
#include "canopy.h"

static const char *const NEEDED[] = {"bridge@1", "antispoof@1"};

bool exports_canopy_network_planning_init(backend_string_t *config, backend_list_string_t *kinds,
                                          backend_string_t *err) {
  (void)config;
  for (size_t i = 0; i < sizeof NEEDED / sizeof *NEEDED; i++) {
    size_t at = 0;
    while (at < kinds->len && !canopy_is(CANOPY_STR(kinds->ptr[at]), NEEDED[i])) at++;
    if (at == kinds->len) {
      CANOPY_GIVE(err, CANOPY_LIT("this core cannot apply bridge@1 and antispoof@1"));
      return false;
    }
  }
  return true;
}

/* `cnb<segment>`, which the kernel takes up to 15 characters. */
static bool bridge_name(const canopy_json *network, canopy_str *out) {
  canopy_text name = {0};
  int64_t segment;
  if (!canopy_int(canopy_member(network, "segment"), &segment) || segment < 0) return false;
  canopy_put(&name, CANOPY_LIT("cnb"));
  canopy_put_int(&name, segment);
  *out = canopy_done(&name);
  return name.len <= 15;
}

static bool bridge(const canopy_json *network, exports_canopy_network_planning_item_t *item) {
  canopy_str id, name;
  int64_t mtu;
  if (!canopy_string(canopy_member(network, "id"), &id) || !bridge_name(network, &name) ||
      !canopy_int(canopy_member(network, "mtu"), &mtu))
    return false;
  canopy_text body = {0};
  canopy_put(&body, CANOPY_LIT("{\"mtu\":"));
  canopy_put_int(&body, mtu);
  canopy_put(&body, CANOPY_LIT(",\"name\":"));
  canopy_put_json(&body, name);
  canopy_put(&body, CANOPY_LIT("}"));
  CANOPY_GIVE(&item->kind, CANOPY_LIT("bridge@1"));
  CANOPY_GIVE(&item->key, id);
  CANOPY_GIVE(&item->body, canopy_done(&body));
  return true;
}

/* `cnt` and the first 11 hex digits of the port's id: the core names the guest's device so. */
static canopy_str tap_name(canopy_str id) {
  canopy_text name = {0};
  canopy_put(&name, CANOPY_LIT("cnt"));
  for (size_t i = 0; i < id.len && name.len < 14; i++) {
    if (id.at[i] != '-') canopy_put(&name, (canopy_str){id.at + i, 1});
  }
  return canopy_done(&name);
}

static canopy_str lower(canopy_str text) {
  char *to = canopy_take(text.len, 1);
  for (size_t i = 0; i < text.len; i++) {
    to[i] = (char)(text.at[i] >= 'A' && text.at[i] <= 'Z' ? text.at[i] + 32 : text.at[i]);
  }
  return (canopy_str){to, text.len};
}

static bool filter(const canopy_json *port, exports_canopy_network_planning_item_t *item) {
  canopy_str id, mac, ip;
  if (!canopy_string(canopy_member(port, "id"), &id) || !canopy_string(canopy_member(port, "mac"), &mac)) return false;
  const canopy_json *ips = canopy_member(port, "fixed_ips");
  canopy_text body = {0};
  canopy_put(&body, CANOPY_LIT("{\"ips\":["));
  for (const canopy_json *one = ips ? ips->first : NULL; one; one = one->next) {
    if (!canopy_string(canopy_member(one, "ip_address"), &ip)) return false;
    if (one != ips->first) canopy_put(&body, CANOPY_LIT(","));
    canopy_put_json(&body, ip);
  }
  canopy_put(&body, CANOPY_LIT("],\"mac\":"));
  canopy_put_json(&body, lower(mac));
  canopy_put(&body, CANOPY_LIT(",\"tap\":"));
  canopy_put_json(&body, tap_name(id));
  canopy_put(&body, CANOPY_LIT("}"));
  CANOPY_GIVE(&item->kind, CANOPY_LIT("antispoof@1"));
  CANOPY_GIVE(&item->key, id);
  CANOPY_GIVE(&item->body, canopy_done(&body));
  return true;
}

/* Whether a port is a guest's that may send from its own addresses only. */
static bool guarded(const canopy_json *port) {
  const canopy_json *server = canopy_member(port, "server_id");
  bool security;
  return server && server->type == CANOPY_STRING && canopy_bool(canopy_member(port, "port_security"), &security) &&
         security;
}

static const canopy_json *networks_of(const canopy_json *view) {
  const canopy_json *networks = canopy_member(view, "networks");
  int64_t version;
  if (!canopy_int(canopy_member(view, "v"), &version) || version != 1) return NULL;
  return networks && networks->type == CANOPY_ARRAY ? networks : NULL;
}

static const canopy_json *ports_of(const canopy_json *network) {
  const canopy_json *ports = canopy_member(network, "ports");
  return ports ? ports->first : NULL;
}

/* The error is shown to the client. */
bool exports_canopy_network_planning_validate(backend_string_t *view, backend_string_t *err) {
  const canopy_json *networks = networks_of(canopy_parse(CANOPY_STR(*view)));
  if (!networks) {
    CANOPY_GIVE(err, CANOPY_LIT("view: it is none of version 1"));
    return false;
  }
  for (const canopy_json *network = networks->first; network; network = network->next) {
    canopy_str name;
    if (!bridge_name(network, &name)) {
      CANOPY_GIVE(err, CANOPY_LIT("a segment is out of range"));
      return false;
    }
  }
  return true;
}

/* The whole set: what is not in it is removed. */
bool exports_canopy_network_planning_plan_host(backend_string_t *view,
                                               exports_canopy_network_planning_list_item_t *ret,
                                               backend_string_t *err) {
  const canopy_json *networks = networks_of(canopy_parse(CANOPY_STR(*view)));
  bool good = networks != NULL;
  size_t most = 0;
  for (const canopy_json *network = good ? networks->first : NULL; network; network = network->next) {
    most++;
    for (const canopy_json *port = ports_of(network); port; port = port->next) most += guarded(port);
  }
  ret->len = 0;
  ret->ptr = canopy_take(most, sizeof *ret->ptr);
  for (const canopy_json *network = good ? networks->first : NULL; network; network = network->next) {
    good = good && bridge(network, &ret->ptr[ret->len++]);
    for (const canopy_json *port = ports_of(network); port; port = port->next) {
      if (guarded(port)) good = good && filter(port, &ret->ptr[ret->len++]);
    }
  }
  if (!good) CANOPY_GIVE(err, CANOPY_LIT("view: a field is missing or out of range"));
  return good;
}
