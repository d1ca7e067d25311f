//! Every action there is. A test holds this list against `policies/schema.cedarschema` and the route table.

use crate::Action;

macro_rules! actions {
    ($($name:ident = $text:literal on $resource:literal;)*) => {
        $(pub const $name: Action = Action { name: $text, resource: $resource };)*
        pub const ALL: &[Action] = &[$($name),*];
    };
}

pub mod identity {
    use super::Action;

    actions! {
        TOKENS_VALIDATE = "identity:tokens:validate" on "Token";
        TOKENS_REVOKE = "identity:tokens:revoke" on "Token";
        DOMAINS_LIST = "identity:domains:list" on "Domain";
        DOMAINS_SHOW = "identity:domains:show" on "Domain";
        DOMAINS_CREATE = "identity:domains:create" on "Domain";
        DOMAINS_UPDATE = "identity:domains:update" on "Domain";
        DOMAINS_DELETE = "identity:domains:delete" on "Domain";
        PROJECTS_LIST = "identity:projects:list" on "Project";
        PROJECTS_SHOW = "identity:projects:show" on "Project";
        PROJECTS_CREATE = "identity:projects:create" on "Project";
        PROJECTS_UPDATE = "identity:projects:update" on "Project";
        PROJECTS_DELETE = "identity:projects:delete" on "Project";
        USERS_LIST = "identity:users:list" on "Account";
        USERS_SHOW = "identity:users:show" on "Account";
        USERS_CREATE = "identity:users:create" on "Account";
        USERS_UPDATE = "identity:users:update" on "Account";
        USERS_DELETE = "identity:users:delete" on "Account";
        USERS_CHANGE_PASSWORD = "identity:users:change_password" on "Account";
        USERS_LIST_PROJECTS = "identity:users:list_projects" on "Account";
        ROLES_LIST = "identity:roles:list" on "Role";
        ROLES_SHOW = "identity:roles:show" on "Role";
        ROLES_CREATE = "identity:roles:create" on "Role";
        ROLES_UPDATE = "identity:roles:update" on "Role";
        ROLES_DELETE = "identity:roles:delete" on "Role";
        SERVICES_LIST = "identity:services:list" on "Cloud";
        SERVICES_SHOW = "identity:services:show" on "Cloud";
        ENDPOINTS_LIST = "identity:endpoints:list" on "Cloud";
        ENDPOINTS_SHOW = "identity:endpoints:show" on "Cloud";
        GRANTS_LIST = "identity:grants:list" on "Project";
        GRANTS_ADD = "identity:grants:add" on "Project";
        GRANTS_REMOVE = "identity:grants:remove" on "Project";
        ROLE_ASSIGNMENTS_LIST = "identity:role_assignments:list" on "Project";
        ROLE_ASSIGNMENTS_LIST_TREE = "identity:role_assignments:list_tree" on "Project";
        GROUPS_LIST = "identity:groups:list" on "Group";
        GROUPS_SHOW = "identity:groups:show" on "Group";
        GROUPS_CREATE = "identity:groups:create" on "Group";
        GROUPS_UPDATE = "identity:groups:update" on "Group";
        GROUPS_DELETE = "identity:groups:delete" on "Group";
        GROUPS_LIST_MEMBERS = "identity:groups:list_members" on "Group";
        GROUPS_CHECK_MEMBER = "identity:groups:check_member" on "Group";
        GROUPS_ADD_MEMBER = "identity:groups:add_member" on "Group";
        GROUPS_REMOVE_MEMBER = "identity:groups:remove_member" on "Group";
        USERS_LIST_GROUPS = "identity:users:list_groups" on "Account";
        IMPLIED_ROLES_LIST = "identity:implied_roles:list" on "Role";
        IMPLIED_ROLES_SHOW = "identity:implied_roles:show" on "Role";
        IMPLIED_ROLES_CREATE = "identity:implied_roles:create" on "Role";
        IMPLIED_ROLES_DELETE = "identity:implied_roles:delete" on "Role";
        APPLICATION_CREDENTIALS_LIST = "identity:application_credentials:list" on "Account";
        APPLICATION_CREDENTIALS_SHOW = "identity:application_credentials:show" on "Account";
        APPLICATION_CREDENTIALS_CREATE = "identity:application_credentials:create" on "Account";
        APPLICATION_CREDENTIALS_DELETE = "identity:application_credentials:delete" on "Account";
        ACCESS_RULES_LIST = "identity:access_rules:list" on "Account";
        ACCESS_RULES_SHOW = "identity:access_rules:show" on "Account";
        ACCESS_RULES_DELETE = "identity:access_rules:delete" on "Account";
        SERVICES_CREATE = "identity:services:create" on "Cloud";
        SERVICES_UPDATE = "identity:services:update" on "Cloud";
        SERVICES_DELETE = "identity:services:delete" on "Cloud";
        ENDPOINTS_CREATE = "identity:endpoints:create" on "Cloud";
        ENDPOINTS_UPDATE = "identity:endpoints:update" on "Cloud";
        ENDPOINTS_DELETE = "identity:endpoints:delete" on "Cloud";
        REGIONS_CREATE = "identity:regions:create" on "Cloud";
        REGIONS_UPDATE = "identity:regions:update" on "Cloud";
        REGIONS_DELETE = "identity:regions:delete" on "Cloud";
        PROJECT_ENDPOINTS_LIST = "identity:project_endpoints:list" on "Cloud";
        PROJECT_ENDPOINTS_SHOW = "identity:project_endpoints:show" on "Cloud";
        PROJECT_ENDPOINTS_ADD = "identity:project_endpoints:add" on "Cloud";
        PROJECT_ENDPOINTS_REMOVE = "identity:project_endpoints:remove" on "Cloud";
        ENDPOINT_GROUPS_LIST = "identity:endpoint_groups:list" on "Cloud";
        ENDPOINT_GROUPS_SHOW = "identity:endpoint_groups:show" on "Cloud";
        ENDPOINT_GROUPS_CREATE = "identity:endpoint_groups:create" on "Cloud";
        ENDPOINT_GROUPS_UPDATE = "identity:endpoint_groups:update" on "Cloud";
        ENDPOINT_GROUPS_DELETE = "identity:endpoint_groups:delete" on "Cloud";
        ENDPOINT_GROUPS_ADD_PROJECT = "identity:endpoint_groups:add_project" on "Cloud";
        ENDPOINT_GROUPS_REMOVE_PROJECT = "identity:endpoint_groups:remove_project" on "Cloud";
        CREDENTIALS_LIST = "identity:credentials:list" on "Credential";
        CREDENTIALS_SHOW = "identity:credentials:show" on "Credential";
        CREDENTIALS_CREATE = "identity:credentials:create" on "Credential";
        CREDENTIALS_UPDATE = "identity:credentials:update" on "Credential";
        CREDENTIALS_DELETE = "identity:credentials:delete" on "Credential";
        TRUSTS_LIST = "identity:trusts:list" on "Trust";
        TRUSTS_SHOW = "identity:trusts:show" on "Trust";
        TRUSTS_CREATE = "identity:trusts:create" on "Trust";
        TRUSTS_DELETE = "identity:trusts:delete" on "Trust";
        TRUSTS_LIST_ROLES = "identity:trusts:list_roles" on "Trust";
        TRUSTS_SHOW_ROLE = "identity:trusts:show_role" on "Trust";
        REGISTERED_LIMITS_LIST = "identity:registered_limits:list" on "Cloud";
        REGISTERED_LIMITS_SHOW = "identity:registered_limits:show" on "Cloud";
        REGISTERED_LIMITS_CREATE = "identity:registered_limits:create" on "Cloud";
        REGISTERED_LIMITS_UPDATE = "identity:registered_limits:update" on "Cloud";
        REGISTERED_LIMITS_DELETE = "identity:registered_limits:delete" on "Cloud";
        LIMITS_LIST = "identity:limits:list" on "Project";
        LIMITS_SHOW = "identity:limits:show" on "Project";
        LIMITS_CREATE = "identity:limits:create" on "Project";
        LIMITS_UPDATE = "identity:limits:update" on "Project";
        LIMITS_DELETE = "identity:limits:delete" on "Project";
        LIMITS_MODEL = "identity:limits:model" on "Project";
    }
}

