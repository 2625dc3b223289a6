// The doorkeeper in C. It exists in four languages with one table of cases, `../cases.json`.
//
// Nothing is needed but clang, its linker and wasi-libc: `fairlead plugin build` makes `middleware.h` of the contract. What
// a hook gets is its own and is freed here; what it returns is freed by the bindings after the call, so every text in it is
// allocated.

#include <stdlib.h>

#include "text.h"

#define MINUTE_MS 60000
#define RULES_MAX 64

typedef exports_fairlead_types_manifest_interest_t interest;
typedef exports_fairlead_types_manifest_list_interest_t interests;
typedef exports_fairlead_middleware_hooks_head_t head;
typedef exports_fairlead_middleware_hooks_borrow_context_t context;
typedef exports_fairlead_middleware_hooks_borrow_body_t body;
typedef exports_fairlead_middleware_hooks_verdict_t verdict;
typedef exports_fairlead_middleware_hooks_rejection_t rejection;
typedef exports_fairlead_middleware_hooks_patch_operation_t operation;
typedef exports_fairlead_middleware_hooks_failure_t failure;

static text BY = TEXT("doorkeeper.by");

static const char SCHEMA[] =
    "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
    "\"blocked\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
    "\"description\":\"Tools that nobody may call; `*` at the end stands for any rest\"},"
    "\"mask\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},"
    "\"description\":\"Places of texts that the server must not see, as JSON pointers\"},"
    "\"perMinute\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000,"
    "\"description\":\"Calls of one caller in a minute\"},"
    "\"maxResultBytes\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000000,"
    "\"description\":\"Largest result that a client gets\"},"
    "\"trustHeader\":{\"type\":\"string\",\"description\":\"Header that says who calls, where nothing else does\"}}}";

// One instance has one configuration.
static struct {
    text blocked[RULES_MAX], mask[RULES_MAX];
    size_t blocked_count, mask_count;
    bool has_per_minute, has_max_result, has_header;
    uint64_t per_minute, max_result;
    text header;
} config;

// === manifest and configuration ===

static interests wanted(void) {
    interests list = {calloc(2, sizeof(interest)), 2};
    if (list.ptr == NULL) abort();
    list.ptr[0].method = copied(TEXT("tools/call"));
    list.ptr[0].phases = EXPORTS_FAIRLEAD_TYPES_MANIFEST_PHASES_REQUEST |
                         EXPORTS_FAIRLEAD_TYPES_MANIFEST_PHASES_RESPONSE | EXPORTS_FAIRLEAD_TYPES_MANIFEST_PHASES_ERROR;
    list.ptr[1].method = copied(TEXT("notifications/message"));
    list.ptr[1].phases = EXPORTS_FAIRLEAD_TYPES_MANIFEST_PHASES_EVENT;
    return list;
}

void exports_fairlead_types_manifest_describe(exports_fairlead_types_manifest_plugin_manifest_t *manifest) {
    *manifest = (exports_fairlead_types_manifest_plugin_manifest_t){
        .name = copied(TEXT("doorkeeper")),
        .version = copied(TEXT("0.1.0")),
        .kind = EXPORTS_FAIRLEAD_TYPES_MANIFEST_KIND_MIDDLEWARE,
        .description = copied(TEXT("blocks tools, limits callers, masks arguments, withholds large results")),
        .config_schema = copied(TEXT(SCHEMA)),
        .interests = wanted(),
    };
    manifest->capabilities.ptr = calloc(1, sizeof *manifest->capabilities.ptr);
    if (manifest->capabilities.ptr == NULL) abort();
    manifest->capabilities.len = 1;
    manifest->capabilities.ptr[0].name = copied(TEXT("kv"));
    manifest->capabilities.ptr[0].reason = copied(TEXT("counts the calls of each caller"));
}

