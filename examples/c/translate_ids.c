/* Translates lines of source ids, EOS included, to lines of target ids: translate_ids BUNDLE < ids.txt
 *
 * Everything that a bundle asks of a program but the tokenizer: the manifest, the shortlist, both graphs and greedy
 * search, one sentence at a time. docs/bundle-format.md, "Greedy search". */

#include <errno.h>
#include <onnxruntime_c_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "shortlist.h"

enum { SHORTEST_LIMIT = 16, LENGTH_MULTIPLE = 4, MAX_AXES = 4, MAX_STATES = 256, MAX_LINE = 1 << 16 };

/* One of the manifest's state tensors. */
typedef struct {
    const char *past, *present; /* present: NULL for a constant */
    int64_t shape[MAX_AXES];    /* -1 along the axis that grows */
    size_t axes;
    int grows;
    OrtValue *value, *next; /* next: where a recurrent state's present is written */
    void *memory, *next_memory;
} State;

typedef struct {
    const OrtApi *api;
    OrtMemoryInfo *memory_info;
    OrtSession *encoder, *decoder;
    State states[MAX_STATES];
    size_t state_count;
    Shortlist shortlist;
    int has_shortlist;
    int64_t start_id, eos_id, pad_id, source_size;
    size_t max_source, max_length;
    double length_factor;
} Model;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "translate_ids: %s: %s\n", what, why);
    exit(1);
}

static void check(const OrtApi *api, OrtStatus *status) {
    if (status) fail("onnxruntime", api->GetErrorMessage(status));
}

static void *allocate(size_t bytes) {
    void *memory = calloc(bytes ? bytes : 1, 1);
    if (!memory) fail("memory", "not enough");
    return memory;
}

static char *join(const char *directory, const char *name) {
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = allocate(size);
    snprintf(path, size, "%s/%s", directory, name);
    return path;
}

/* The bytes of a file, and a NUL after them. */
static char *read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) fail(path, strerror(errno));
    long end = ftell(file);
    char *bytes = allocate((size_t)end + 1);
    rewind(file);
    if (end < 0 || fread(bytes, 1, (size_t)end, file) != (size_t)end) fail(path, "cannot be read");
    fclose(file);
    *size = (size_t)end;
    return bytes;
}

/* What the manifest holds under a path of keys, such as "graphs", "encoder", "file". */
static const Json *need(const Json *value, JsonType type, const char *first, const char *second, const char *third) {
    const char *const keys[] = {first, second, third};
    for (int index = 0; index < 3 && keys[index]; ++index) value = json_get(value, keys[index]);
    if (!value || value->type != type) fail("bundle.json has no usable", third ? third : second ? second : first);
    return value;
}

static double need_number(const Json *manifest, const char *section, const char *key) {
    return need(manifest, JSON_NUMBER, section, key, NULL)->number;
}

static void read_state(State *state, const Json *entry) {
    const Json *present = json_get(entry, "present"), *shape = need(entry, JSON_ARRAY, "shape", NULL, NULL);
    state->past = need(entry, JSON_TEXT, "past", NULL, NULL)->text;
    state->present = present && present->type == JSON_TEXT ? present->text : NULL;
    state->grows = strcmp(need(entry, JSON_TEXT, "kind", NULL, NULL)->text, "appended") == 0;
    state->axes = shape->count;
    if (state->axes > MAX_AXES) fail("bundle.json", "a state of more than four axes");
    for (size_t axis = 0; axis < state->axes; ++axis) {
        const Json *size = &shape->items[axis];
        int is_batch = size->type == JSON_TEXT && strcmp(size->text, "batch") == 0;
        state->shape[axis] = size->type == JSON_NUMBER ? (int64_t)size->number : is_batch ? 1 : -1;
    }
}

static void read_manifest(Model *model, const Json *manifest) {
    if (need(manifest, JSON_NUMBER, "schema_version", NULL, NULL)->number != 1) fail("bundle.json", "not version 1");
    if (strcmp(need(manifest, JSON_TEXT, "kind", NULL, NULL)->text, "seq2seq") != 0) fail("bundle.json", "not seq2seq");
    const Json *pad = json_get(json_get(manifest, "generation"), "pad_token_id");
    model->start_id = (int64_t)need_number(manifest, "generation", "start_token_id");
    model->eos_id = (int64_t)need_number(manifest, "generation", "eos_token_id");
    model->pad_id = pad && pad->type == JSON_NUMBER ? (int64_t)pad->number : model->eos_id;
    model->max_source = (size_t)need_number(manifest, "generation", "max_source_tokens");
    model->max_length = (size_t)need_number(manifest, "generation", "max_length");
    model->length_factor = need_number(manifest, "generation", "max_length_factor");
    model->source_size = (int64_t)need_number(manifest, "tokenizer", "source_vocab_size");
    const Json *state = need(manifest, JSON_ARRAY, "state", NULL, NULL);
    if (state->count > MAX_STATES) fail("bundle.json", "too many state tensors");
    model->state_count = state->count;
    for (size_t index = 0; index < state->count; ++index) read_state(&model->states[index], &state->items[index]);
}