pub mod compute {
    use super::Action;

    actions! {
        SERVERS_CREATE = "compute:servers:create" on "Server";
        SERVERS_CREATE_ON_HOST = "compute:servers:create_on_host" on "Server";
        SERVERS_LIST = "compute:servers:list" on "Server";
        SERVERS_LIST_ALL = "compute:servers:list_all" on "Server";
        SERVERS_SHOW = "compute:servers:show" on "Server";
        SERVERS_SHOW_HOST = "compute:servers:show_host" on "Server";
        SERVERS_SHOW_EXTENDED = "compute:servers:show_extended" on "Server";
        SERVERS_SHOW_HOST_STATUS = "compute:servers:show_host_status" on "Server";
        SERVERS_DELETE = "compute:servers:delete" on "Server";
        SERVERS_START = "compute:servers:start" on "Server";
        SERVERS_STOP = "compute:servers:stop" on "Server";
        SERVERS_UPDATE = "compute:servers:update" on "Server";
        SERVERS_UPDATE_METADATA = "compute:servers:update_metadata" on "Server";
        SERVERS_UPDATE_TAGS = "compute:servers:update_tags" on "Server";
        SERVERS_LIST_ACTIONS = "compute:servers:list_actions" on "Server";
        SERVERS_SHOW_EVENTS = "compute:servers:show_events" on "Server";
        SERVERS_FORCE_DELETE = "compute:servers:force_delete" on "Server";
        SERVERS_RESET_STATE = "compute:servers:reset_state" on "Server";
        SERVERS_INJECT_NETWORK_INFO = "compute:servers:inject_network_info" on "Server";
        SERVERS_PAUSE = "compute:servers:pause" on "Server";
        SERVERS_UNPAUSE = "compute:servers:unpause" on "Server";
        SERVERS_SUSPEND = "compute:servers:suspend" on "Server";
        SERVERS_RESUME = "compute:servers:resume" on "Server";
        SERVERS_REBOOT = "compute:servers:reboot" on "Server";
        SERVERS_LOCK = "compute:servers:lock" on "Server";
        SERVERS_UNLOCK = "compute:servers:unlock" on "Server";
        SERVERS_LOCK_OVERRIDE = "compute:servers:lock_override" on "Server";
        SERVERS_REBUILD = "compute:servers:rebuild" on "Server";
        SERVERS_RESIZE = "compute:servers:resize" on "Server";
        SERVERS_CONFIRM_RESIZE = "compute:servers:confirm_resize" on "Server";
        SERVERS_REVERT_RESIZE = "compute:servers:revert_resize" on "Server";
        SERVERS_RESCUE = "compute:servers:rescue" on "Server";
        SERVERS_UNRESCUE = "compute:servers:unrescue" on "Server";
        SERVERS_SHELVE = "compute:servers:shelve" on "Server";
        SERVERS_UNSHELVE = "compute:servers:unshelve" on "Server";
        SERVERS_RESTORE = "compute:servers:restore" on "Server";
        SERVERS_CREATE_IMAGE = "compute:servers:create_image" on "Server";
        SERVERS_CREATE_BACKUP = "compute:servers:create_backup" on "Server";
        SERVERS_CONSOLE_OUTPUT = "compute:servers:console_output" on "Server";
        SERVERS_REMOTE_CONSOLE = "compute:servers:remote_console" on "Server";
        SERVERS_CHANGE_PASSWORD = "compute:servers:change_password" on "Server";
        SERVERS_LIST_SECURITY_GROUPS = "compute:servers:list_security_groups" on "Server";
        SERVERS_ADD_SECURITY_GROUP = "compute:servers:add_security_group" on "Server";
        SERVERS_REMOVE_SECURITY_GROUP = "compute:servers:remove_security_group" on "Server";
        SERVERS_LIST_INTERFACES = "compute:servers:list_interfaces" on "Server";
        SERVERS_SHOW_INTERFACE = "compute:servers:show_interface" on "Server";
        SERVERS_ATTACH_INTERFACE = "compute:servers:attach_interface" on "Server";
        SERVERS_DETACH_INTERFACE = "compute:servers:detach_interface" on "Server";
        SERVERS_DIAGNOSTICS = "compute:servers:diagnostics" on "Server";
        SERVERS_TOPOLOGY = "compute:servers:topology" on "Server";
        FLAVORS_LIST = "compute:flavors:list" on "Flavor";
        FLAVORS_SHOW = "compute:flavors:show" on "Flavor";
        FLAVORS_CREATE = "compute:flavors:create" on "Flavor";
        FLAVORS_UPDATE = "compute:flavors:update" on "Flavor";
        FLAVORS_DELETE = "compute:flavors:delete" on "Flavor";
        FLAVORS_LIST_GIVEN = "compute:flavors:list_access" on "Flavor";
        FLAVORS_GIVE = "compute:flavors:add_access" on "Flavor";
        FLAVORS_TAKE_AWAY = "compute:flavors:remove_access" on "Flavor";
        KEYPAIRS_LIST = "compute:keypairs:list" on "Keypair";
        KEYPAIRS_SHOW = "compute:keypairs:show" on "Keypair";
        KEYPAIRS_CREATE = "compute:keypairs:create" on "Keypair";
        KEYPAIRS_DELETE = "compute:keypairs:delete" on "Keypair";
        ZONES_LIST = "compute:zones:list" on "Zone";
        ZONES_LIST_DETAIL = "compute:zones:list_detail" on "Zone";
        LIMITS_SHOW = "compute:limits:show" on "Project";
        USAGE_LIST = "compute:usage:list" on "Project";
        USAGE_SHOW = "compute:usage:show" on "Project";
        QUOTA_SETS_SHOW = "compute:quota_sets:show" on "Project";
        QUOTA_SETS_DEFAULTS = "compute:quota_sets:defaults" on "Project";
        QUOTA_SETS_UPDATE = "compute:quota_sets:update" on "Project";
        QUOTA_SETS_DELETE = "compute:quota_sets:delete" on "Project";
        QUOTA_CLASS_SETS_SHOW = "compute:quota_class_sets:show" on "Project";
        QUOTA_CLASS_SETS_UPDATE = "compute:quota_class_sets:update" on "Project";
        SERVER_GROUPS_CREATE = "compute:server_groups:create" on "ServerGroup";
        SERVER_GROUPS_LIST = "compute:server_groups:list" on "ServerGroup";
        SERVER_GROUPS_LIST_ALL = "compute:server_groups:list_all" on "ServerGroup";
        SERVER_GROUPS_SHOW = "compute:server_groups:show" on "ServerGroup";
        SERVER_GROUPS_DELETE = "compute:server_groups:delete" on "ServerGroup";
        AGGREGATES_CREATE = "compute:aggregates:create" on "Aggregate";
        AGGREGATES_LIST = "compute:aggregates:list" on "Aggregate";
        AGGREGATES_SHOW = "compute:aggregates:show" on "Aggregate";
        AGGREGATES_UPDATE = "compute:aggregates:update" on "Aggregate";
        AGGREGATES_DELETE = "compute:aggregates:delete" on "Aggregate";
        AGGREGATES_ADD_HOST = "compute:aggregates:add_host" on "Aggregate";
        AGGREGATES_REMOVE_HOST = "compute:aggregates:remove_host" on "Aggregate";
        SERVICES_LIST = "compute:services:list" on "Host";
        SERVICES_UPDATE = "compute:services:update" on "Host";
        CONSOLE_AUTH_TOKENS_SHOW = "compute:console_auth_tokens:show" on "Host";
        HYPERVISORS_LIST = "compute:hypervisors:list" on "Host";
        HYPERVISORS_SHOW = "compute:hypervisors:show" on "Host";
    }
}

