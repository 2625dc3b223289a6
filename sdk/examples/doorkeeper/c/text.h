// Text and the little JSON that a middleware needs: nothing but libc.

#ifndef TEXT_H
#define TEXT_H

#include "middleware.h"

typedef middleware_string_t text;

// A text that lives as long as the program.
#define TEXT(literal) ((text){(uint8_t *)(literal), sizeof(literal) - 1})

// What is built is owned by whoever gets it.
typedef struct {
    uint8_t *ptr;
    size_t len, room;
} builder;

void add(builder *to, text what);
// As a JSON string, with quotes and escapes.
void add_json(builder *to, text what);
void add_number(builder *to, uint64_t number);
text built(builder *from);
text copied(text what);

bool same(text a, text b);
bool begins(text with, text start);
// `*` at the end of a pattern stands for any rest.
bool covers(text pattern, text name);

// Reads one flat JSON object. `field` gets each name and stands before its value, which it reads with one of the others.
// The host has checked the configuration against the schema, so a mistake here is a defect and not an error of a person.
typedef struct {
    text json;
    size_t at;
} reader;

bool next_field(reader *from, text *name);
text read_text(reader *from);
uint64_t read_number(reader *from);
// Each element of an array of texts; false at its end.
bool next_text(reader *from, text *element);

#endif