static OrtSession *load_graph(const OrtApi *api, OrtEnv *env, const char *bundle, const Json *manifest,
                              const char *name) {
    OrtSessionOptions *options;
    OrtSession *session;
    check(api, api->CreateSessionOptions(&options));
    check(api, api->SetIntraOpNumThreads(options, 1));
    /* docs/bundle-format.md, "Session options". */
    check(api, api->AddSessionConfigEntry(options, "session.disable_quant_qdq", "1"));
    check(api, api->AddSessionConfigEntry(options, "session.x64quantprecision", "1"));
    char *path = join(bundle, need(manifest, JSON_TEXT, "graphs", name, "file")->text);
    check(api, api->CreateSession(env, path, options, &session));
    api->ReleaseSessionOptions(options);
    free(path);
    return session;
}

/* A tensor over memory that the caller keeps. */
static OrtValue *tensor(const Model *model, void *data, ONNXTensorElementDataType type, const int64_t *shape,
                        size_t axes) {
    size_t bytes = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? 8 : 4;
    for (size_t axis = 0; axis < axes; ++axis) bytes *= (size_t)shape[axis];
    OrtValue *value;
    check(model->api,
          model->api->CreateTensorWithDataAsOrtValue(model->memory_info, data, bytes, shape, axes, type, &value));
    return value;
}

/* The arguments of a run, gathered one by one. */
typedef struct {
    const char *names[MAX_STATES + 8];
    OrtValue *values[MAX_STATES + 8];
    size_t count;
} Ports;

static void add(Ports *ports, const char *name, OrtValue *value) {
    ports->names[ports->count] = name;
    ports->values[ports->count++] = value;
}

static void run(const Model *model, OrtSession *session, const Ports *inputs, Ports *outputs) {
    check(model->api, model->api->Run(session, NULL, inputs->names, (const OrtValue *const *)inputs->values,
                                      inputs->count, outputs->names, outputs->count, outputs->values));
}

/* Fills the constant states from the encoder. */
static void encode(Model *model, const Ports *inputs) {
    Ports outputs = {.count = 0};
    for (size_t index = 0; index < model->state_count; ++index) {
        if (!model->states[index].present) add(&outputs, model->states[index].past, NULL);
    }
    run(model, model->encoder, inputs, &outputs);
    for (size_t index = 0, output = 0; index < model->state_count; ++index) {
        if (!model->states[index].present) model->states[index].value = outputs.values[output++];
    }
}

/* Zeros for the states that the decoder carries; a cache has room for every token that may follow. */
static void start_states(Model *model, size_t capacity) {
    for (size_t index = 0; index < model->state_count; ++index) {
        State *state = &model->states[index];
        if (!state->present) continue;
        int64_t shape[MAX_AXES];
        size_t count = 1;
        for (size_t axis = 0; axis < state->axes; ++axis) {
            shape[axis] = state->shape[axis] < 0 ? (int64_t)capacity : state->shape[axis];
            count *= (size_t)shape[axis];
        }
        state->memory = allocate(count * sizeof(float));
        state->value = tensor(model, state->memory, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, shape, state->axes);
        if (state->grows) continue; /* its present is written where its past is */
        state->next_memory = allocate(count * sizeof(float));
        state->next = tensor(model, state->next_memory, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, shape, state->axes);
    }
}

static void release_states(Model *model) {
    for (size_t index = 0; index < model->state_count; ++index) {
        State *state = &model->states[index];
        model->api->ReleaseValue(state->value);
        if (state->next) model->api->ReleaseValue(state->next);
        free(state->memory);
        free(state->next_memory);
        state->value = state->next = NULL;
        state->memory = state->next_memory = NULL;
    }
}

/* One decoder step; `shared` are the inputs that stay. Returns the id that follows. */
static int64_t step(Model *model, const Ports *shared, int64_t id, int64_t position) {
    const int64_t one = 1;
    int64_t next_id = 0;
    OrtValue *ids = tensor(model, &id, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &one, 1);
    OrtValue *positions = tensor(model, &position, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &one, 1);
    OrtValue *next_ids = tensor(model, &next_id, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, &one, 1);
    Ports inputs = *shared, outputs = {.count = 0};
    add(&inputs, "input_ids", ids);
    add(&inputs, "positions", positions);
    add(&outputs, "next_ids", next_ids);
    for (size_t index = 0; index < model->state_count; ++index) {
        State *state = &model->states[index];
        add(&inputs, state->past, state->value);
        if (state->present) add(&outputs, state->present, state->grows ? state->value : state->next);
    }
    run(model, model->decoder, &inputs, &outputs);
    for (size_t index = 0; index < model->state_count; ++index) {
        State *state = &model->states[index];
        if (!state->next) continue;
        OrtValue *value = state->value;
        state->value = state->next;
        state->next = value;
    }
    model->api->ReleaseValue(ids);
    model->api->ReleaseValue(positions);
    model->api->ReleaseValue(next_ids);
    return next_id;
}