pub mod image {
    use super::Action;

    actions! {
        IMAGES_CREATE = "image:images:create" on "Image";
        IMAGES_LIST = "image:images:list" on "Image";
        IMAGES_SHOW = "image:images:show" on "Image";
        IMAGES_UPDATE = "image:images:update" on "Image";
        IMAGES_DELETE = "image:images:delete" on "Image";
        IMAGES_UPLOAD = "image:images:upload" on "Image";
        IMAGES_DOWNLOAD = "image:images:download" on "Image";
        IMAGES_COMMUNITIZE = "image:images:communitize" on "Image";
        IMAGES_PUBLICIZE = "image:images:publicize" on "Image";
        USAGE_SHOW = "image:usage:show" on "Project";
        IMAGES_DEACTIVATE = "image:images:deactivate" on "Image";
        IMAGES_REACTIVATE = "image:images:reactivate" on "Image";
        IMAGES_DOWNLOAD_DEACTIVATED = "image:images:download_deactivated" on "Image";
        IMAGES_SHOW_TASKS = "image:images:show_tasks" on "Image";
        TASKS_LIST = "image:tasks:list" on "Image";
        TASKS_SHOW = "image:tasks:show" on "Image";
        MEMBERS_LIST = "image:members:list" on "Image";
        MEMBERS_SHOW = "image:members:show" on "Image";
        MEMBERS_CREATE = "image:members:create" on "Image";
        MEMBERS_UPDATE = "image:members:update" on "Image";
        MEMBERS_DELETE = "image:members:delete" on "Image";
        METADEFS_SHOW = "image:metadefs:show" on "MetadefNamespace";
        METADEFS_CHANGE = "image:metadefs:change" on "MetadefNamespace";
    }
}

