/* Ordinary convolutions tap by tap: pointwise ones, those of stride 2, and what leads back through these. */

/* What is read of the input for each output: so many taps, each with its matrices [groups out][inputs] and the place
 * that is read for the first output. */
#define MAX_TAPS 9
typedef struct {
    int64_t count, places[MAX_TAPS];
    const V *matrices[MAX_TAPS];
} NAME(Taps);
#define TAPS NAME(Taps)

/* COUNT outputs of one row and one group; the outputs' inputs lie STEP pixels apart, the outputs themselves `step`. */
#define ROW_OF_TAPS(COUNT, STEP) \
static inline void NAME(taps_of_##COUNT##_##STEP)(const SIZE *s, V *out, int64_t step, const V *in, int64_t slab, \
                                                  const TAPS *taps, int64_t first, int add) { \
    V sums[COUNT]; \
    _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) sums[p] = (V){0}; \
    for (int64_t tap = 0; tap < taps->count; tap++) \
        for (int64_t group = 0; group < s->inputs; group++) { \
            const REAL *values = (const REAL *)(in + taps->places[tap] + group * slab); \
            const V *matrix = taps->matrices[tap] + first + 16 * group; \
            int64_t used = NAME(lanes_in_use)(s, group); \
            for (int64_t j = 0; j < used; j++) { \
                V own = matrix[j]; \
                _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) sums[p] += own * ALL(values[16 * STEP * p + j]); \
            } \
        } \
    if (add) { \
        _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) out[p * step] += sums[p]; \
    } else { \
        _Pragma("GCC unroll 16") for (int p = 0; p < COUNT; p++) out[p * step] = sums[p]; \
    } \
}
#define ROWS_OF_TAPS(STEP) ROW_OF_TAPS(16, STEP) ROW_OF_TAPS(14, STEP) ROW_OF_TAPS(8, STEP) ROW_OF_TAPS(7, STEP) \
    ROW_OF_TAPS(4, STEP) ROW_OF_TAPS(2, STEP) ROW_OF_TAPS(1, STEP)
ROWS_OF_TAPS(1)
ROWS_OF_TAPS(2)

#define CONVOLVE_TAPS(STEP) \
static void NAME(convolve_taps_##STEP)(const SIZE *s, V *out, int64_t row, int64_t step, int64_t out_slab, const V *in, \
                                       int64_t pitch, int64_t slab, const TAPS *taps, int add) { \
    for (int64_t group = 0; group < s->outputs; group++) \
        for (int64_t y = 0; y < s->height; y++) { \
            V *to = out + group * out_slab + y * row; \
            const V *from = in + y * STEP * pitch; \
            int64_t first = 16 * group * s->inputs; \
            for (int64_t x = 0, block; x < s->width; x += block) { \
                block = NAME(block_of)(s->width - x); \
                EACH_BLOCK(CALL_##STEP) \
            } \
        } \
}
#define CALL_1(count) NAME(taps_of_##count##_1)(s, to + x * step, step, from + x, slab, taps, first, add)
#define CALL_2(count) NAME(taps_of_##count##_2)(s, to + x * step, step, from + 2 * x, slab, taps, first, add)
CONVOLVE_TAPS(1)
CONVOLVE_TAPS(2)

/* parts[groups][inputs] += the gradient of one tap's weights; `in` is what it reads for the first output. */
static void NAME(correlate_tap)(const SIZE *s, V *parts, const V *grads, int64_t g_pitch, int64_t g_slab, const V *in,
                                int64_t pitch, int64_t slab, int64_t step) {
    for (int64_t i = 0; i < s->outputs; i++)
        for (int64_t group = 0; group < s->inputs; group++) {
            V sums[16], *own = parts + 16 * (i * s->inputs + group);
            _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) sums[j] = own[j];
            for (int64_t y = 0; y < s->height; y++) {
                const V *left = grads + i * g_slab + y * g_pitch;
                const REAL *values = (const REAL *)(in + group * slab + y * step * pitch);
                for (int64_t x = 0; x < s->width; x++, values += 16 * step) {
                    V g = left[x];
                    _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) sums[j] += g * ALL(values[j]);
                }
            }
            _Pragma("GCC unroll 16") for (int j = 0; j < 16; j++) own[j] = sums[j];
        }
}