static size_t read_list(reader *from, text into[RULES_MAX]) {
    size_t count = 0;
    for (text element; next_text(from, &element); count++) {
        if (count == RULES_MAX) abort();
        into[count] = element;
    }
    return count;
}

// Reads the configuration; a text that says what is wrong with it, or an empty one.
static text read_config(text json) {
    reader from = {json, 0};
    for (text name; next_field(&from, &name);) {
        if (same(name, TEXT("blocked"))) {
            config.blocked_count = read_list(&from, config.blocked);
        } else if (same(name, TEXT("mask"))) {
            config.mask_count = read_list(&from, config.mask);
        } else if (same(name, TEXT("perMinute"))) {
            config.has_per_minute = true;
            config.per_minute = read_number(&from);
        } else if (same(name, TEXT("maxResultBytes"))) {
            config.has_max_result = true;
            config.max_result = read_number(&from);
        } else {
            config.has_header = true;
            config.header = read_text(&from);
        }
    }
    for (size_t i = 0; i < config.blocked_count; i++) {
        if (config.blocked[i].len == 0) return copied(TEXT("`blocked` has an empty pattern, which blocks nothing"));
    }
    for (size_t i = 0; i < config.mask_count; i++) {
        if (begins(config.mask[i], TEXT("/"))) continue;
        builder reason = {0};
        add(&reason, TEXT("`"));
        add(&reason, config.mask[i]);
        add(&reason, TEXT("` in `mask` is no JSON pointer"));
        return built(&reason);
    }
    return (text){0};
}

bool exports_fairlead_types_manifest_validate_config(text *json, middleware_list_string_t *warnings, text *wrong) {
    *wrong = read_config(*json);
    if (wrong->len > 0) return false;
    *warnings = (middleware_list_string_t){0};
    if (config.blocked_count + config.mask_count == 0 && !config.has_per_minute && !config.has_max_result) {
        warnings->ptr = malloc(sizeof(text));
        if (warnings->ptr == NULL) abort();
        warnings->len = 1;
        warnings->ptr[0] = copied(TEXT("nothing is guarded"));
    }
    return true;
}

bool exports_fairlead_middleware_hooks_configure(text *json, exports_fairlead_middleware_hooks_list_interest_t *list,
                                                 failure *fault) {
    text wrong = read_config(*json);
    if (wrong.len > 0) {
        *fault = (failure){.tag = FAIRLEAD_TYPES_TYPES_FAILURE_CONFIG, .val.config = wrong};
        return false;
    }
    interests all = wanted();
    list->ptr = all.ptr;
    list->len = all.len;
    middleware_string_free(json);
    return true;
}

// === verdicts ===

static verdict go_on(void) {
    return (verdict){.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_VERDICT_NEXT};
}

static verdict refuse(int32_t code, text message) {
    rejection refusal = {.code = code, .message = message};
    return (verdict){.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_VERDICT_REJECT, .val.reject = refusal};
}

static verdict answer(text result) {
    return (verdict){.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_VERDICT_RESPOND, .val.respond = result};
}

static verdict replace(text payload) {
    verdict edit = {.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_VERDICT_EDIT};
    edit.val.edit.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_EDIT_REPLACE;
    edit.val.edit.val.replace = payload;
    return edit;
}

// An empty patch changes nothing.
static verdict patch(const operation *operations, size_t count) {
    if (count == 0) return go_on();
    verdict edit = {.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_VERDICT_EDIT};
    edit.val.edit.tag = EXPORTS_FAIRLEAD_MIDDLEWARE_HOOKS_EDIT_PATCH;
    operation *owned = calloc(count, sizeof(operation));
    if (owned == NULL) abort();
    for (size_t i = 0; i < count; i++) {
        owned[i].pointer = copied(operations[i].pointer);
        owned[i].value.is_some = operations[i].value.is_some;
        if (operations[i].value.is_some) owned[i].value.val = copied(operations[i].value.val);
    }
    edit.val.edit.val.patch.ptr = owned;
    edit.val.edit.val.patch.len = count;
    return edit;
}