pub mod network {
    use super::Action;

    actions! {
        NETWORKS_CREATE = "network:networks:create" on "Network";
        NETWORKS_LIST = "network:networks:list" on "Network";
        NETWORKS_SHOW = "network:networks:show" on "Network";
        NETWORKS_UPDATE = "network:networks:update" on "Network";
        NETWORKS_DELETE = "network:networks:delete" on "Network";
        SUBNETS_CREATE = "network:subnets:create" on "Subnet";
        SUBNETS_LIST = "network:subnets:list" on "Subnet";
        SUBNETS_SHOW = "network:subnets:show" on "Subnet";
        SUBNETS_UPDATE = "network:subnets:update" on "Subnet";
        SUBNETS_DELETE = "network:subnets:delete" on "Subnet";
        PORTS_CREATE = "network:ports:create" on "Port";
        PORTS_LIST = "network:ports:list" on "Port";
        PORTS_SHOW = "network:ports:show" on "Port";
        PORTS_UPDATE = "network:ports:update" on "Port";
        PORTS_DELETE = "network:ports:delete" on "Port";
        NETWORKS_SHARE = "network:networks:share" on "Network";
        NETWORKS_CREATE_PROVIDER = "network:networks:create_provider" on "Network";
        NETWORKS_SHOW_PROVIDER = "network:networks:show_provider" on "Network";
        PORTS_SHOW_BINDING = "network:ports:show_binding" on "Port";
        PORTS_CHOOSE_MAC = "network:ports:choose_mac_address" on "Network";
        PORTS_CHOOSE_IP = "network:ports:choose_ip_address" on "Network";
        PORTS_SET_SECURITY = "network:ports:set_port_security" on "Network";
        SECURITY_GROUPS_LIST = "network:security_groups:list" on "SecurityGroup";
        SECURITY_GROUPS_SHOW = "network:security_groups:show" on "SecurityGroup";
        SECURITY_GROUPS_DELETE = "network:security_groups:delete" on "SecurityGroup";
        SECURITY_GROUPS_DELETE_DEFAULT = "network:security_groups:delete_default" on "SecurityGroup";
        SECURITY_GROUP_RULES_LIST = "network:security_group_rules:list" on "SecurityGroup";
        SECURITY_GROUP_RULES_SHOW = "network:security_group_rules:show" on "SecurityGroup";
        QUOTAS_LIST = "network:quotas:list" on "Project";
        QUOTAS_SHOW = "network:quotas:show" on "Project";
        QUOTAS_DEFAULTS = "network:quotas:defaults" on "Project";
        QUOTAS_UPDATE = "network:quotas:update" on "Project";
        QUOTAS_DELETE = "network:quotas:delete" on "Project";
    }
}

