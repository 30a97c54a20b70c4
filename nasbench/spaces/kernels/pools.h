/* What all edges share: the state itself and its pools of 3x3, one image and one group of lanes at a time. */

/* What the passes need of a term, in lanes of the input. */
typedef struct {
    V *mean, *gain;           /* [groups]: value = gain (z - mean) */
    V *back, *square, *shift; /* [groups]: grad of z = back d + square (z - mean) + shift */
} NAME(PreparedTerm);
#define PREPARED_TERM NAME(PreparedTerm)

static inline int64_t NAME(least)(int64_t a, int64_t b) { return a < b ? a : b; }
static inline V NAME(select)(V mask_of, V yes, V no) {
    NAME(Mask) mask = (NAME(Mask))mask_of;
    return (V)((mask & (NAME(Mask))yes) | (~mask & (NAME(Mask))no));
}

/* The window of an output: rows first_y to last_y - 1, columns likewise. */
#define WINDOW \
    int64_t first_y = y * s > 0 ? y * s - 1 : 0, last_y = NAME(least)(y * s + 2, height); \
    int64_t first_x = x * s > 0 ? x * s - 1 : 0, last_x = NAME(least)(x * s + 2, width);

static void NAME(pool)(const L *l, const Fan *fan, int64_t kind, V *out, const V *in) {
    int64_t s = fan->stride, height = fan->height, width = fan->width;
    for (int64_t y = 0; y < l->out_height; y++)
        for (int64_t x = 0; x < l->out_width; x++) {
            WINDOW
            V value = in[first_y * width + first_x];
            if (kind == MAXIMUM) {
                for (int64_t i = first_y; i < last_y; i++)
                    for (int64_t j = first_x; j < last_x; j++) {
                        V other = in[i * width + j];
                        value = NAME(select)((V)((value >= other) | (value != value)), value, other);
                    }
            } else {
                value = (V){0};
                for (int64_t i = first_y; i < last_y; i++)
                    for (int64_t j = first_x; j < last_x; j++) value += in[i * width + j];
                value /= (REAL)((last_y - first_y) * (last_x - first_x));
            }
            out[y * l->out_width + x] = value;
        }
}

/* grad += the gradient of the pool's input; of equal maxima the first one has it. */
static void NAME(unpool)(const L *l, const Fan *fan, int64_t kind, V *grad, const V *of_out, const V *out, const V *in) {
    int64_t s = fan->stride, height = fan->height, width = fan->width;
    for (int64_t y = 0; y < l->out_height; y++)
        for (int64_t x = 0; x < l->out_width; x++) {
            WINDOW
            V left = of_out[y * l->out_width + x], most = out[y * l->out_width + x];
            if (kind == AVERAGE) left /= (REAL)((last_y - first_y) * (last_x - first_x));
            for (int64_t i = first_y; i < last_y; i++)
                for (int64_t j = first_x; j < last_x; j++) {
                    if (kind == AVERAGE) {
                        grad[i * width + j] += left;
                        continue;
                    }
                    V found = (V)(in[i * width + j] == most), none = {0};
                    grad[i * width + j] += NAME(select)(found, left, none);
                    left = NAME(select)(found, none, left);
                }
        }
}

/* Mean and variance of a pool from its images' parts, [groups] means and [groups] squares; and what follows. */
static void NAME(know_term)(const Fan *fan, const L *l, const Term *term, PREPARED_TERM *prepared, const V *parts,
                            int64_t stride) {
    int64_t c = l->channels;
    const REAL *running = term->running;
    REAL *known = term->known;
    for (int64_t i = 0; i < 16 * l->groups; i++) {
        int64_t channel = l->packed ? i % c : i, group = i / 16, lane = i % 16;
        if (channel >= c) continue;
        double mean = 0, squares = 0, variance;
        if (running) {
            mean = running[channel], variance = running[c + channel];
        } else {
            for (int64_t n = 0; n < fan->batch; n++) mean += parts[n * stride + group][lane];
            mean /= (double)fan->batch;
            for (int64_t n = 0; n < fan->batch; n++) {
                double away = parts[n * stride + group][lane] - mean;
                squares += parts[n * stride + l->groups + group][lane] + (double)l->pixels * away * away;
            }
            variance = squares / (double)(fan->batch * l->pixels);
        }
        REAL inverse = (REAL)(1 / sqrt(variance + fan->eps));
        known[channel] = (REAL)mean, known[c + channel] = inverse;
        known[2 * c + channel] = (REAL)mean, known[3 * c + channel] = (REAL)variance;
        prepared->mean[group][lane] = (REAL)mean, prepared->gain[group][lane] = inverse;
    }
}

/* From sums over all images, [groups] of d and [groups] of d (z - mean), to the gradient of z. */
static void NAME(know_term_gradients)(const Fan *fan, const L *l, PREPARED_TERM *prepared, const V *sums) {
    REAL count = (REAL)(fan->batch * l->pixels);
    for (int64_t group = 0; group < l->groups; group++) {
        V inverse = prepared->gain[group];
        prepared->back[group] = inverse;
        prepared->square[group] = -sums[l->groups + group] * inverse * inverse * inverse / count;
        prepared->shift[group] = -sums[group] * inverse / count;
    }
}