static operation set(text pointer, text json) {
    return (operation){.pointer = pointer, .value = {.is_some = true, .val = json}};
}

// === hooks ===

static bool text_at(body body, text pointer, text *found) {
    return fairlead_middleware_exchange_method_body_text(body, &pointer, found);
}

static bool json_at(body body, text pointer, text *found) {
    return fairlead_middleware_exchange_method_body_pointer(body, &pointer, found);
}

static text who_calls(context context) {
    text who;
    if (fairlead_middleware_exchange_method_context_identity(context, &who)) return who;
    if (!config.has_header || !fairlead_middleware_exchange_method_context_header(context, &config.header, &who)) {
        return copied(TEXT("anonymous"));
    }
    middleware_tuple2_string_string_t claim = {TEXT("via"), TEXT("\"header\"")};
    fairlead_middleware_exchange_attributes_t claims = {&claim, 1};
    fairlead_middleware_exchange_method_context_set_identity(context, &who, &claims);
    return who;
}

static verdict blocked(context context, text tool) {
    builder message = {0}, data = {0};
    add(&message, TEXT("`"));
    add(&message, tool);
    add(&message, TEXT("` is blocked"));
    text tenant;
    fairlead_middleware_exchange_method_context_tenant(context, &tenant);
    add(&data, TEXT("{\"tool\":"));
    add_json(&data, tool);
    add(&data, TEXT(",\"tenant\":"));
    add_json(&data, tenant);
    add(&data, TEXT("}"));
    middleware_string_free(&tenant);
    verdict refusal = refuse(4030, built(&message));
    refusal.val.reject.data = (middleware_option_string_t){.is_some = true, .val = built(&data)};
    return refusal;
}

// Counts a call. False when the host cannot: a fault, never a decision.
static bool count(text who, int64_t *calls, failure *fault) {
    builder key = {0};
    add(&key, TEXT("calls/"));
    add(&key, who);
    text name = built(&key);
    uint64_t ttl = MINUTE_MS;
    fairlead_host_kv_error_t error;
    bool counted = fairlead_host_kv_increment(&name, 1, &ttl, calls, &error);
    middleware_string_free(&name);
    if (counted) return true;
    fairlead_host_kv_error_free(&error);
    text reason = copied(TEXT("the calls cannot be counted"));
    *fault = (failure){.tag = FAIRLEAD_TYPES_TYPES_FAILURE_UNAVAILABLE, .val.unavailable = reason};
    return false;
}

static verdict too_many(text who) {
    builder message = {0};
    add(&message, TEXT("too many calls by "));
    add(&message, who);
    verdict refusal = refuse(4290, built(&message));
    refusal.val.reject.retry_after_ms = (middleware_option_u64_t){.is_some = true, .val = MINUTE_MS};
    return refusal;
}

static verdict redirected(text other) {
    builder payload = {0};
    add(&payload, TEXT("{\"name\":"));
    add_json(&payload, other);
    add(&payload, TEXT(",\"arguments\":{}}"));
    middleware_string_free(&other);
    return replace(built(&payload));
}

static verdict edited(body body) {
    operation operations[RULES_MAX + 1];
    size_t changes = 0;
    text found;
    for (size_t i = 0; i < config.mask_count; i++) {
        if (!text_at(body, config.mask[i], &found)) continue;
        middleware_string_free(&found);
        operations[changes++] = set(config.mask[i], TEXT("\"***\""));
    }
    if (json_at(body, TEXT("/arguments/drop"), &found)) {
        middleware_string_free(&found);
        operations[changes++] = (operation){.pointer = TEXT("/arguments/drop")};
    }
    return patch(operations, changes);
}