pub mod placement {
    use super::Action;

    actions! {
        PROVIDERS_LIST = "placement:resource_providers:list" on "ResourceProvider";
        PROVIDERS_CREATE = "placement:resource_providers:create" on "ResourceProvider";
        PROVIDERS_SHOW = "placement:resource_providers:show" on "ResourceProvider";
        PROVIDERS_UPDATE = "placement:resource_providers:update" on "ResourceProvider";
        PROVIDERS_DELETE = "placement:resource_providers:delete" on "ResourceProvider";
        INVENTORIES_LIST = "placement:resource_providers:inventories:list" on "ResourceProvider";
        INVENTORIES_CREATE = "placement:resource_providers:inventories:create" on "ResourceProvider";
        INVENTORIES_SHOW = "placement:resource_providers:inventories:show" on "ResourceProvider";
        INVENTORIES_UPDATE = "placement:resource_providers:inventories:update" on "ResourceProvider";
        INVENTORIES_DELETE = "placement:resource_providers:inventories:delete" on "ResourceProvider";
        AGGREGATES_LIST = "placement:resource_providers:aggregates:list" on "ResourceProvider";
        AGGREGATES_UPDATE = "placement:resource_providers:aggregates:update" on "ResourceProvider";
        PROVIDER_TRAITS_LIST = "placement:resource_providers:traits:list" on "ResourceProvider";
        PROVIDER_TRAITS_UPDATE = "placement:resource_providers:traits:update" on "ResourceProvider";
        PROVIDER_TRAITS_DELETE = "placement:resource_providers:traits:delete" on "ResourceProvider";
        PROVIDER_USAGES = "placement:resource_providers:usages" on "ResourceProvider";
        PROVIDER_ALLOCATIONS = "placement:resource_providers:allocations:list" on "ResourceProvider";
        CLASSES_LIST = "placement:resource_classes:list" on "ResourceClass";
        CLASSES_CREATE = "placement:resource_classes:create" on "ResourceClass";
        CLASSES_SHOW = "placement:resource_classes:show" on "ResourceClass";
        CLASSES_UPDATE = "placement:resource_classes:update" on "ResourceClass";
        CLASSES_DELETE = "placement:resource_classes:delete" on "ResourceClass";
        TRAITS_LIST = "placement:traits:list" on "Trait";
        TRAITS_SHOW = "placement:traits:show" on "Trait";
        TRAITS_UPDATE = "placement:traits:update" on "Trait";
        TRAITS_DELETE = "placement:traits:delete" on "Trait";
        ALLOCATIONS_MANAGE = "placement:allocations:manage" on "Allocation";
        ALLOCATIONS_LIST = "placement:allocations:list" on "Allocation";
        ALLOCATIONS_UPDATE = "placement:allocations:update" on "Allocation";
        ALLOCATIONS_DELETE = "placement:allocations:delete" on "Allocation";
        CANDIDATES_LIST = "placement:allocation_candidates:list" on "Allocation";
        RESHAPE = "placement:reshaper:reshape" on "Allocation";
        USAGES = "placement:usages" on "Project";
    }
}

