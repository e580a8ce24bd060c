//! What is refused, where, and in which words.

use super::{Folder, example_with, file_line};

/// Edit, edit, path of the only fault, part of its message or remedy.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    // Kinds of values.
    ("client_id", "client_id = 5", "clients.portal.client_id", "is a number, not a string"),
    ("client_id", "client_id = ''", "clients.portal.client_id", "is empty"),
    ("client_id", "client_id = \"a\\u0007\"", "clients.portal.client_id", "control character"),
    ("client_id", "", "clients.portal.client_id", "is missing"),
    ("scopes", "scopes = \"openid\"", "clients.portal.scopes", "is a string, not a list"),
    ("scopes", "scopes = []", "clients.portal.scopes", "is empty"),
    ("scopes", "scopes = [\"openid\", \"a b\"]", "clients.portal.scopes[1]", "RFC 6749 §3.3"),
    ("scopes", "scopes = [\"openid\", 'a\"b']", "clients.portal.scopes[1]", "RFC 6749 §3.3"),
    ("scopes", "scopes = [\"a\", \"a\"]", "clients.portal.scopes[1]", "listed twice"),
    ("[server]", "max_connections = 0", "server.max_connections", "not within 1 to 1000000"),
    ("[server]", "max_connections = 1.5", "server.max_connections", "not a whole number"),
    ("[server]", "idle_timeout = \"75 minutes\"", "server.idle_timeout", "not a duration"),
    ("[server]", "idle_timeout = -1", "server.idle_timeout", "not a duration"),
    ("[server]", "idle_timeout = \"2h\"", "server.idle_timeout", "not within 1s to 1h"),
    ("[server]", "idle_timeout = 1979-05-27", "server.idle_timeout", "is a date"),
    ("listen", "listen = \"localhost:8443\"", "server.listen", "not an address and port"),
    (
        "[server]",
        "trusted_proxies = [\"10.0.0.0/33\"]",
        "server.trusted_proxies[0]",
        "not a network",
    ),
    ("[server]", "trusted_proxies = [\"::/0\"]", "server.trusted_proxies[0]", "every peer"),
    ("[store]", "kind = \"memory\"", "store.kind", "`memory` is not one of the choices"),
    ("path = \"sessions", "", "store.path", "is missing"),
    (
        "[[apps",
        "request_body_limit = \"10MB\"",
        "apps.portal.routes[0].request_body_limit",
        "not a size",
    ),
    (
        "[[apps",
        "request_body_limit = \"11GiB\"",
        "apps.portal.routes[0].request_body_limit",
        "more than",
    ),
    // What tokens are asked for.
    (
        "[apps.portal]",
        "login.authorization_details = []",
        "apps.portal.login.authorization_details",
        "RAR-2",
    ),
    (
        "[apps.portal]",
        "login.authorization_details = [{ kind = \"a\" }]",
        "apps.portal.login.authorization_details[0]",
        "RAR-2",
    ),
    (
        "[apps.portal]",
        "login.authorization_details = [{ type = \"a\", amount = 1.5 }]",
        "apps.portal.login.authorization_details[0].amount",
        "unusable number",
    ),
    (
        "[apps.portal]",
        "login.details_enrichment = [\"actions\"]",
        "apps.portal.login.details_enrichment[0]",
        "RAR-7",
    ),
    (
        "[apps.portal]",
        "authorization.pay = { details_from = \"https://p.example/{intent}\" }",
        "apps.portal.authorization.pay.types",
        "is missing",
    ),
    (
        "[apps.portal]",
        "authorization.pay = {}",
        "apps.portal.authorization.pay.authorization_details",
        "is missing",
    ),
    (
        "[apps.portal]",
        "authorization.pay = { authorization_details = [{ type = \"a\" }], details_from = \"https://p.example/{intent}\" }",
        "apps.portal.authorization.pay.details_from",
        "one or the other",
    ),
    (
        "[apps.portal]",
        "authorization.Pay = { authorization_details = [{ type = \"a\" }] }",
        "apps.portal.authorization.Pay",
        "not usable as a name",
    ),
    (
        "[[apps",
        "authorization_type = \"payment\"",
        "apps.portal.routes[0].authorization_type",
        "no login asks for",
    ),
    ("[[apps", "resource = \"/accounts\"", "apps.portal.routes[0].resource", "RES-2"),
    ("[[apps", "resource = \"https://a.example/#x\"", "apps.portal.routes[0].resource", "fragment"),
    ("[[apps", "scopes = [\"payments\"]", "apps.portal.routes[0].scopes[0]", "client's scopes"),
    ("[[apps", "scopes = []", "apps.portal.routes[0].scopes", "is empty"),
    (
        "[[apps",
        "token = \"none\"\nresource = \"https://a.example\"",
        "apps.portal.routes[0].resource",
        "is not used",
    ),
    (
        "$",
        "resource = \"https://a.example\"\n[[apps.portal.routes]]\npath = \"/api/b\"\nupstream = \"https://b.example\"",
        "apps.portal.routes",
        "names no resource",
    ),
    // Claims one by one.
    (
        "[apps.portal]",
        "login.claims_parameter = { access_token = {} }",
        "apps.portal.login.claims_parameter",
        "not a table of claims",
    ),
    (
        "[apps.portal]",
        "login.claims_parameter = { userinfo = { email = true } }",
        "apps.portal.login.claims_parameter",
        "not a table of claims",
    ),
    (
        "[apps.portal]",
        "login.claims_parameter = { userinfo = { email = { essential = \"yes\" } } }",
        "apps.portal.login.claims_parameter",
        "not a table of claims",
    ),
    (
        "[apps.portal]",
        "login.claims_parameter = { id_token = { acr = { values = [\"a\"] } } }",
        "apps.portal.login.claims_parameter",
        "OIDC-3.1.3.7-12",
    ),
    (
        "[apps.portal]",
        "login.claims_parameter = { id_token = { acr = { essential = true } } }",
        "apps.portal.login.claims_parameter",
        "OIDC-3.1.3.7-12",
    ),
    (
        "[apps.portal]",
        "login.acr_values = [\"b\"]\nlogin.claims_parameter = { id_token = { acr = { essential = true, values = [\"a\"] } } }",
        "apps.portal.login.acr_values",
        "keep one of them",
    ),
    // Which token a route sends.
    ("[[apps", "token = \"client_credentials\"", "apps.portal.routes[0].scopes", "is missing"),
    ("[[apps", "token = \"exchange\"", "apps.portal.routes[0].exchange", "is missing"),
    (
        "[[apps",
        "token = \"exchange\"\nexchange = {}",
        "apps.portal.routes[0].exchange",
        "asks for nothing",
    ),
    (
        "[[apps",
        "token = \"exchange\"\nexchange = { requested_token_type = \"jwt\" }",
        "apps.portal.routes[0].exchange",
        "asks for nothing",
    ),
    (
        "[[apps",
        "token = \"exchange\"\nexchange = { audience = \"a\", actor = \"b\" }",
        "apps.portal.routes[0].exchange.actor",
        "known here: audience, requested_token_type, resource, scopes",
    ),
    (
        "[[apps",
        "token = \"exchange\"\nscopes = [\"accounts\"]\nexchange = { audience = \"a\" }",
        "apps.portal.routes[0].scopes",
        "is not used",
    ),
    (
        "[[apps",
        "exchange = { audience = \"a\" }",
        "apps.portal.routes[0].exchange",
        "exchanges no token",
    ),
    (
        "[[apps",
        "access = \"public\"\ntoken = \"client_credentials\"",
        "apps.portal.routes[0].token",
        "no user",
    ),
    (
        "[apps.portal]",
        "authorization.pay = { details_from = \"https://p.example/{intent}\", types = [\"a\"], token = \"client_credentials\" }",
        "apps.portal.authorization.pay.scopes",
        "is missing",
    ),
    (
        "[[apps",
        "replay_body_limit = 1048577",
        "apps.portal.routes[0].replay_body_limit",
        "1048577 bytes are more than 1048576",
    ),
    // What a route demands of the user's authentication.
    ("[[apps", "acr_values = []", "apps.portal.routes[0].acr_values", "is empty"),
    ("[[apps", "acr_values = [\"a b\"]", "apps.portal.routes[0].acr_values[0]", "RFC 6749 §3.3"),
    (
        "[[apps",
        "acr_values = [\"a\", \"a\"]",
        "apps.portal.routes[0].acr_values[1]",
        "listed twice",
    ),
    ("[[apps", "max_age = \"59s\"", "apps.portal.routes[0].max_age", "not within 1m to 1d"),
    ("[[apps", "max_age = \"86401s\"", "apps.portal.routes[0].max_age", "not within 1m to 1d"),
    ("[[apps", "step_up = \"yes\"", "apps.portal.routes[0].step_up", "is a string"),
    (
        "[[apps",
        "max_age = \"5m\"\nstep_up = false",
        "apps.portal.routes[0].step_up",
        "would not hear of it",
    ),
    (
        "[[apps",
        "acr_values = [\"a\"]\naccess = \"public\"",
        "apps.portal.routes[0].acr_values",
        "no user",
    ),
    ("[[apps", "max_age = \"5m\"\naccess = \"public\"", "apps.portal.routes[0].max_age", "no user"),
    ("[[apps", "step_up = true\naccess = \"public\"", "apps.portal.routes[0].step_up", "no user"),
    (
        "[[apps",
        "path = \"/b\"\nupstream = \"https://b.example\"\nacr_values = [\"high\", \"low\"]\n[apps.portal.login]\nacr_values = [\"high\"]\n[[apps.portal.routes]]",
        "apps.portal.routes[0].acr_values[1]",
        "not among login.acr_values",
    ),
    // Unknown keys, and keys that do not exist for a reason.
    ("[clients", "scope = \"openid\"", "clients.portal.scope", "did you mean `scopes`?"),
    (
        "[clients",
        "request_object_lifetme = 60",
        "clients.portal.request_object_lifetme",
        "did you mean `request_object_lifetime`?",
    ),
    (
        "[store]",
        "zebra = 1",
        "store.zebra",
        "known here: further_server_key_files, kind, path, read_cache, server_key_file",
    ),
    (
        "[apps.portal]",
        "login.redirect_pth = \"/x\"",
        "apps.portal.login.redirect_pth",
        "did you mean `redirect_path`?",
    ),
    (
        "tls =",
        "tls = { certificate = \"tls/server.crt\", private_key = \"tls/server.key\", ciphers = \"x\" }",
        "server.tls.ciphers",
        "unknown key",
    ),
    (
        "[clients",
        "client_secret = \"hunter2\"",
        "clients.portal.client_secret",
        "FAPI2-SP-5.3.3.1-2",
    ),
    (
        "[clients",
        "client_secret_basic = \"hunter2\"",
        "clients.portal.client_secret_basic",
        "FAPI2-SP-5.3.3.1-2",
    ),
    (
        "[providers",
        "token_endpoint = \"https://as.example.com/token\"",
        "providers.bank.token_endpoint",
        "FAPI2-SP-5.3.3.1-9",
    ),
    (
        "[providers",
        "jwks_uri = \"https://as.example.com/jwks\"",
        "providers.bank.jwks_uri",
        "FAPI2-SP-5.3.3.1-9",
    ),
    ("[providers", "verify_tls = false", "providers.bank.verify_tls", "FAPI2-SP-5.2.1-5"),
    ("[[apps", "insecure = true", "apps.portal.routes[0].insecure", "FAPI2-SP-5.2.1-5"),
    ("[clients", "pkce = false", "clients.portal.pkce", "FAPI2-SP-5.3.3.2-1..3"),
    (
        "[apps.portal]",
        "cookie_domain = \"example.com\"",
        "apps.portal.cookie_domain",
        "BFF-6.1.3.2-1..6",
    ),
    // Listeners.
    ("tls =", "", "server.tls", "plain_http = true"),
    ("[server]", "plain_http = true", "server.plain_http", "contradicts tls"),
    ("tls =", "plain_http = true", "server.listen", "FAPI2-SP-5.2.1-1"),
    ("tls =", "tls = \"tls/server.crt\"", "server.tls", "is a string, not a table"),
    ("$", "[admin]\nlisten = \"0.0.0.0:9090\"", "admin.listen", "allow_remote = true"),
    ("$", "[admin]\ntoken_file = \"keys/none\"", "admin.token_file", "correct the name"),
    ("$", "[admin]\ntoken_file = \"tls/ca.crt\"", "admin.token_file", "chmod 600"),
    ("$", "[admin]\ntoken_file = \"keys/request.pem\"", "admin.token_file", "32 to 512"),
    ("$", "[admin]\ntoken_file = \"keys/server.key\"", "admin.token_file", "is the server key"),
    // How many sessions one subject may have (SES-7.1.2), and who ends them (SES-7.4).
    (
        "[apps.portal]",
        "session.max_per_subject = 0",
        "apps.portal.session.max_per_subject",
        "not within 1 to 1000",
    ),
    (
        "[apps.portal]",
        "session = { max_per_subject = 3, over_limit = \"newest\" }",
        "apps.portal.session.over_limit",
        "\"end-oldest\" or \"refuse\"",
    ),
    (
        "[apps.portal]",
        "session.over_limit = \"refuse\"",
        "apps.portal.session.over_limit",
        "set max_per_subject",
    ),
    (
        "[apps.portal]",
        "session.manage_max_age = \"10m\"",
        "apps.portal.session.manage_max_age",
        "allowed_parameters",
    ),
    ("$", "[log]\nlevel = \"=x=\"", "log.level", "is not a filter"),
    // Authorization servers.
    ("issuer", "issuer = \"http://as.example.com\"", "providers.bank.issuer", "FAPI2-SP-5.2.1-1"),
    (
        "issuer",
        "issuer = \"https://as.example.com?x=1\"",
        "providers.bank.issuer",
        "query or a fragment",
    ),
    (
        "issuer",
        "issuer = \"https://as.example.com#x\"",
        "providers.bank.issuer",
        "query or a fragment",
    ),
    (
        "issuer",
        "issuer = \"https://u:p@as.example.com\"",
        "providers.bank.issuer",
        "user name or password",
    ),
    ("issuer", "issuer = \" https://as.example.com\"", "providers.bank.issuer", "not a URL"),
    ("issuer", "issuer = \"https://10.0.0.1\"", "providers.bank.issuer", "private network"),
    ("issuer", "issuer = \"https://localhost\"", "providers.bank.issuer", "loopback network"),
    ("issuer", "issuer = \"https://169.254.169.254\"", "providers.bank.issuer", "link-local"),
    (
        "[providers",
        "system_roots = false",
        "providers.bank.system_roots",
        "no certificate authority",
    ),
    ("[providers", "networks = []", "providers.bank.networks", "is empty"),
    (
        "[providers",
        "networks = [\"everywhere\"]",
        "providers.bank.networks[0]",
        "not one of the choices",
    ),
    ("[providers", "jwks_cooldown = 4", "providers.bank.jwks_cooldown", "not within 5s to 5m"),
    ("[providers", "jwks_cooldown = 301", "providers.bank.jwks_cooldown", "not within 5s to 5m"),
    (
        "$",
        "[providers.mirror]\nissuer = \"https://mirror.example.com\"",
        "clients.portal.provider",
        "\"bank\" or \"mirror\"",
    ),
    (
        "$",
        "[providers.Bank_2]\nissuer = \"https://as2.example.com\"",
        "providers.Bank_2",
        "not usable as a name",
    ),
    // Clients.
    ("[clients", "provider = \"bnak\"", "clients.portal.provider", "no provider of this name"),
    (
        "[clients",
        "profile = \"fapi2-security\"",
        "clients.portal.request_object_key",
        "set signed_request_object = true",
    ),
    ("[clients", "profile = \"fapi3\"", "clients.portal.profile", "not one of the choices"),
    ("request_object_key", "", "clients.portal.request_object_key", "is missing"),
    (
        "[clients",
        "id_token_signed_response_alg = \"RS256\"",
        "clients.portal.id_token_signed_response_alg",
        "FAPI2-SP-5.4.1-1.2",
    ),
    ("[clients", "future_tolerance = 9", "clients.portal.future_tolerance", "not within 10s to 1m"),
    (
        "[clients",
        "future_tolerance = 61",
        "clients.portal.future_tolerance",
        "not within 10s to 1m",
    ),
    ("[clients", "exp_leeway = 61", "clients.portal.exp_leeway", "not within 0s to 1m"),
    (
        "[clients",
        "request_object_lifetime = 9",
        "clients.portal.request_object_lifetime",
        "not within 10s to 5m",
    ),
    (
        "[clients",
        "request_object_lifetime = \"301s\"",
        "clients.portal.request_object_lifetime",
        "not within 10s to 5m",
    ),
    // Apps.
    ("[apps.portal]", "client = \"web\"", "apps.portal.client", "no client of this name"),
    ("origin", "origin = \"http://portal.example.com\"", "apps.portal.origin", "FAPI2-SP-5.2.1-1"),
    (
        "origin",
        "origin = \"https://portal.example.com/\"",
        "apps.portal.origin",
        "write \"https://portal.example.com\"",
    ),
    (
        "origin",
        "origin = \"https://Portal.example.com:443\"",
        "apps.portal.origin",
        "write \"https://portal.example.com\"",
    ),
    ("origin", "origin = \"https://*.example.com/x\"", "apps.portal.origin", "exact origin"),
    ("origin", "origin = \"null\"", "apps.portal.origin", "not a URL"),
    ("[apps.portal]", "prefix = \"bff\"", "apps.portal.prefix", "does not begin with /"),
    ("[apps.portal]", "prefix = \"/bff/\"", "apps.portal.prefix", "ends with /"),
    ("[apps.portal]", "prefix = \"/\"", "apps.portal.prefix", "no path to the SPA"),
    ("[apps.portal]", "prefix = \"/a/../b\"", "apps.portal.prefix", "`..` segment"),
    ("[apps.portal]", "prefix = \"/a//b\"", "apps.portal.prefix", "empty"),
    ("[apps.portal]", "prefix = \"/a%2fb\"", "apps.portal.prefix", "letters, digits"),
    (
        "[apps.portal]",
        "csrf_headers = [\"content-type\"]",
        "apps.portal.csrf_headers[0]",
        "proves nothing",
    ),
    (
        "[apps.portal]",
        "csrf_headers = [\"a b\"]",
        "apps.portal.csrf_headers[0]",
        "not a header name",
    ),
    ("[apps.portal]", "csrf_headers = []", "apps.portal.csrf_headers", "is empty"),
    (
        "[apps.portal]",
        "login.allowed_parameters = [\"redirect_uri\"]",
        "apps.portal.login.allowed_parameters[0]",
        "not one of the choices",
    ),
    ("[apps.portal]", "login.require_acr = true", "apps.portal.login.require_acr", "acr_values"),
    (
        "[apps.portal]",
        "login.default_return_to = \"//evil.example\"",
        "apps.portal.login.default_return_to",
        "within the app's origin",
    ),
    (
        "[apps.portal]",
        "login.post_logout_path = '/\\evil.example'",
        "apps.portal.login.post_logout_path",
        "within the app's origin",
    ),
    (
        "[apps.portal]",
        "login.redirect_path = \"/bff/x\"",
        "apps.portal.login.redirect_path",
        "lies under the app's prefix",
    ),
    (
        "[apps.portal]",
        "login.transaction_lifetime = 59",
        "apps.portal.login.transaction_lifetime",
        "not within 1m to 30m",
    ),
    (
        "[apps.portal]",
        "login.transaction_lifetime = \"1801s\"",
        "apps.portal.login.transaction_lifetime",
        "not within 1m to 30m",
    ),
    ("[apps.portal]", "session.idle = \"9h\"", "apps.portal.session.idle", "SES-7.3"),
    ("[apps.portal]", "session.absolute = \"14m\"", "apps.portal.session.absolute", "SES-7.3"),
    ("[apps.portal]", "session.claims = []", "apps.portal.session.claims", "is empty"),
    (
        "[apps.portal]",
        "session.claims = [\"sub\", \"at_hash\"]",
        "apps.portal.session.claims[1]",
        "not shown to the browser",
    ),
    (
        "[apps.portal]",
        "session.claims = [\"nonce\"]",
        "apps.portal.session.claims[0]",
        "not shown to the browser",
    ),
    // Routes.
    ("path = \"/api", "path = \"/api/\"", "apps.portal.routes[0].path", "ends with /"),
    (
        "path = \"/api",
        "path = \"/bff/api\"",
        "apps.portal.routes[0].path",
        "overlaps with the app's prefix",
    ),
    (
        "path = \"/api",
        "path = \"/BFF\"",
        "apps.portal.routes[0].path",
        "overlaps with the app's prefix",
    ),
    ("upstream", "", "apps.portal.routes[0].upstream", "is missing"),
    (
        "upstream",
        "upstream = \"http://accounts.example.com\"",
        "apps.portal.routes[0].upstream",
        "FAPI2-SP-5.2.1-1",
    ),
    (
        "upstream",
        "upstream = \"http://127.0.0.1:8080\"",
        "apps.portal.routes[0].upstream",
        "add \"loopback\"",
    ),
    (
        "upstream",
        "upstream = \"https://[::ffff:10.0.0.1]\"",
        "apps.portal.routes[0].upstream",
        "add \"private\"",
    ),
    (
        "upstream",
        "upstream = \"ftp://accounts.example.com\"",
        "apps.portal.routes[0].upstream",
        "neither https nor http",
    ),
    (
        "upstream",
        "upstream = \"https://accounts.example.com/a%2fb\"",
        "apps.portal.routes[0].upstream",
        "plain segments",
    ),
    (
        "[[apps",
        "methods = [\"TRACE\"]",
        "apps.portal.routes[0].methods[0]",
        "`TRACE` is not one of the choices",
    ),
    (
        "[[apps",
        "methods = [\"GET\", \"get\"]",
        "apps.portal.routes[0].methods[1]",
        "`get` is not one of the choices",
    ),
    (
        "[[apps",
        "access = \"public\"\nmethods = [\"POST\"]",
        "apps.portal.routes[0].methods[0]",
        "public route",
    ),
    ("[[apps", "access = \"public\"\ntoken = \"user\"", "apps.portal.routes[0].token", "no user"),
    (
        "[[apps",
        "path = \"/API/accounts\"\nupstream = \"https://a.example\"\n[[apps.portal.routes]]",
        "apps.portal.routes[1].path",
        "path of two routes",
    ),
    // Keys where files belong.
    (
        "client_assertion_key",
        "client_assertion_key = \"-----BEGIN PRIVATE KEY-----\"",
        "clients.portal.client_assertion_key",
        "contains a private key",
    ),
    (
        "client_assertion_key",
        "client_assertion_key = { kty = \"EC\", d = \"x\" }",
        "clients.portal.client_assertion_key",
        "contains a private key",
    ),
    (
        "client_assertion_key",
        "client_assertion_key = '{\"kty\":\"EC\",\"d\":\"x\"}'",
        "clients.portal.client_assertion_key",
        "contains a private key",
    ),
    (
        "client_assertion_key",
        "client_assertion_key = { file = \"keys/assertion.pem\", alg = \"HS256\" }",
        "clients.portal.client_assertion_key.alg",
        "not one of the choices",
    ),
    (
        "server_key_file",
        "server_key_file = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"",
        "store.server_key_file",
        "contains the key itself",
    ),
    (
        "[apps.portal]",
        "session.carrier = \"cookie\"\nsession.max_per_subject = 3",
        "apps.portal.session.max_per_subject",
        "needs a list of sessions",
    ),
    (
        "[apps.portal]",
        "session.carrier = \"cookie\"\nsession.manage_max_age = \"10m\"",
        "apps.portal.session.manage_max_age",
        "needs a list of sessions",
    ),
    (
        "[apps.portal]",
        "session.carrier = \"browser\"",
        "apps.portal.session.carrier",
        "not one of the choices",
    ),
    (
        "[store]",
        "further_server_key_files = \"keys/next.key\"",
        "store.further_server_key_files",
        "not a list",
    ),
    (
        "[store]",
        "further_server_key_files = [\"keys/absent.key\"]",
        "store.further_server_key_files[0]",
        "cannot be read",
    ),
    (
        "[store]",
        "further_server_key_files = [\"keys/assertion.pem\"]",
        "store.further_server_key_files[0]",
        "does not contain 32 bytes",
    ),
    (
        "[store]",
        "further_server_key_files = [\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"]",
        "store.further_server_key_files[0]",
        "contains the key itself",
    ),
    (
        "[store]",
        "further_server_key_files = [\"keys/server.key\"]",
        "store.further_server_key_files[0]",
        "in use already",
    ),
];