/* Translates `count` source ids and prints the target ids. */
static void translate(Model *model, const int64_t *source, size_t count) {
    int64_t shape[2] = {1, (int64_t)((count + LENGTH_MULTIPLE - 1) / LENGTH_MULTIPLE * LENGTH_MULTIPLE)};
    int64_t *ids = allocate((size_t)shape[1] * sizeof *ids), *candidates = NULL;
    int32_t *mask = allocate((size_t)shape[1] * sizeof *mask);
    float *bias = NULL;
    for (size_t index = 0; index < (size_t)shape[1]; ++index) {
        ids[index] = index < count ? source[index] : model->pad_id;
        mask[index] = index < count;
    }
    Ports shared = {.count = 0}, inputs = {.count = 0};
    add(&shared, "attention_mask", tensor(model, mask, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, shape, 2));
    if (model->has_shortlist) {
        candidates = allocate(model->shortlist.target_size * sizeof *candidates);
        int64_t listed[2] = {1, (int64_t)shortlist_candidates(&model->shortlist, source, count, candidates)};
        bias = allocate((size_t)listed[1] * sizeof *bias);
        add(&shared, "shortlist", tensor(model, candidates, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, listed + 1, 1));
        inputs = shared;
        add(&inputs, "shortlist_bias", tensor(model, bias, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, listed, 2));
    } else {
        inputs = shared;
    }
    add(&inputs, "input_ids", tensor(model, ids, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, shape, 2));
    encode(model, &inputs);

    size_t limit = (size_t)(model->length_factor * (double)count);
    if (limit < SHORTEST_LIMIT) limit = SHORTEST_LIMIT;
    if (limit > model->max_length) limit = model->max_length;
    start_states(model, limit);
    int64_t id = model->start_id;
    for (size_t length = 0; length < limit; ++length) {
        id = step(model, &shared, id, (int64_t)length);
        if (id == model->eos_id) break;
        printf(length ? " %lld" : "%lld", (long long)id);
    }
    printf("\n");

    release_states(model);
    for (size_t index = 0; index < inputs.count; ++index) model->api->ReleaseValue(inputs.values[index]);
    free(ids);
    free(mask);
    free(candidates);
    free(bias);
}

static void load_shortlist(Model *model, const char *bundle, const Json *manifest) {
    const Json *entry = json_get(manifest, "shortlist");
    model->has_shortlist = entry && entry->type == JSON_OBJECT;
    if (!model->has_shortlist) return;
    size_t size, first = (size_t)need_number(manifest, "shortlist", "first");
    size_t target_size = (size_t)need_number(manifest, "tokenizer", "target_vocab_size");
    char *npz = read_file(join(bundle, need(entry, JSON_TEXT, "file", NULL, NULL)->text), &size);
    if (!shortlist_open(&model->shortlist, (unsigned char *)npz, size, first, (size_t)model->source_size, target_size))
        fail("the shortlist", "damaged");
}

static size_t read_ids(const Model *model, char *line, int64_t *ids) {
    size_t count = 0;
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        int64_t id = strtoll(word, NULL, 10);
        if (count == model->max_source) fail("a sentence", "longer than the model takes");
        if (id < 0 || id >= model->source_size) fail(word, "an id outside the vocabulary");
        ids[count++] = id;
    }
    return count;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: translate_ids BUNDLE < ids.txt\n");
        return 2;
    }
    static Model model;
    size_t size;
    const Json *manifest = json_read(read_file(join(argv[1], "bundle.json"), &size));
    if (!manifest) fail("bundle.json", "not JSON");
    read_manifest(&model, manifest);
    load_shortlist(&model, argv[1], manifest);
    const OrtApi *api = model.api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (!api) fail("onnxruntime", "older than the headers that this was compiled with");
    OrtEnv *env;
    check(api, api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "translate_ids", &env));
    check(api, api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &model.memory_info));
    model.encoder = load_graph(api, env, argv[1], manifest, "encoder");
    model.decoder = load_graph(api, env, argv[1], manifest, "decoder");
    static char line[MAX_LINE];
    int64_t *ids = allocate(model.max_source * sizeof *ids);
    while (fgets(line, sizeof line, stdin)) {
        size_t count = read_ids(&model, line, ids);
        if (!count) fail("a sentence", "no ids");
        translate(&model, ids, count);
    }
    free(ids);
    api->ReleaseSession(model.encoder);
    api->ReleaseSession(model.decoder);
    api->ReleaseMemoryInfo(model.memory_info);
    api->ReleaseEnv(env);
    return 0;
}