pub mod canopy {
    use super::Action;

    actions! {
        DECISIONS_SHOW = "canopy:decisions:show" on "Decision";
        DECISIONS_SHOW_HOSTS = "canopy:decisions:show_hosts" on "Decision";
        STATUS_SHOW = "canopy:status:show" on "Cloud";
        POLICIES_SHOW = "canopy:policies:show" on "Cloud";
        POLICIES_EXPLAIN = "canopy:policies:explain" on "Cloud";
        POLICIES_RELOAD = "canopy:policies:reload" on "Cloud";
        PLUGINS_SHOW = "canopy:plugins:show" on "Cloud";
        PLUGINS_INSTALL = "canopy:plugins:install" on "Cloud";
        PLUGINS_REMOVE = "canopy:plugins:remove" on "Cloud";
        PLUGINS_CONFIGURE = "canopy:plugins:configure" on "Cloud";
        PLUGINS_SHADOW = "canopy:plugins:shadow" on "Cloud";
        PLUGINS_ACTIVATE = "canopy:plugins:activate" on "Cloud";
        FSCK_SHOW = "canopy:fsck:show" on "Cloud";
        FSCK_REPAIR = "canopy:fsck:repair" on "Cloud";
        IMAGES_PREFETCH = "canopy:images:prefetch" on "Cloud";
    }
}

/// All actions of all services.
pub fn all() -> impl Iterator<Item = Action> {
    [identity::ALL, compute::ALL, image::ALL, network::ALL, placement::ALL, canopy::ALL]
        .into_iter()
        .flatten()
        .copied()
}
