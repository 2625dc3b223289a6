#include "text.h"

#include <stdlib.h>
#include <string.h>

static void reserve(builder *to, size_t more) {
    if (to->len + more <= to->room) return;
    to->room = (to->len + more) * 2;
    to->ptr = realloc(to->ptr, to->room);
    // Out of memory: a trap, which the host answers with the failure mode.
    if (to->ptr == NULL) abort();
}

void add(builder *to, text what) {
    reserve(to, what.len);
    if (what.len > 0) memcpy(to->ptr + to->len, what.ptr, what.len);
    to->len += what.len;
}

void add_json(builder *to, text what) {
    static const char hex[] = "0123456789abcdef";
    add(to, TEXT("\""));
    for (size_t i = 0; i < what.len; i++) {
        uint8_t byte = what.ptr[i];
        if (byte == '"' || byte == '\\') {
            add(to, (text){(uint8_t[]){'\\', byte}, 2});
        } else if (byte < 0x20) {
            add(to, (text){(uint8_t[]){'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]}, 6});
        } else {
            add(to, (text){&byte, 1});
        }
    }
    add(to, TEXT("\""));
}

void add_number(builder *to, uint64_t number) {
    uint8_t digits[20];
    size_t from = sizeof digits;
    do {
        digits[--from] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add(to, (text){digits + from, sizeof digits - from});
}

text built(builder *from) {
    text all = {from->ptr, from->len};
    *from = (builder){0};
    return all;
}

text copied(text what) {
    builder copy = {0};
    add(&copy, what);
    return built(&copy);
}

bool same(text a, text b) {
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}

bool begins(text with, text start) {
    return with.len >= start.len && memcmp(with.ptr, start.ptr, start.len) == 0;
}

bool covers(text pattern, text name) {
    if (pattern.len > 0 && pattern.ptr[pattern.len - 1] == '*') return begins(name, (text){pattern.ptr, pattern.len - 1});
    return same(pattern, name);
}

static uint8_t peek(const reader *from) {
    return from->at < from->json.len ? from->json.ptr[from->at] : 0;
}

static void skip(reader *from, const char *these) {
    while (peek(from) != 0 && strchr(these, peek(from)) != NULL) from->at++;
}

bool next_field(reader *from, text *name) {
    skip(from, " \t\r\n{,");
    if (peek(from) != '"') return false;
    *name = read_text(from);
    skip(from, " \t\r\n:");
    return true;
}

static uint32_t hex4(reader *from) {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = peek(from);
        from->at++;
        code = code * 16 + (digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    return code;
}

static void add_code(builder *to, uint32_t code) {
    uint8_t bytes[4];
    if (code < 0x80) {
        add(to, (text){(uint8_t[]){(uint8_t)code}, 1});
        return;
    }
    size_t more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t marks[] = {0, 0xc0, 0xe0, 0xf0};
    for (size_t i = more; i > 0; i--, code >>= 6) bytes[i] = (uint8_t)(0x80 | (code & 63));
    bytes[0] = (uint8_t)(marks[more] | code);
    add(to, (text){bytes, more + 1});
}

text read_text(reader *from) {
    builder text_ = {0};
    from->at++;
    while (peek(from) != '"' && from->at < from->json.len) {
        uint8_t byte = peek(from);
        from->at++;
        if (byte != '\\') {
            add(&text_, (text){&byte, 1});
            continue;
        }
        byte = peek(from);
        from->at++;
        const char *escape = strchr("b\bf\fn\nr\rt\t", byte);
        if (byte == 'u') {
            uint32_t code = hex4(from);
            if (code >= 0xd800 && code < 0xdc00 && peek(from) == '\\') {
                from->at += 2;
                code = 0x10000 + ((code - 0xd800) << 10) + (hex4(from) - 0xdc00);
            }
            add_code(&text_, code);
        } else if (escape != NULL && byte != 0) {
            add(&text_, (text){(uint8_t *)escape + 1, 1});
        } else {
            add(&text_, (text){&byte, 1});
        }
    }
    from->at++;
    return built(&text_);
}

uint64_t read_number(reader *from) {
    uint64_t number = 0;
    for (; peek(from) >= '0' && peek(from) <= '9'; from->at++) number = number * 10 + (peek(from) - '0');
    return number;
}

bool next_text(reader *from, text *element) {
    skip(from, " \t\r\n[,");
    if (peek(from) == ']') {
        from->at++;
        return false;
    }
    *element = read_text(from);
    return true;
}
