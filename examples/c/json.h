/* A reader of JSON, enough for a bundle's manifest. */

#ifndef JSON_H
#define JSON_H

#include <stddef.h>

typedef enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT } JsonType;

typedef struct Json {
    JsonType type;
    double number;
    char *text;
    char *key;          /* its name, inside an object */
    struct Json *items; /* of an array or object */
    size_t count;
} Json;

/* Reads a text that ends with NUL; returns NULL if it is no JSON. The tree is kept for the life of the process.
 * \u escapes become '?': nothing in a manifest that a program needs has one. */
Json *json_read(const char *text);

/* The value of a key, or NULL. */
const Json *json_get(const Json *object, const char *key);

#endif
