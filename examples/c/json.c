#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 64 };

static int read_value(const char **at, Json *out, int depth);

static void skip_space(const char **at) {
    while (**at == ' ' || **at == '\n' || **at == '\r' || **at == '\t') ++*at;
}

static char *read_text(const char **at) {
    const char *end = ++*at;
    while (*end && *end != '"') end += end[0] == '\\' && end[1] ? 2 : 1;
    if (!*end) return NULL;
    char *text = malloc((size_t)(end - *at) + 1), *to = text;
    while (text && *at < end) {
        char character = *(*at)++;
        if (character == '\\') {
            static const char names[] = "nrtbf", meant[] = "\n\r\t\b\f";
            character = *(*at)++;
            const char *name = strchr(names, character);
            if (name) character = meant[name - names];
            if (character == 'u') {
                character = '?';
                *at += end - *at < 4 ? end - *at : 4;
            }
        }
        *to++ = character;
    }
    if (text) *to = '\0';
    *at = end + 1;
    return text;
}

static int read_items(const char **at, Json *out, int depth) {
    const char end = *(*at)++ == '[' ? ']' : '}';
    out->type = end == ']' ? JSON_ARRAY : JSON_OBJECT;
    skip_space(at);
    while (**at != end) {
        if (out->count && *(*at)++ != ',') return 0;
        Json item = {0};
        skip_space(at);
        if (out->type == JSON_OBJECT) {
            if (**at != '"' || !(item.key = read_text(at))) return 0;
            skip_space(at);
            if (*(*at)++ != ':') return 0;
        }
        if (!read_value(at, &item, depth + 1)) return 0;
        Json *more = realloc(out->items, (out->count + 1) * sizeof *more);
        if (!more) return 0;
        out->items = more;
        out->items[out->count++] = item;
        skip_space(at);
    }
    ++*at;
    return 1;
}

static int read_value(const char **at, Json *out, int depth) {
    static const char *const words[] = {"null", "false", "true"};
    skip_space(at);
    if (depth > MAX_DEPTH) return 0;
    if (**at == '[' || **at == '{') return read_items(at, out, depth);
    if (**at == '"') {
        out->type = JSON_TEXT;
        return (out->text = read_text(at)) != NULL;
    }
    for (int word = 0; word < 3; ++word) {
        if (strncmp(*at, words[word], strlen(words[word])) == 0) {
            *at += strlen(words[word]);
            out->type = (JsonType)word;
            return 1;
        }
    }
    char *end;
    out->type = JSON_NUMBER;
    out->number = strtod(*at, &end);
    if (end == *at) return 0;
    *at = end;
    return 1;
}

Json *json_read(const char *text) {
    Json *root = calloc(1, sizeof *root);
    if (!root || !read_value(&text, root, 0)) return NULL;
    skip_space(&text);
    return *text ? NULL : root;
}

const Json *json_get(const Json *object, const char *key) {
    for (size_t index = 0; object && index < object->count; ++index) {
        if (object->items[index].key && strcmp(object->items[index].key, key) == 0) return &object->items[index];
    }
    return NULL;
}