/// FAPI1-BASE-5.2.3-11, FAPI2-SP-5.2.1-1/2, FAPI2-SP-5.2.1-5, FAPI2-SP-5.3.3.1-2,
/// FAPI2-SP-5.3.3.1-9, BFF-6.1.3.2-4/5, SES-7.3, CLK-1.
#[test]
fn every_bad_setting_is_refused_at_its_path_alone_with_words_that_help() {
    let folder = Folder::new();
    let mut wrong = Vec::new();
    for (from, to, path, words) in CASES {
        let faults = folder.faults(&example_with(&[(from, to)]), &[]);
        let hit = faults.iter().any(|fault| {
            fault.path == *path
                && format!("{}\n{}", fault.message, fault.remedy).contains(words)
                && !fault.remedy.is_empty()
        });
        if !hit || faults.len() != 1 {
            wrong.push(format!("{from} -> {to}\n  expected {path}: {words}\n  got {faults:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn eight_mistakes_are_told_at_once_each_with_its_line() {
    let folder = Folder::new();
    let text = example_with(&[
        ("[server]", "max_connections = 0"),
        ("[store]", "zebra = 1"),
        ("issuer", "issuer = \"http://as.example.com\""),
        ("client_id", "client_id = 5"),
        ("scopes", "scopes = [\"a b\"]"),
        ("origin", "origin = \"https://portal.example.com/\""),
        ("path = \"/api", "path = \"/bff/accounts\""),
        ("upstream", "upstream = \"http://accounts.example.com\""),
    ]);
    let faults = folder.faults(&text, &[]);
    let mut paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(
        paths,
        [
            "apps.portal.origin",
            "apps.portal.routes[0].path",
            "apps.portal.routes[0].upstream",
            "clients.portal.client_id",
            "clients.portal.scopes[0]",
            "providers.bank.issuer",
            "server.max_connections",
            "store.zebra",
        ]
    );
    for fault in &faults {
        let line = text.lines().nth(file_line(fault).unwrap() - 1).unwrap();
        let key = fault.path.rsplit('.').next().unwrap().split('[').next().unwrap();
        assert!(line.starts_with(key), "{fault:?} points at {line}");
    }
}

#[test]
fn syntax_errors_are_told_with_line_and_without_the_text() {
    let folder = Folder::new();
    let faults =
        folder.faults("[server]\nlisten = \"0.0.0.0:1\"\nclient_secret = hunter2 x\n", &[]);
    assert!(!faults.is_empty());
    assert_eq!(file_line(&faults[0]), Some(3));
    assert!(
        faults.iter().all(
            |fault| fault.message.starts_with("not TOML") && !fault.message.contains("hunter2")
        )
    );
}

#[test]
fn an_empty_file_is_told_everything_it_lacks() {
    let paths: Vec<_> = Folder::new().faults("", &[]).into_iter().map(|fault| fault.path).collect();
    assert_eq!(
        paths,
        [
            "server.listen",
            "server.tls",
            "store.path",
            "store.server_key_file",
            "providers",
            "clients",
            "apps"
        ]
    );
}

#[test]
fn a_missing_file_is_a_fault() {
    let faults = super::load(&Folder::new().path("absent.toml"), []).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults.to_string().contains("absent.toml"));
}

/// FAPI1-BASE-5.2.3-3
#[test]
fn two_issuers_must_not_share_a_redirect_uri() {
    let folder = Folder::new();
    let second = "\
        [providers.other]\nissuer = \"https://other.example.com\"\n\
        [clients.other]\nprovider = \"other\"\nclient_id = \"x\"\nscopes = [\"openid\"]\n\
        client_assertion_key = \"keys/assertion.pem\"\nrequest_object_key = \"keys/request.pem\"\n\
        tls_identity = { certificate = \"tls/portal.crt\", private_key = \"tls/portal.key\" }\n\
        [apps.other]\nclient = \"other\"\norigin = \"https://portal.example.com\"\nprefix = \"/other\"\n";
    let base = example_with(&[
        ("[clients", "provider = \"bank\""),
        ("[apps.portal]", "client = \"portal\""),
    ]);
    let faults = folder.faults(&format!("{base}\n{second}"), &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "apps.portal.login.redirect_path");
    assert!(faults[0].message.contains("FAPI1-BASE-5.2.3-3"));
    let apart = format!("{base}\n{second}login.redirect_path = \"/other-page\"\n");
    assert_eq!(folder.faults(&apart, &[]), []);
    let same_issuer =
        format!("{base}\n{}", second.replace("client = \"other\"", "client = \"portal\""));
    assert_eq!(folder.faults(&same_issuer, &[]), []);
}

/// FAPI1-BASE-5.2.3-3: neither is the callback of one app the page of another on the same origin.
#[test]
fn no_page_lies_where_another_app_takes_answers() {
    let folder = Folder::new();
    let faults = |origin: &str, prefix: &str, page: &str| {
        let second = format!(
            "[apps.other]\norigin = \"{origin}\"\nprefix = \"{prefix}\"\nlogin.redirect_path = \"{page}\"\n"
        );
        folder.faults(&format!("{}\n{second}", example_with(&[])), &[])
    };
    let here = "https://portal.example.com";
    for page in ["/bff/callback", "/bff", "/BFF/callback"] {
        let faults = faults(here, "/other", page);
        assert_eq!(faults.len(), 1, "{page}: {faults:#?}");
        assert_eq!(faults[0].path, "apps.other.login.redirect_path");
        assert!(faults[0].message.contains("prefix /bff of apps.portal"), "{faults:?}");
    }
    assert_eq!(faults(here, "/other", "/bffs"), []);
    assert_eq!(faults("https://other.example.com", "/other", "/bff/callback"), []);
    // The page of the example's own app, under the other's prefix.
    let second = format!("[apps.other]\norigin = \"{here}\"\nprefix = \"/home\"\n");
    let base = example_with(&[("[apps.portal]", "login.redirect_path = \"/home/page\"")]);
    let faults = folder.faults(&format!("{base}\n{second}"), &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "apps.portal.login.redirect_path");
}

/// The name of a client is its issuer's to give: two may give the same.
#[test]
fn two_issuers_may_know_us_by_one_name() {
    let second = "\
        [providers.other]\nissuer = \"https://other.example.com\"\n\
        [clients.other]\nprovider = \"other\"\nclient_id = \"portal\"\nscopes = [\"openid\"]\n\
        client_assertion_key = \"keys/assertion.pem\"\nrequest_object_key = \"keys/request.pem\"\n\
        tls_identity = { certificate = \"tls/portal.crt\", private_key = \"tls/portal.key\" }\n\
        [apps.other]\nclient = \"other\"\norigin = \"https://other.example.com\"\n";
    let base = example_with(&[
        ("[clients", "provider = \"bank\""),
        ("client_id", "client_id = \"portal\""),
        ("[apps.portal]", "client = \"portal\""),
    ]);
    let folder = Folder::new();
    let settings = folder.load(&format!("{base}\n{second}"), &[]).unwrap();
    assert_eq!(settings.clients["other"].client_id, settings.clients["portal"].client_id);
}

#[test]
fn two_apps_on_one_origin_share_neither_prefix_nor_route() {
    let folder = Folder::new();
    let other = |prefix: &str, route: &str| {
        let app = format!(
            "[apps.other]\norigin = \"https://portal.example.com\"\nprefix = \"{prefix}\"\n"
        );
        let route = format!(
            "[[apps.other.routes]]\npath = \"{route}\"\nupstream = \"https://o.example.com\"\n"
        );
        folder.faults(&format!("{}\n{app}{route}", example_with(&[])), &[])
    };
    assert_eq!(other("/other", "/x"), []);
    for (prefix, route, path, words) in [
        ("/bff", "/x", "apps.portal.prefix", "overlaps with the prefix /bff of apps.other"),
        (
            "/bff/other",
            "/x",
            "apps.portal.prefix",
            "overlaps with the prefix /bff/other of apps.other",
        ),
        ("/other", "/api/accounts", "apps.portal.routes[0].path", "is also a route of apps.other"),
        ("/api", "/x", "apps.portal.routes[0].path", "overlaps with the prefix /api of apps.other"),
        (
            "/other",
            "/bff/x",
            "apps.other.routes[0].path",
            "overlaps with the prefix /bff of apps.portal",
        ),
    ] {
        let faults = other(prefix, route);
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert_eq!(faults[0].path, path);
        assert!(faults[0].message.contains(words), "{faults:?}");
    }
}

#[test]
fn two_providers_must_not_have_one_issuer() {
    let text = format!(
        "{}\n[providers.mirror]\nissuer = \"https://as.example.com\"\n",
        example_with(&[("[clients", "provider = \"bank\"")])
    );
    let faults = Folder::new().faults(&text, &[]);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    assert_eq!(faults[0].path, "providers.mirror.issuer");
}

/// OIDC-3.1.2.1
#[test]
fn the_oidc_profile_demands_the_openid_scope() {
    let text =
        example_with(&[("scopes", "scopes = [\"accounts\"]"), ("[clients", "profile = \"oidc\"")]);
    let paths: Vec<_> =
        Folder::new().faults(&text, &[]).into_iter().map(|fault| fault.path).collect();
    assert_eq!(paths, ["clients.portal.scopes", "clients.portal.request_object_key"]);
}

#[test]
fn no_message_repeats_a_secret() {
    let folder = Folder::new();
    let text = example_with(&[
        ("[clients", "client_secret = \"hunter2\""),
        ("client_assertion_key", "client_assertion_key = \"-----BEGIN PRIVATE KEY-----hunter2\""),
        ("server_key_file", "server_key_file = \"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\""),
    ]);
    let told = folder.load(&text, &[]).unwrap_err().to_string();
    assert!(told.contains("3 mistakes"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("AAECAw"), "{told}");
}

/// RAR-12: the page's word goes into one segment of a path, and nowhere else.
#[test]
fn the_place_of_an_intent_is_a_segment_of_an_https_path() {
    let faults = |url: &str| {
        let template =
            format!("authorization.pay = {{ details_from = \"{url}\", types = [\"a\"] }}");
        Folder::new().faults(&example_with(&[("[apps.portal]", &template)]), &[])
    };
    for good in ["https://p.example/{intent}", "https://p.example:8443/v1/{intent}/details"] {
        assert_eq!(faults(good), [], "{good}");
    }
    for bad in [
        "https://p.example/intents",
        "https://p.example/{id}",
        "https://p.example/{intent}/{intent}",
        "https://p.example/x{intent}",
        "https://p.example/x?id={intent}",
        "https://p.example/{intent}?x",
        "https://p.example/{intent}#x",
        "https://{intent}/x",
        "https://{intent}.example/x",
        "https://u@p.example/{intent}",
        "http://p.example/{intent}",
        "p.example/{intent}",
        "https://127.0.0.1/{intent}",
        "https://169.254.169.254/{intent}",
    ] {
        let faults = faults(bad);
        assert_eq!(faults.len(), 1, "{bad}: {faults:#?}");
        assert_eq!(faults[0].path, "apps.portal.authorization.pay.details_from", "{bad}");
    }
}