static bool decide(text tool, text who, context context, body body, verdict *ret, failure *fault) {
    for (size_t i = 0; i < config.blocked_count; i++) {
        if (!covers(config.blocked[i], tool)) continue;
        *ret = blocked(context, tool);
        return true;
    }
    int64_t calls = 0;
    if (config.has_per_minute && !count(who, &calls, fault)) return false;
    text other;
    if (config.has_per_minute && calls > (int64_t)config.per_minute) {
        *ret = too_many(who);
    } else if (same(tool, TEXT("ping"))) {
        *ret = answer(copied(TEXT("{\"content\":[{\"type\":\"text\",\"text\":\"pong\"}]}")));
    } else if (text_at(body, TEXT("/arguments/redirect"), &other)) {
        *ret = redirected(other);
    } else {
        fairlead_middleware_exchange_method_context_set_attribute(context, &BY, &who);
        *ret = edited(body);
    }
    return true;
}

bool exports_fairlead_middleware_hooks_on_request(head *head, context context, body body, verdict *ret, failure *fault) {
    bool decided = true;
    if (head->target.is_some) {
        text who = who_calls(context);
        decided = decide(head->target.val, who, context, body, ret, fault);
        middleware_string_free(&who);
    } else {
        *ret = refuse(4000, copied(TEXT("the call names no tool")));
    }
    exports_fairlead_middleware_hooks_head_free(head);
    return decided;
}

static verdict signed_by(context context, bool failed) {
    text who;
    if (!failed || !fairlead_middleware_exchange_method_context_attribute(context, &BY, &who)) return go_on();
    builder name = {0};
    add_json(&name, who);
    middleware_string_free(&who);
    text json = built(&name);
    operation sign = set(TEXT("/by"), json);
    verdict edit = patch(&sign, 1);
    middleware_string_free(&json);
    return edit;
}

bool exports_fairlead_middleware_hooks_on_response(head *head, context context, body body, verdict *ret, failure *fault) {
    text failed;
    if (config.has_max_result && head->size > config.max_result) {
        builder payload = {0};
        add(&payload, TEXT("{\"content\":[{\"type\":\"text\",\"text\":\""));
        add_number(&payload, head->size);
        add(&payload, TEXT(" bytes were withheld\"}],\"isError\":true}"));
        *ret = replace(built(&payload));
    } else if (json_at(body, TEXT("/isError"), &failed)) {
        *ret = signed_by(context, same(failed, TEXT("true")));
        middleware_string_free(&failed);
    } else {
        *ret = go_on();
    }
    exports_fairlead_middleware_hooks_head_free(head);
    return true;
}

bool exports_fairlead_middleware_hooks_on_error(head *head, context context, rejection *error, verdict *ret, failure *fault) {
    if (error->code == -32601) {
        *ret = refuse(4040, copied(TEXT("there is no such tool")));
        ret->val.reject.data.is_some = error->data.is_some;
        if (error->data.is_some) ret->val.reject.data.val = copied(error->data.val);
    } else if (error->code == 5001) {
        *ret = answer(copied(TEXT("{\"content\":[],\"isError\":true}")));
    } else {
        *ret = go_on();
    }
    exports_fairlead_middleware_hooks_rejection_free(error);
    exports_fairlead_middleware_hooks_head_free(head);
    return true;
}

bool exports_fairlead_middleware_hooks_on_event(head *head, context context, body body, verdict *ret, failure *fault) {
    text level = {0}, data = {0};
    operation hide = set(TEXT("/data"), TEXT("\"***\""));
    if (text_at(body, TEXT("/level"), &level) && same(level, TEXT("debug"))) {
        *ret = refuse(1, copied(TEXT("debug is not for clients")));
    } else if (text_at(body, TEXT("/data"), &data) && begins(data, TEXT("secret:"))) {
        *ret = patch(&hide, 1);
    } else {
        *ret = go_on();
    }
    middleware_string_free(&level);
    middleware_string_free(&data);
    exports_fairlead_middleware_hooks_head_free(head);
    return true;
}
